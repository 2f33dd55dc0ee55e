package files_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
)

func preserve(t *testing.T, s keystore.Copier, doc keystore.Doc) string {
	t.Helper()
	name, _, err := s.Preserve(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestACopyIsKeptOncePerContent: however often a damaged document is read, one
// copy of it is kept, as it is; and there is an end to them.
func TestACopyIsKeptOncePerContent(t *testing.T) {
	dir := t.TempDir()
	s := open(dir, dataProtection(t, siteKey))
	path := filepath.Join(dir, "fn.json")
	if _, _, err := s.Preserve(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a copy of nothing: %v", err)
	}
	for i := range keystore.MaxCopies {
		text := fmt.Sprintf(`{"keys":[{"name":"lost","value":"%d","encrypted":true}]}`, i)
		write(t, path, []byte(text))
		first := preserve(t, s, "fn")
		if second := preserve(t, s, "fn"); first != second || !strings.HasPrefix(first, "fn.snapshot.") {
			t.Errorf("copies %s and %s", first, second)
		}
		if kept, now := string(read(t, filepath.Join(dir, first))), string(read(t, path)); kept != text || now != text {
			t.Errorf("the copy is %s, the document %s", kept, now)
		}
	}
	write(t, path, []byte("one more"))
	if _, _, err := s.Preserve(t.Context(), "fn"); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("a copy too many: %v", err)
	}
	if n := strings.Count(names(t, dir), ".snapshot."); n != keystore.MaxCopies {
		t.Errorf("%d copies", n)
	}
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn]" {
		t.Errorf("documents %v, %v", docs, err)
	}
	copies, err := s.Copies(t.Context(), "fn")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, keystore.ErrNotFound} { // there is room again
		if err := s.RemoveCopy(t.Context(), "fn", copies[0]); !errors.Is(err, want) {
			t.Errorf("removing a copy: %v, want %v", err, want)
		}
	}
	preserve(t, s, "fn")
	for _, other := range []string{"fn.json", "../fn.snapshot.a.json", "host.snapshot.a.json"} {
		if err := s.RemoveCopy(t.Context(), "fn", other); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("removing %s: %v", other, err)
		}
	}
}

func TestACopyIsReadAsItsDocumentWas(t *testing.T) {
	dir := t.TempDir()
	s := open(dir, dataProtection(t, siteKey))
	put(t, s, "fn", keystoretest.Function("1"))
	put(t, s, "fn2", keystoretest.Function("2"))
	name := preserve(t, s, "fn")
	put(t, s, "fn", keystoretest.Function("3"))
	got, err := s.LoadCopy(t.Context(), "fn", name)
	if diff := cmp.Diff(keystoretest.Function("1"), got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, other := range []string{"", "fn2.json", "../fn2.json", preserve(t, s, "fn2"), "fn.snapshot.none.json", "fn.snapshot.../../fn2.json"} {
		if d, err := s.LoadCopy(t.Context(), "fn", other); err == nil {
			t.Errorf("%q was read as a copy: %d keys", other, len(d.Keys.Keys))
		}
	}
}
