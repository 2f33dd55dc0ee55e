package blob_test

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/test/azurite"
)

// TestACopyOfADocumentIsKeptOnceAndOpens: it is no document, and the document stays.
func TestACopyOfADocumentIsKeptOnceAndOpens(t *testing.T) {
	storage := azurite.Start(t, azurite.Options{})
	s, err := blob.Open(t.Context(), blob.Config{ConnectionString: storage.ConnectionString(), App: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Preserve(t.Context(), "hello"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("no document: %v", err)
	}
	put := func(value string) {
		t.Helper()
		_, _, err := s.Update(t.Context(), "hello", func(keystore.Document, bool) (keystore.Document, error) {
			return keystoretest.Function(value), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	first, _, err1 := s.Preserve(t.Context(), "hello")
	again, _, err2 := s.Preserve(t.Context(), "hello")
	if err := errors.Join(err1, err2); err != nil || first != again || !keystore.IsCopy("hello", first) {
		t.Fatalf("%q %q %v", first, again, err)
	}
	put("b")
	if d, err := s.LoadCopy(t.Context(), "hello", first); err != nil || d.Keys.Keys[0].Value != keystoretest.Function("a").Keys.Keys[0].Value {
		t.Errorf("%+v %v", d, err)
	}
	if _, err := s.LoadCopy(t.Context(), "hello", "../other/host.json"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("another name: %v", err)
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 1 {
		t.Errorf("%v %v", docs, err)
	}
	for i := range keystore.MaxCopies + 1 {
		put(string(rune('c' + i)))
		if _, _, err = s.Preserve(t.Context(), "hello"); err != nil {
			break
		}
	}
	if copies, listErr := s.Copies(t.Context(), "hello"); !errors.Is(err, keystore.ErrConflict) || listErr != nil || len(copies) != keystore.MaxCopies {
		t.Errorf("%d copies, %v, %v", len(copies), err, listErr)
	}
	for _, want := range []error{nil, keystore.ErrNotFound} {
		if err := s.RemoveCopy(t.Context(), "hello", first); !errors.Is(err, want) {
			t.Errorf("removing a copy: %v, want %v", err, want)
		}
	}
	if err := s.RemoveCopy(t.Context(), "hello", "../other/host.json"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("removing what is no copy: %v", err)
	}
}
