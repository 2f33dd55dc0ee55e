package platform

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger"
)

// counting counts the leases that are asked for, and can lose them.
type counting struct {
	state.Store
	acquired atomic.Int64
	lose     chan struct{}
}

func (c *counting) Acquire(ctx context.Context, name string, ttl time.Duration) (state.Lease, error) {
	l, err := c.Store.Acquire(ctx, name, ttl)
	if err == nil {
		c.acquired.Add(1)
	}
	return losable{l, c.lose}, err
}

type losable struct {
	state.Lease
	lost chan struct{}
}

func (l losable) Lost() <-chan struct{} { return l.lost }

func take(t *testing.T, l trigger.Leases, name string) trigger.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease, err := l.Acquire(ctx, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return lease
}

func TestAThousandTimersOfAnAppAreOneLease(t *testing.T) {
	store := &counting{Store: memory.New(clock.Real{}), lose: make(chan struct{})}
	one, other := newTriggerLeases(store, app.App{UID: "u"}), newTriggerLeases(store, app.App{UID: "u"})
	var held []trigger.Lease
	for n := range 1000 {
		held = append(held, take(t, one, fmt.Sprint(n)))
	}
	if n := store.acquired.Load(); n != 1 {
		t.Errorf("%d leases of the state", n)
	}
	got := make(chan trigger.Lease, 1)
	go func() {
		l, err := other.Acquire(t.Context(), "7")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	for n, l := range held {
		if n == len(held)-1 && len(got) > 0 {
			t.Error("another host listens while this one holds names of the app")
		}
		for range 2 { // the second time does nothing
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	select {
	case l := <-got:
		_ = l.Release(t.Context())
	case <-time.After(time.Minute):
		t.Fatal("nobody listens any more")
	}
}

func TestALostLeaseIsLostToAllAndHadAnew(t *testing.T) {
	store := &counting{Store: memory.New(clock.Real{}), lose: make(chan struct{})}
	l := newTriggerLeases(store, app.App{UID: "u"})
	a, b := take(t, l, "a"), take(t, l, "b")
	lose := store.lose
	store.lose = make(chan struct{})
	_ = a.(*appLease).shared.Release(t.Context()) // it ended in the state, too
	close(lose)
	<-a.Lost()
	<-b.Lost()
	_ = a.Release(t.Context())
	again := take(t, l, "a")
	_ = b.Release(t.Context()) // of the one that was lost: the new one stays
	select {
	case <-again.Lost():
		t.Error("lost")
	default:
	}
	if n := store.acquired.Load(); n != 2 {
		t.Errorf("%d leases of the state, want 2", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newTriggerLeases(store, app.App{UID: "u"}).Acquire(ctx, "a"); err == nil {
		t.Error("two hosts have the lease")
	}
}

// expired is a lease that has ended without anybody's notice.
type expired struct{ state.Lease }

func (expired) Held() bool { return false }

func TestALeaseThatCannotBeReliedOnIsGivenBack(t *testing.T) {
	l := newTriggerLeases(memory.New(clock.Real{}), app.App{UID: "u"})
	a := take(t, l, "a")
	l.held = expired{l.held}
	b := take(t, l, "b") // or it waits for the lease of its own host
	if !trigger.Held(b) {
		t.Error("the new lease is not held")
	}
	select {
	case <-a.Lost():
	case <-time.After(time.Minute):
		t.Error("the old lease stands")
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if !trigger.Held(b) {
		t.Error("the new lease ended with the old one")
	}
	if err := b.Release(t.Context()); err != nil || trigger.Held(b) {
		t.Errorf("released: %v, held: %v", err, trigger.Held(b))
	}
}
