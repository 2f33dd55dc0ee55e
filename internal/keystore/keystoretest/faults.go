package keystoretest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
)

func faultChecks() []check {
	return []check{
		{"a read-only store reads and refuses", func(h Harness) bool { return h.ReadOnly != nil }, readOnly},
		{"an undecryptable document is never replaced", func(h Harness) bool { return h.Corrupt != nil && h.Raw != nil }, undecryptable},
		{"a truncated document is never replaced", func(h Harness) bool { return h.Truncate != nil && h.Raw != nil }, truncated},
		{"a damaged document can be deleted", func(h Harness) bool { return h.Corrupt != nil }, deleteDamaged},
		{"what dead writers leave is ignored and swept", func(h Harness) bool { return h.LeaveTemp != nil }, leftovers},
		{"an unreachable store says so and recovers", func(h Harness) bool { return h.Break != nil }, unreachable},
	}
}

func readOnly(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	s := h.ReadOnly(t)
	if !s.Capabilities().ReadOnly {
		t.Error("does not declare that it is read-only")
	}
	wantLoaded(t, ctx, s, "fn", Function("1"))
	wantList(t, ctx, s, "fn")
	if _, _, err := s.Load(ctx, "absent"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load of an absent document: %v", err)
	}
	for _, doc := range []keystore.Doc{"fn", "absent"} {
		if _, _, err := s.Update(ctx, doc, put(Function("2"))); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("update %q: %v", doc, err)
		}
	}
	if err := s.Delete(ctx, "fn"); !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("delete: %v", err)
	}
	wantLoaded(t, ctx, h.Store, "fn", Function("1"))
	wantList(t, ctx, h.Store, "fn")
}

func undecryptable(t *testing.T, ctx context.Context, h Harness) { damaged(t, ctx, h, h.Corrupt) }
func truncated(t *testing.T, ctx context.Context, h Harness)     { damaged(t, ctx, h, h.Truncate) }

func damaged(t *testing.T, ctx context.Context, h Harness, harm func(*testing.T, keystore.Doc)) {
	for _, doc := range []keystore.Doc{keystore.HostDoc, "fn"} {
		d := Function("1")
		if doc.IsHost() {
			d = Host("1")
		}
		mustUpdate(t, ctx, h.Store, doc, put(d))
		harm(t, doc)
		before := h.Raw(t, doc)
		if got, _, err := h.Store.Load(ctx, doc); !errors.Is(err, keystore.ErrUndecryptable) || got.Keys.Master.Value != "" || got.Keys.Keys != nil {
			t.Errorf("load %q: %v, %v", doc, got, err)
		}
		ran := false
		_, _, err := h.Store.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) {
			ran = true
			return d, nil
		})
		if !errors.Is(err, keystore.ErrUndecryptable) || ran {
			t.Errorf("update %q: change ran %v, %v", doc, ran, err)
		}
		if !bytes.Equal(before, h.Raw(t, doc)) {
			t.Errorf("%q was changed", doc)
		}
	}
	wantList(t, ctx, h.Store, "fn", keystore.HostDoc)
	mustUpdate(t, ctx, h.Store, "healthy", put(Function("2")))
}

func deleteDamaged(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	h.Corrupt(t, "fn")
	if err := h.Store.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, ctx, h.Store, "fn", put(Function("2")))
	wantLoaded(t, ctx, h.Store, "fn", Function("2"))
}

func leftovers(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	goneOld, goneNew := h.LeaveTemp(t, "fn"), h.LeaveTemp(t, "new")
	wantLoaded(t, ctx, h.Store, "fn", Function("1"))
	wantList(t, ctx, h.Store, "fn")
	if _, _, err := h.Store.Load(ctx, "new"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load of a document that was never finished: %v", err)
	}
	mustUpdate(t, ctx, h.Store, "fn", put(Function("2")))
	if !goneOld() || !goneNew() {
		t.Error("still there after a write")
	}
}

func unreachable(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	repair := h.Break(t)
	_, _, load := h.Store.Load(ctx, "fn")
	_, _, missing := h.Store.Load(ctx, "other")
	_, _, update := h.Store.Update(ctx, "fn", put(Function("2")))
	_, list := h.Store.List(ctx)
	for name, err := range map[string]error{"load": load, "load of another": missing, "update": update, "list": list, "delete": h.Store.Delete(ctx, "fn")} {
		if !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	repair()
	wantLoaded(t, ctx, h.Store, "fn", Function("1"))
}
