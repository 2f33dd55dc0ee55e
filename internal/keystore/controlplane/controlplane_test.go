package controlplane_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	keymemory "github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const app = "Orders"

func key(doc keystore.Doc) state.Key { return "/keys/orders/" + state.Key(doc) }

func write(t *testing.T, s state.Store, ops ...state.Op) {
	t.Helper()
	if _, err := s.Write(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, s state.Store, doc keystore.Doc) []byte {
	t.Helper()
	d, err := s.Get(t.Context(), key(doc))
	if err != nil {
		t.Fatal(err)
	}
	return d.Value
}

// harness gives the place in a state and ways to harm it.
func harness(s state.Store) keystoretest.Harness {
	return keystoretest.Harness{
		Store:  controlplane.New(s, app),
		Second: func(*testing.T) keystore.Store { return controlplane.New(s, "oRDERS") },
		Outside: func(t *testing.T, doc keystore.Doc, d keystore.Document) {
			data, _, err := codec.New(codec.Config{}).Encode(doc, d)
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, state.Put(key(doc), data, state.Any))
		},
		Corrupt: func(t *testing.T, doc keystore.Doc) {
			write(t, s, state.Put(key(doc), []byte(`{"keys":[{"name":"a","value":"AAAA","encrypted":true}]}`), state.Any))
		},
		Truncate: func(t *testing.T, doc keystore.Doc) {
			data := value(t, s, doc)
			write(t, s, state.Put(key(doc), data[:len(data)/2], state.Any))
		},
		Raw: func(t *testing.T, doc keystore.Doc) []byte { return value(t, s, doc) },
	}
}

func except(more map[string]string) map[string]string {
	all := map[string]string{
		"a read-only store reads and refuses":          "nothing makes the control plane's state read-only for one app",
		"what dead writers leave is ignored and swept": "a write is whole or not there",
	}
	for name, why := range more {
		all[name] = why
	}
	return all
}

func TestConformance(t *testing.T) {
	keystoretest.Run(t, keystoretest.Config{Except: except(nil), New: func(*testing.T) keystoretest.Harness {
		s := memory.New(clock.Real{})
		h := harness(s)
		h.Break = func(*testing.T) func() {
			s.SetUnavailable(true)
			return func() { s.SetUnavailable(false) }
		}
		return h
	}})
}

func TestAgreesWithTheReference(t *testing.T) {
	keystoretest.CrossTest(t, keymemory.New(), controlplane.New(memory.New(clock.Real{}), app))
}

func TestAppsDoNotSeeEachOther(t *testing.T) {
	s := memory.New(clock.Real{})
	put(t, controlplane.New(s, "a"), "fn", "1")
	put(t, controlplane.New(s, "a-b"), "fn", "2")
	if docs, err := controlplane.New(s, "a").List(t.Context()); err != nil || len(docs) != 1 {
		t.Errorf("list: %v, %v", docs, err)
	}
	if err := controlplane.DeleteAll(t.Context(), s, "A"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := controlplane.New(s, "a").Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load of what was deleted: %v", err)
	}
	if d, _, err := controlplane.New(s, "a-b").Load(t.Context(), "fn"); err != nil || d.Keys.Keys[0].Value != "function-2" {
		t.Errorf("the other app's: %v, %v", d, err)
	}
	if err := controlplane.DeleteAll(t.Context(), s, "a"); err != nil {
		t.Errorf("delete all of nothing: %v", err)
	}
}

func TestDeleteAllRemovesMoreThanOneWriteCan(t *testing.T) {
	s := memory.New(clock.Real{})
	const n = 2*state.MaxOps + 1
	for i := range n {
		write(t, s, state.Put(key(keystore.Doc(docName(i))), []byte("not even JSON"), state.Absent))
	}
	if docs, err := controlplane.New(s, app).List(t.Context()); err != nil || len(docs) != n {
		t.Fatalf("list: %d, %v", len(docs), err)
	}
	if err := controlplane.DeleteAll(t.Context(), s, app); err != nil {
		t.Fatal(err)
	}
	if docs, err := controlplane.New(s, app).List(t.Context()); err != nil || len(docs) != 0 {
		t.Errorf("left: %v, %v", docs, err)
	}
}

func docName(i int) string {
	return "f" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + string(rune('a'+i/676))
}

func put(t *testing.T, s keystore.Store, doc keystore.Doc, tag string) {
	t.Helper()
	_, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) {
		return keystoretest.Function(tag), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesOfAppsAreOneSegment(t *testing.T) {
	s := memory.New(clock.Real{})
	for _, name := range []string{"", "a/b", "a\x00b"} {
		_, _, err := controlplane.New(s, name).Load(t.Context(), "fn")
		if !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("app %q: %v", name, err)
		}
		if err := controlplane.DeleteAll(t.Context(), s, name); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("delete all of app %q: %v", name, err)
		}
	}
}

func TestLostEventsMeanThatAnyDocumentMayHaveChanged(t *testing.T) {
	s := memory.New(clock.Real{})
	heard := make(chan keystore.Doc, 10)
	done, err := controlplane.New(s, app).Watch(t.Context(), func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	s.Forget()
	if got := <-heard; got != "" {
		t.Errorf("heard of %q", got)
	}
	put(t, controlplane.New(s, app), "fn", "1")
	if got := <-heard; got != "fn" {
		t.Errorf("heard of %q", got)
	}
	select {
	case <-done:
		t.Error("the watch has ended")
	default:
	}
}

func TestWatchOfAnUnreachableStateIsRefused(t *testing.T) {
	s := memory.New(clock.Real{})
	s.SetUnavailable(true)
	if _, err := controlplane.New(s, app).Watch(t.Context(), func(keystore.Doc) {}); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("watch: %v", err)
	}
}

func TestDocumentsLookLikeTheStockHosts(t *testing.T) {
	s := memory.New(clock.Real{})
	put(t, controlplane.New(s, app), "fn", "1")
	want, _, err := codec.New(codec.Config{}).Encode("fn", keystoretest.Function("1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(value(t, s, "fn"))); diff != "" {
		t.Error(diff)
	}
}
