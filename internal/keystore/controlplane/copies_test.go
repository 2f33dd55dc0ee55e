package controlplane_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// TestACopyOfADocumentThatDoesNotOpen: it is kept as it is sealed, opens by the
// document's name once it can be opened, and is in nobody's way meanwhile.
func TestACopyOfADocumentThatDoesNotOpen(t *testing.T) {
	inner := memory.New(clock.Real{})
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(inner, sealed.KeysetKey), keyset.NewKEK("", filepath.Join(t.TempDir(), "kek")), true)
	if err != nil {
		t.Fatal(err)
	}
	outer := sealed.New(inner, keys)
	s := controlplane.New(outer, app)
	if _, _, err := s.Preserve(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a copy of nothing: %v", err)
	}
	put(t, s, "fn", "SECRET")
	good, _, err := s.Load(t.Context(), "fn")
	if err != nil {
		t.Fatal(err)
	}
	whole, _, err1 := s.Preserve(t.Context(), "fn")
	spoilt := bytes.Clone(value(t, inner, "fn"))
	spoilt[len(spoilt)/2] ^= 1
	write(t, inner, state.Put(key("fn"), spoilt, state.Any))
	first, _, err2 := s.Preserve(t.Context(), "fn")
	again, _, err3 := s.Preserve(t.Context(), "fn")
	if err := errors.Join(err1, err2, err3); err != nil || first != again || first == whole {
		t.Fatalf("%q %q %q %v", whole, first, again, err)
	}
	if copies, err := s.Copies(t.Context(), "fn"); err != nil || len(copies) != 2 {
		t.Errorf("%v %v", copies, err)
	}
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn]" {
		t.Errorf("documents %v, %v", docs, err)
	}
	if _, err := s.LoadCopy(t.Context(), "fn", first); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("the spoilt one: %v", err)
	}
	if d, err := s.LoadCopy(t.Context(), "fn", whole); err != nil || !cmp.Equal(d, good) {
		t.Errorf("the whole one: %v %s", err, cmp.Diff(good, d))
	}
	for _, want := range []error{nil, keystore.ErrNotFound} {
		if err := s.RemoveCopy(t.Context(), "fn", first); !errors.Is(err, want) {
			t.Errorf("removing a copy: %v, want %v", err, want)
		}
	}
	if err := s.RemoveCopy(t.Context(), "fn", "fn"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("removing the document as a copy: %v", err)
	}
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	if err := outer.Reseal(t.Context(), nil); err != nil {
		t.Errorf("a copy keeps the state from being sealed anew: %v", err)
	}
	if d, err := s.LoadCopy(t.Context(), "fn", whole); err != nil || !cmp.Equal(d, good) {
		t.Errorf("after that: %v", err)
	}
	for _, other := range []string{"", "fn", "../other/fn.snapshot.a.json", "fn.snapshot.none.json", "fn.snapshot." + strings.Repeat("n", 5000) + ".json", "fn.snapshot.\n.json"} {
		if _, err := s.LoadCopy(t.Context(), "fn", other); !errors.Is(err, keystore.ErrInvalid) && !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%.40q: %v", other, err)
		}
	}
	if err := controlplane.DeleteAll(t.Context(), outer, app); err != nil {
		t.Fatal(err)
	}
	if copies, err := s.Copies(t.Context(), "fn"); err != nil || len(copies) != 0 {
		t.Errorf("after the app: %v %v", copies, err)
	}
}

// TestThereIsAnEndToCopies: what damages a document again and again fills no state.
func TestThereIsAnEndToCopies(t *testing.T) {
	s := controlplane.New(memory.New(clock.Real{}), app)
	for i := range keystore.MaxCopies + 1 {
		put(t, s, "fn", fmt.Sprint(i))
		name, _, err := s.Preserve(t.Context(), "fn")
		if i < keystore.MaxCopies {
			d, loadErr := s.LoadCopy(t.Context(), "fn", name)
			if err != nil || loadErr != nil || !cmp.Equal(d, keystoretest.Function(fmt.Sprint(i))) {
				t.Fatalf("%v %v", err, loadErr)
			}
		} else if !errors.Is(err, keystore.ErrConflict) {
			t.Errorf("one too many: %v", err)
		}
	}
}
