package controlplane_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// TestASealedDocumentThatDoesNotOpen is how the control plane uses the store: all
// of one app works but the damaged document, which is kept until it is deleted.
func TestASealedDocumentThatDoesNotOpen(t *testing.T) {
	inner := memory.New(clock.Real{})
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(inner, sealed.KeysetKey), keyset.NewKEK("", filepath.Join(t.TempDir(), "kek")), true)
	if err != nil {
		t.Fatal(err)
	}
	s := controlplane.New(sealed.New(inner, keys), app)
	put(t, s, "fn", "SECRET")
	put(t, s, "other", "2")
	stored := value(t, inner, "fn")
	if bytes.Contains(stored, []byte("SECRET")) {
		t.Error("the value lies there in clear")
	}
	// Another document's value is sealed well, but not for this place.
	write(t, inner, state.Put(key("fn"), value(t, inner, "other"), state.Any))
	heard := make(chan keystore.Doc, 10)
	if _, err := s.Watch(t.Context(), func(d keystore.Doc) { heard <- d }); err != nil {
		t.Fatal(err)
	}
	_, _, load := s.Load(t.Context(), "fn")
	_, _, update := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		t.Error("the change ran")
		return keystoretest.Function("3"), nil
	})
	for what, err := range map[string]error{"load": load, "update": update} {
		if !errors.Is(err, keystore.ErrUndecryptable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn other]" {
		t.Errorf("list: %v, %v", docs, err)
	}
	write(t, inner, state.Put(key("fn"), []byte("damaged in another way"), state.Any))
	put(t, s, "other", "3")
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, want := range []keystore.Doc{"fn", "other", "fn"} {
		if got := <-heard; got != want {
			t.Errorf("heard of %q, want %q", got, want)
		}
	}
}

func TestDocumentsOverTheLimitAreInvalid(t *testing.T) {
	s := controlplane.New(memory.New(clock.Real{}), app)
	_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		d := keystoretest.Function("1")
		d.Keys.Keys[0].Value = string(bytes.Repeat([]byte("v"), state.MaxValue))
		return d, nil
	})
	if !errors.Is(err, keystore.ErrInvalid) || problem.KindOf(err) != keystore.ErrInvalid {
		t.Error(err)
	}
}

func TestAConflictOfTheChangeIsNotTriedAgain(t *testing.T) {
	s, runs := controlplane.New(memory.New(clock.Real{}), app), 0
	mine := problem.New(problem.Conflict, "not now")
	_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		runs++
		return keystore.Document{}, mine
	})
	if runs != 1 || !errors.Is(err, error(mine)) {
		t.Errorf("ran %d times: %v", runs, err)
	}
}
