package etcd_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func watching(t *testing.T, s state.Store, prefix state.Key, from state.Revision) <-chan state.Event {
	t.Helper()
	events, err := s.Watch(bounded(t), prefix, from)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func next(t *testing.T, events <-chan state.Event) (e state.Event, ok bool) {
	t.Helper()
	select {
	case e, ok = <-events:
		return e, ok
	case <-time.After(patience):
		t.Fatal("no event")
		return e, false
	}
}

func wantEvents(t *testing.T, events <-chan state.Event, want ...string) {
	t.Helper()
	for _, w := range want {
		e, ok := next(t, events)
		if got := fmt.Sprintf("%d %s %s", e.Kind, e.Key, e.Value); got != w || !ok {
			t.Fatalf("event %q, want %q", got, w)
		}
	}
}

func wantResync(t *testing.T, events <-chan state.Event) {
	t.Helper()
	if e, ok := next(t, events); !ok || e.Kind != state.EventResync {
		t.Fatalf("event %v, want the order to list anew", e)
	}
	if e, ok := next(t, events); ok {
		t.Fatalf("event %v after the last one", e)
	}
}

func TestChangesOfOneWriteComeTogetherInOrder(t *testing.T) {
	s := start(t)
	first := write(t, s, put("/w/b", 1), put("/x", 1), put("/w/a", 1))
	rev := write(t, s, put("/w/c", 2), state.Delete("/w/b", first), state.Delete("/w/none", state.Any))
	events := watching(t, s, "/w/", first-1)
	wantEvents(t, events, "0 /w/b 1", "0 /w/a 1", "0 /w/c 2")
	e, _ := next(t, events)
	if e.Kind != state.EventDelete || e.Key != "/w/b" || e.Value != nil || e.Revision != rev {
		t.Errorf("deletion: %v", e)
	}
}

func TestWatchFromACompactedRevisionListsAnew(t *testing.T) {
	endpoints := etcdtest.Start(t)
	s := open(t, etcd.Config{Endpoints: endpoints})
	first := write(t, s, put("/a", 1))
	events := watching(t, s, "/", first)
	write(t, s, put("/a", 2))
	last := write(t, s, put("/a", 3))
	if _, err := raw(t, endpoints).Compact(bounded(t), int64(last)); err != nil {
		t.Fatal(err)
	}
	wantResync(t, watching(t, s, "/", first))
	write(t, s, put("/a", 4))
	wantEvents(t, events, "0 /a 2", "0 /a 3", "0 /a 4") // a watch that keeps up does not care
	wantEvents(t, watching(t, s, "/", last), "0 /a 4")
}

func TestASlowReaderListsAnew(t *testing.T) {
	s := start(t)
	events := watching(t, s, "/", 0)
	other := watching(t, s, "/end/", 0)
	var ops []state.Op
	for i := range state.MaxOps {
		ops = append(ops, put(fmt.Sprintf("/many/%d", i), i))
	}
	for range 105 {
		write(t, s, ops...)
	}
	write(t, s, put("/end/x", 1))
	wantEvents(t, other, "0 /end/x 1") // on the same connection, so the others have come too
	for {
		e, ok := next(t, events)
		if !ok {
			t.Fatal("the watch ended without a word")
		}
		if e.Kind == state.EventResync {
			break
		}
	}
	if e, ok := next(t, events); ok {
		t.Errorf("event %v after the last one", e)
	}
}

func TestWatchesSurviveARestart(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := etcdtest.New(t, 1)
	s := open(t, etcd.Config{Endpoints: c.Endpoints(), RequestTimeout: 3 * time.Second})
	events := watching(t, s, "/", 0)
	write(t, s, put("/a", 1))
	wantEvents(t, events, "0 /a 1")
	c.Stop(0)
	if _, err := s.Write(bounded(t), put("/a", 2)); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("write without etcd: %v", err)
	}
	if _, err := s.Get(bounded(t), "/a"); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("get without etcd: %v", err)
	}
	if _, err := s.Watch(bounded(t), "/", 0); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("watch without etcd: %v", err)
	}
	if _, err := s.Acquire(bounded(t), "x", time.Second); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("acquire without etcd: %v", err)
	}
	c.Restart(0)
	patiently(t, func() error {
		_, err := s.Write(bounded(t), put("/a", 3))
		return err
	})
	// The first write may have been on its way when the member stopped.
	e, _ := next(t, events)
	if e.Key == "/a" && string(e.Value) == "2" {
		e, _ = next(t, events)
	}
	if e.Kind != state.EventResync && string(e.Value) != "3" {
		t.Errorf("event %v", e)
	}
}

// patiently repeats what says that the store cannot be reached.
func patiently(t *testing.T, do func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := do()
		if err == nil {
			return
		}
		if !errors.Is(err, state.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestWatchersLearnThatTheStoreIsOutOfReach(t *testing.T) {
	t.Parallel() // it waits most of the time
	c, manual := etcdtest.New(t, 1), clock.NewManual(time.Unix(0, 0))
	s := open(t, etcd.Config{Endpoints: c.Endpoints(), RequestTimeout: 3 * time.Second, Clock: manual})
	var events <-chan state.Event
	patiently(t, func() (err error) { events, err = s.Watch(bounded(t), "/", 0); return err })
	c.Stop(0)
	if err := manual.AwaitTimers(bounded(t), 1); err != nil {
		t.Fatal(err)
	}
	manual.Advance(5 * time.Second)
	wantResync(t, events)
}
