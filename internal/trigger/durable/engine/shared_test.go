package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/statestore"
)

// hosts are two engines of one app over one state. Their clock stands still: they
// learn of each other from the state, or never.
func hosts(t *testing.T, a *app) (drives, other *bench) {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC))
	docs, leases := memory.New(c), new(trigger.LocalLeases)
	host := func() *bench {
		e := New(Config{Store: statestore.New(statestore.Config{Docs: docs, Prefix: "/apps/a/durable/", Clock: clock.Real{}}), Invoke: a, Clock: c, Log: slog.New(slog.DiscardHandler), Leases: leases})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		b := &bench{e, a, c, sync.OnceFunc(func() { cancel(); <-done })}
		t.Cleanup(b.stop)
		return b
	}
	drives = host()
	drives.awaitDriving(t)
	return drives, host()
}

func (b *bench) awaitDriving(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for b.mu.Lock(); !b.driving; b.mu.Lock() {
		b.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("the host does not drive")
		}
		time.Sleep(time.Millisecond)
	}
	b.mu.Unlock()
}

func TestWhatAnotherHostTakesIsDoneAtOnce(t *testing.T) {
	a := newApp()
	a.orchestrators["approval"] = approval
	drives, other := hosts(t, a)
	if _, err := other.Start(t.Context(), "one", "approval", "", nil); err != nil {
		t.Fatal(err)
	}
	drives.await(t, "one", func(i *instances.Instance) bool { return i.Status == instances.Running && len(i.History) > 2 })
	waited := make(chan *instances.Instance, 1)
	go func() {
		i, _ := other.Wait(t.Context(), "one", time.Hour, time.Hour)
		waited <- i
	}()
	if err := other.Raise(t.Context(), "one", "go", json.RawMessage(`"yes"`)); err != nil {
		t.Fatal(err)
	}
	i := other.await(t, "one", func(i *instances.Instance) bool { return i.Status.Final() })
	if string(i.Output) != `"yes"` {
		t.Errorf("it gave %s", i.Output)
	}
	select {
	case i := <-waited:
		if i == nil || !i.Status.Final() {
			t.Errorf("who waits at the other host got %+v", i)
		}
	case <-time.After(60 * time.Second):
		t.Error("who waits at the other host does not hear of the end")
	}
}

func TestAnotherHostGoesOnWhenTheFirstEnds(t *testing.T) {
	a := newApp()
	a.orchestrators["approval"] = approval
	drives, other := hosts(t, a)
	if _, err := drives.Start(t.Context(), "one", "approval", "", nil); err != nil {
		t.Fatal(err)
	}
	drives.await(t, "one", func(i *instances.Instance) bool { return i.Status == instances.Running && len(i.History) > 2 })
	drives.stop()
	other.awaitDriving(t)
	if err := other.Raise(t.Context(), "one", "go", json.RawMessage(`1`)); err != nil {
		t.Fatal(err)
	}
	other.await(t, "one", func(i *instances.Instance) bool { return i.Status.Final() })
}
