package statetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/state"
)

func conditionChecks() []check {
	return []check{
		{"conditions hold or not", conditions},
		{"a write is all or nothing", allOrNothing},
		{"a conflict names the key", conflictNames},
		{"a write that changes nothing moves nothing", checksOnly},
		{"a document made anew is another one", remade},
	}
}

// conditions tries every kind of operation with every condition on a document
// that is there, that was there, and that never was.
func conditions(ctx context.Context, t *testing.T, h Harness) {
	stale := put(ctx, t, h.Store, "/present", "/gone")
	write(ctx, t, h.Store, state.Delete("/gone", state.Any))
	n := 0
	for _, kind := range []state.OpKind{state.OpCheck, state.OpPut, state.OpDelete} {
		for _, key := range []state.Key{"/present", "/gone", "/never"} {
			for _, cond := range []string{"any", "absent", "current", "stale", "future"} {
				n++
				now := put(ctx, t, h.Store, "/present")
				op := state.Op{Kind: kind, Key: key, If: map[string]state.Revision{
					"any": state.Any, "absent": state.Absent, "current": now, "stale": stale, "future": now + 1<<40}[cond]}
				holds := cond == "any" || key == "/present" && cond == "current" || key != "/present" && cond == "absent"
				witness := state.Key(fmt.Sprintf("/witness/%d", n))
				_, err := h.Store.Write(ctx, op, state.Put(witness, nil, state.Absent))
				if holds != (err == nil) || err != nil && !errors.Is(err, state.ErrConflict) {
					t.Errorf("kind %d of %s if %s: %v", kind, key, cond, err)
				}
				if _, err := h.Store.Get(ctx, witness); holds != (err == nil) {
					t.Errorf("kind %d of %s if %s: the rest of the write: %v", kind, key, cond, err)
				}
				wantAfter(ctx, t, h.Store, op, holds)
				if key != "/present" {
					write(ctx, t, h.Store, state.Delete(key, state.Any))
				}
			}
		}
	}
}

// wantAfter checks that a document is there if and only if it should be after an
// operation that did or did not take effect.
func wantAfter(ctx context.Context, t *testing.T, s state.Store, op state.Op, done bool) {
	t.Helper()
	want := op.Key == "/present"
	if done && op.Kind == state.OpPut {
		want = true
	}
	if done && op.Kind == state.OpDelete {
		want = false
	}
	if _, err := s.Get(ctx, op.Key); want != (err == nil) {
		t.Errorf("kind %d of %s if %d, done %v: get says %v", op.Kind, op.Key, op.If, done, err)
	}
}

func allOrNothing(ctx context.Context, t *testing.T, h Harness) {
	before := put(ctx, t, h.Store, "/a", "/b", "/c")
	events := watch(ctx, t, h.Store, "/", before)
	ops := []state.Op{
		state.Put("/a", []byte("new"), before), state.Delete("/b", before), state.Put("/d", nil, state.Absent),
		state.Check("/c", before+1<<40),
	}
	for shift := range ops { // the condition that fails is in every place once
		turned := append(append([]state.Op(nil), ops[shift:]...), ops[:shift]...)
		if _, err := h.Store.Write(ctx, turned...); !errors.Is(err, state.ErrConflict) {
			t.Fatalf("got %v", err)
		}
	}
	for _, doc := range list(ctx, t, h.Store, "/", state.Page{}).Documents {
		if doc.Revision != before || string(doc.Value) != string(doc.Key) {
			t.Errorf("%s was changed to %q at %d", doc.Key, doc.Value, doc.Revision)
		}
	}
	ops[3].If = before
	rev := write(ctx, t, h.Store, ops...)
	wantEvents(ctx, t, events, fmt.Sprintf("put /a=new @%d", rev), fmt.Sprintf("delete /b @%d", rev), fmt.Sprintf("put /d= @%d", rev))
	if n := len(list(ctx, t, h.Store, "/", state.Page{}).Documents); n != 3 {
		t.Errorf("%d documents are left", n)
	}
}

func conflictNames(ctx context.Context, t *testing.T, h Harness) {
	rev := put(ctx, t, h.Store, "/fine", "/culprit")
	for _, op := range []state.Op{
		state.Put("/culprit", nil, state.Absent), state.Delete("/culprit", rev-1), state.Check("/culprit", rev+1<<40),
	} {
		_, err := h.Store.Write(ctx, state.Check("/fine", rev), op, state.Put("/other", nil, state.Any))
		if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "/culprit") || strings.Contains(err.Error(), "/fine") {
			t.Errorf("got %v", err)
		}
	}
	_, err := h.Store.Write(ctx, state.Check("/missing", rev))
	if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "/missing") {
		t.Errorf("got %v", err)
	}
}

func checksOnly(ctx context.Context, t *testing.T, h Harness) {
	rev := put(ctx, t, h.Store, "/a")
	events := watch(ctx, t, h.Store, "/", rev)
	for _, op := range []state.Op{
		state.Check("/a", rev), state.Check("/none", state.Absent), state.Delete("/none", state.Any), state.Delete("/none", state.Absent),
	} {
		if got := write(ctx, t, h.Store, op); got < rev {
			t.Errorf("revision %d after %d", got, rev)
		}
	}
	if doc := get(ctx, t, h.Store, "/a"); doc.Revision != rev {
		t.Errorf("the document moved from %d to %d", rev, doc.Revision)
	}
	end := put(ctx, t, h.Store, "/b")
	wantEvents(ctx, t, events, fmt.Sprintf("put /b=/b @%d", end))
}

func remade(ctx context.Context, t *testing.T, h Harness) {
	old := put(ctx, t, h.Store, "/a")
	write(ctx, t, h.Store, state.Delete("/a", old))
	put(ctx, t, h.Store, "/a")
	for _, op := range []state.Op{state.Put("/a", nil, old), state.Delete("/a", old), state.Check("/a", old)} {
		if _, err := h.Store.Write(ctx, op); !errors.Is(err, state.ErrConflict) {
			t.Errorf("kind %d takes the new document for the old one: %v", op.Kind, err)
		}
	}
}
