// Package statetest owns the conformance suite of state stores: what the contract
// in package state promises, as tests that every backend passes, and a comparison
// of two backends on random operations. It knows no backend; what only some can
// do is in the harness they give.
package statetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/state"
)

// Harness is one empty store with what its backend can do besides.
type Harness struct {
	Store state.Store

	// MaxValue is the most bytes the values of one write can have; 0 is
	// state.MaxValue.
	MaxValue int
	// Reopen closes the store as a node that ends does, and opens the same state
	// again; nil if the state is gone then.
	Reopen func() state.Store
	// Other opens a second handle on the same state, as another node does; nil if
	// only one process can have it.
	Other func() state.Store
	// Forget drops the history of changes; nil if the backend cannot be made to.
	Forget func()
	// TTL is the time to live of the suite's leases; 0 is ten seconds.
	TTL time.Duration
}

// Open makes an empty store; what it needs is cleaned up with t, the store
// itself too.
type Open func(t *testing.T) Harness

// limit bounds each check; it is generous because machines can be slow.
const limit = 2 * time.Minute

type check struct {
	name string
	run  func(ctx context.Context, t *testing.T, h Harness)
}

// Run holds a backend to the contract.
func Run(t *testing.T, open Open) {
	for _, part := range [][]check{documentChecks(), conditionChecks(), listChecks(), watchChecks(), leaseChecks(), lifeChecks()} {
		for _, c := range part {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				h := open(t)
				if h.MaxValue == 0 {
					h.MaxValue = state.MaxValue
				}
				if h.TTL == 0 {
					h.TTL = 10 * time.Second
				}
				c.run(ctx, t, h)
			})
		}
	}
}

// write does a write that must succeed.
func write(ctx context.Context, t testing.TB, s state.Store, ops ...state.Op) state.Revision {
	t.Helper()
	rev, err := s.Write(ctx, ops...)
	if err != nil {
		t.Fatalf("write of %d operations, first on %.60q: %v", len(ops), ops[0].Key, err)
	}
	return rev
}

// put writes documents without conditions, each with its key's text as value.
func put(ctx context.Context, t testing.TB, s state.Store, keys ...state.Key) state.Revision {
	t.Helper()
	var ops []state.Op
	for _, k := range keys {
		ops = append(ops, state.Put(k, []byte(k), state.Any))
	}
	return write(ctx, t, s, ops...)
}

func get(ctx context.Context, t testing.TB, s state.Store, key state.Key) state.Document {
	t.Helper()
	doc, err := s.Get(ctx, key)
	if err != nil {
		t.Fatalf("get %.60q: %v", key, err)
	}
	return doc
}

func list(ctx context.Context, t testing.TB, s state.Store, prefix state.Key, page state.Page) state.Listing {
	t.Helper()
	listing, err := s.List(ctx, prefix, page)
	if err != nil {
		t.Fatalf("list %q %+v: %v", prefix, page, err)
	}
	return listing
}

func watch(ctx context.Context, t testing.TB, s state.Store, prefix state.Key, from state.Revision) <-chan state.Event {
	t.Helper()
	events, err := s.Watch(ctx, prefix, from)
	if err != nil {
		t.Fatalf("watch %q from %d: %v", prefix, from, err)
	}
	return events
}

// next gives the next event, which must come.
func next(ctx context.Context, t testing.TB, events <-chan state.Event) state.Event {
	t.Helper()
	select {
	case e, open := <-events:
		if !open {
			t.Fatal("the watch ended where an event was due")
		}
		return e
	case <-ctx.Done():
		t.Fatal("an event did not come")
	}
	return state.Event{}
}

// wantEvents reads as many events as wanted and compares them.
func wantEvents(ctx context.Context, t testing.TB, events <-chan state.Event, want ...string) {
	t.Helper()
	for i, w := range want {
		if got := show(next(ctx, t, events)); got != w {
			t.Fatalf("event %d is %s, want %s", i, got, w)
		}
	}
}

// show gives an event in words.
func show(e state.Event) string {
	switch e.Kind {
	case state.EventPut:
		return fmt.Sprintf("put %s=%s @%d", e.Key, e.Value, e.Revision)
	case state.EventDelete:
		if e.Value != nil {
			return fmt.Sprintf("delete %s with value %q", e.Key, e.Value)
		}
		return fmt.Sprintf("delete %s @%d", e.Key, e.Revision)
	case state.EventResync:
		return "resync"
	}
	return fmt.Sprintf("event of kind %d", e.Kind)
}

// wantClosed waits until a watch has ended, whatever it still reports.
func wantClosed(ctx context.Context, t testing.TB, events <-chan state.Event) {
	t.Helper()
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-ctx.Done():
			t.Fatal("the watch did not end")
		}
	}
}

// ended is a context that is over.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
