package statetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/state"
)

func lifeChecks() []check {
	return []check{
		{"an ended context stops everything", endedContext},
		{"close ends watches and leases", closes},
		{"the store has a name", named},
		{"what was written is there after a restart", reopens},
		{"two handles are one store", handles},
	}
}

// calls are all methods that take a context.
func calls(ctx context.Context, s state.Store, h Harness) map[string]error {
	errs := map[string]error{}
	_, errs["get"] = s.Get(ctx, "/a")
	_, errs["list"] = s.List(ctx, "/", state.Page{})
	_, errs["write"] = s.Write(ctx, state.Put("/a", []byte("late"), state.Any))
	_, errs["watch"] = s.Watch(ctx, "/", 0)
	_, errs["acquire"] = s.Acquire(ctx, "job", h.TTL)
	return errs
}

func endedContext(ctx context.Context, t *testing.T, h Harness) {
	put(ctx, t, h.Store, "/a")
	for name, err := range calls(ended(ctx), h.Store, h) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if doc := get(ctx, t, h.Store, "/a"); string(doc.Value) != "/a" {
		t.Errorf("it was written nevertheless: %q", doc.Value)
	}
}

func closes(ctx context.Context, t *testing.T, h Harness) {
	put(ctx, t, h.Store, "/a")
	idle := watch(ctx, t, h.Store, "/none/", 0)
	busy := watch(ctx, t, h.Store, "/", 0)
	for i := range 100 {
		put(ctx, t, h.Store, state.Key(fmt.Sprintf("/b/%d", i)))
	}
	l := acquire(ctx, t, h.Store, "job", h)
	waiting := make(chan error)
	go func() {
		_, err := h.Store.Acquire(ctx, "job", h.TTL)
		waiting <- err
	}()
	if err := h.Store.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(ctx, t, l)
	wantClosed(ctx, t, idle)
	wantClosed(ctx, t, busy)
	if err := <-waiting; !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("who waited for a lease got %v", err)
	}
	for name, err := range calls(ctx, h.Store, h) {
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	if err := h.Store.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func named(_ context.Context, t *testing.T, h Harness) {
	if h.Store.String() == "" {
		t.Error("it has none")
	}
}

func reopens(ctx context.Context, t *testing.T, h Harness) {
	if h.Reopen == nil {
		t.Skip("this backend keeps nothing")
	}
	s := h.Store
	old := put(ctx, t, s, tree...)
	last := old
	for round := range 3 {
		l := acquire(ctx, t, s, "job", h)
		write(ctx, t, s, state.Delete("/a/2", state.Any))
		last = write(ctx, t, s, state.Put("/round", fmt.Append(nil, round), state.Any))
		before := list(ctx, t, s, "/", state.Page{})
		var documents []state.Document
		for _, doc := range before.Documents {
			if doc.Key != l.Fence().Key {
				documents = append(documents, doc)
			}
		}
		s = h.Reopen()
		wantLost(ctx, t, l)
		again := acquire(ctx, t, s, "job", h) // waits for the old one to end
		if _, err := s.Write(ctx, l.Fence(), state.Put("/late", nil, state.Any)); !errors.Is(err, state.ErrConflict) {
			t.Errorf("a lease of before is still good: %v", err)
		}
		if err := again.Release(ctx); err != nil {
			t.Error(err)
		}
		after := list(ctx, t, s, "/", state.Page{})
		if diff := cmp.Diff(documents, after.Documents); diff != "" || after.Revision < before.Revision {
			t.Fatalf("at %d, before at %d (-before +after):\n%s", after.Revision, before.Revision, diff)
		}
		wantHistory(ctx, t, s, old, last)
	}
	if rev := put(ctx, t, s, "/new"); rev <= last {
		t.Errorf("revision %d after %d", rev, last)
	}
}

// wantHistory watches from a revision of before a restart: it must give what
// happened since or say that it cannot.
func wantHistory(ctx context.Context, t *testing.T, s state.Store, from, to state.Revision) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := watch(ctx, t, s, "/", from)
	for {
		e := next(ctx, t, events)
		if e.Kind == state.EventResync || e.Revision == to {
			return
		}
		if e.Revision > to {
			t.Errorf("%s comes first after %d, but %d was written", show(e), from, to)
			return
		}
	}
}

func handles(ctx context.Context, t *testing.T, h Harness) {
	if h.Other == nil {
		t.Skip("only one process can have this backend")
	}
	one, two := h.Store, h.Other()
	events := watch(ctx, t, two, "/a/", list(ctx, t, two, "/", state.Page{}).Revision)
	rev := put(ctx, t, one, "/a/1")
	wantEvents(ctx, t, events, fmt.Sprintf("put /a/1=/a/1 @%d", rev))
	if doc := get(ctx, t, two, "/a/1"); doc.Revision != rev {
		t.Errorf("the other handle has revision %d, want %d", doc.Revision, rev)
	}
	write(ctx, t, two, state.Put("/a/1", nil, rev))
	if _, err := one.Write(ctx, state.Put("/a/1", nil, rev)); !errors.Is(err, state.ErrConflict) {
		t.Errorf("a change of the other handle is not seen: %v", err)
	}
	first := acquire(ctx, t, one, "job", h)
	got := make(chan state.Lease, 1)
	go func() {
		l, err := two.Acquire(ctx, "job", h.TTL)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	write(ctx, t, two, first.Fence(), state.Put("/a/2", nil, state.Any))
	if len(got) != 0 {
		t.Fatal("two handles hold the lease")
	}
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	second := <-got
	if _, err := one.Write(ctx, first.Fence(), state.Put("/a/2", nil, state.Any)); !errors.Is(err, state.ErrConflict) {
		t.Errorf("the former holder writes: %v", err)
	}
	write(ctx, t, one, second.Fence(), state.Put("/a/2", nil, state.Any))
	if err := second.Release(ctx); err != nil {
		t.Error(err)
	}
}
