package platform

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestNoKeysAreMadeInPlaceOfThoseInTheControlPlane: a setting that names another,
// empty store must not lock out who has keys.
func TestNoKeysAreMadeInPlaceOfThoseInTheControlPlane(t *testing.T) {
	named, before := memory.New(), memory.New()
	store := guard(named, before, "orders")
	put := func(s keystore.Store, doc keystore.Doc, value string) error {
		_, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) {
			return keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "default", Value: value}}}}, nil
		})
		return err
	}
	if err := put(before, "f", "old"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Load(t.Context(), "f"); !errors.Is(err, problem.Conflict) || problem.NextOf(err) == "" {
		t.Errorf("load: %v", err)
	}
	if err := put(store, "f", "new"); !errors.Is(err, problem.Conflict) {
		t.Errorf("update: %v", err)
	}
	if _, _, err := named.Load(t.Context(), "f"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("something was made: %v", err)
	}
	if _, _, err := store.Load(t.Context(), "g"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a function without keys of before: %v", err)
	}
	if err := put(named, "f", "old"); err != nil { // as somebody who copies them does
		t.Fatal(err)
	}
	if err := put(store, "f", "next"); err != nil {
		t.Errorf("once they are there: %v", err)
	}
	if _, ok := store.(keystore.Watcher); !ok {
		t.Error("changes are not told any more")
	}
}
