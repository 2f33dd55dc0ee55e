package statetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/latchkey/latchkey/internal/state"
)

func watchChecks() []check {
	return []check{
		{"a watch reports changes in order, below its prefix only", watchOrder},
		{"a watch begins at a past revision", watchPast},
		{"the changes of one write come together", watchTogether},
		{"a watch ends with its context", watchEnds},
		{"a slow watcher holds nobody up and misses nothing silently", watchSlow},
		{"history that is gone asks to resync", watchForgotten},
	}
}

func watchOrder(ctx context.Context, t *testing.T, h Harness) {
	from := list(ctx, t, h.Store, "/", state.Page{}).Revision
	all, some := watch(ctx, t, h.Store, "/", from), watch(ctx, t, h.Store, "/a/", from)
	var wantAll, wantSome []string
	for i := range 30 {
		key := []state.Key{"/a/1", "/ab", "/a/2/3", "/b", "/a"}[i%5]
		op, kind := state.Put(key, fmt.Append(nil, i), state.Any), fmt.Sprintf("put %s=%d", key, i)
		if i%7 == 6 {
			put(ctx, t, h.Store, "/a/1")
			e := fmt.Sprintf("put /a/1=/a/1 @%d", get(ctx, t, h.Store, "/a/1").Revision)
			wantAll, wantSome = append(wantAll, e), append(wantSome, e)
			key, op, kind = "/a/1", state.Delete("/a/1", state.Any), "delete /a/1"
		}
		e := fmt.Sprintf("%s @%d", kind, write(ctx, t, h.Store, op))
		wantAll = append(wantAll, e)
		if len(key) > 3 && key[:3] == "/a/" {
			wantSome = append(wantSome, e)
		}
	}
	wantEvents(ctx, t, all, wantAll...)
	wantEvents(ctx, t, some, wantSome...)
}

func watchPast(ctx context.Context, t *testing.T, h Harness) {
	var revs []state.Revision
	var want []string
	for i := range 10 {
		revs = append(revs, write(ctx, t, h.Store, state.Put("/a", fmt.Append(nil, i), state.Any)))
		want = append(want, fmt.Sprintf("put /a=%d @%d", i, revs[i]))
	}
	end := put(ctx, t, h.Store, "/end")
	want = append(want, fmt.Sprintf("put /end=/end @%d", end))
	for i, from := range revs {
		wantEvents(ctx, t, watch(ctx, t, h.Store, "/", from), want[i+1:]...)
	}
	after := watch(ctx, t, h.Store, "/", end)
	wantEvents(ctx, t, after, fmt.Sprintf("put /new=/new @%d", put(ctx, t, h.Store, "/new")))
}

func watchTogether(ctx context.Context, t *testing.T, h Harness) {
	events := watch(ctx, t, h.Store, "/", list(ctx, t, h.Store, "/", state.Page{}).Revision)
	const writes = 20
	for range 2 {
		go func() {
			for range writes {
				_, _ = h.Store.Write(ctx, state.Put("/x", nil, state.Any), state.Put("/y", nil, state.Any), state.Put("/z", nil, state.Any))
			}
		}()
	}
	var last state.Revision
	for range 2 * writes {
		first := next(ctx, t, events)
		seen := map[state.Key]bool{first.Key: true}
		for range 2 {
			e := next(ctx, t, events)
			if seen[e.Key] = true; e.Revision != first.Revision {
				t.Fatalf("%s came among the changes of revision %d", show(e), first.Revision)
			}
		}
		if len(seen) != 3 || first.Revision <= last {
			t.Fatalf("revision %d after %d changed %v", first.Revision, last, seen)
		}
		last = first.Revision
	}
}

func watchEnds(ctx context.Context, t *testing.T, h Harness) {
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := watch(short, t, h.Store, "/none/", 0)
	busy := watch(short, t, h.Store, "/", 0)
	staying := watch(ctx, t, h.Store, "/", list(ctx, t, h.Store, "/", state.Page{}).Revision)
	for i := range 100 { // more than its channel holds
		put(ctx, t, h.Store, state.Key(fmt.Sprintf("/a/%d", i)))
	}
	cancel()
	wantClosed(ctx, t, idle)
	wantClosed(ctx, t, busy)
	if e := next(ctx, t, staying); e.Key != "/a/0" {
		t.Errorf("the other watch got %s", show(e))
	}
	if _, err := h.Store.Watch(short, "/", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a watch with an ended context: %v", err)
	}
}

// watchSlow writes more events than a backend keeps while one watcher does not
// read. It may see all of them later, or some and then EventResync.
func watchSlow(ctx context.Context, t *testing.T, h Harness) {
	from := list(ctx, t, h.Store, "/", state.Page{}).Revision
	slow := watch(ctx, t, h.Store, "/", from)
	const writes, ops = 120, state.MaxOps
	for i := range writes {
		var keys []state.Key
		for n := range ops {
			keys = append(keys, state.Key(fmt.Sprintf("/s/%03d/%03d", i, n)))
		}
		put(ctx, t, h.Store, keys...)
	}
	fresh := watch(ctx, t, h.Store, "/", list(ctx, t, h.Store, "/s/", state.Page{Limit: 1}).Revision)
	wantEvents(ctx, t, fresh, fmt.Sprintf("put /end=/end @%d", put(ctx, t, h.Store, "/end")))
	for i := range writes * ops {
		e := next(ctx, t, slow)
		if e.Kind == state.EventResync {
			wantNoMore(ctx, t, slow)
			return
		}
		if want := state.Key(fmt.Sprintf("/s/%03d/%03d", i/ops, i%ops)); e.Key != want {
			t.Fatalf("event %d is %s, want %s", i, show(e), want)
		}
	}
	if e := next(ctx, t, slow); e.Key != "/end" && e.Kind != state.EventResync {
		t.Errorf("the last event is %s", show(e))
	}
}

// wantNoMore wants a watch to have ended.
func wantNoMore(ctx context.Context, t *testing.T, events <-chan state.Event) {
	t.Helper()
	select {
	case e, open := <-events:
		if open {
			t.Errorf("%s comes after the last event", show(e))
		}
	case <-ctx.Done():
		t.Error("the watch did not end")
	}
}

func watchForgotten(ctx context.Context, t *testing.T, h Harness) {
	if h.Forget == nil {
		t.Skip("this backend's history cannot be made to end")
	}
	old := put(ctx, t, h.Store, "/a")
	put(ctx, t, h.Store, "/b")
	now := put(ctx, t, h.Store, "/c")
	h.Forget()
	events := watch(ctx, t, h.Store, "/", old)
	wantEvents(ctx, t, events, "resync")
	wantNoMore(ctx, t, events)
	fresh := watch(ctx, t, h.Store, "/", list(ctx, t, h.Store, "/", state.Page{}).Revision)
	rev := put(ctx, t, h.Store, "/d")
	if rev <= now {
		t.Errorf("revision %d after %d", rev, now)
	}
	wantEvents(ctx, t, fresh, fmt.Sprintf("put /d=/d @%d", rev))
}
