package recovery_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/keystore/recovery"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestAStoreWithoutCopiesLosesNothing: what cannot be kept is not given up.
func TestAStoreWithoutCopiesLosesNothing(t *testing.T) {
	s := memory.New()
	s.Put("host", keystoretest.Host("1"))
	s.Corrupt("host")
	_, discard := recovery.Discard(t.Context(), s, "host")
	_, restore := recovery.Restore(t.Context(), s, "host", "host.snapshot.a.json")
	for _, err := range []error{discard, restore} {
		if !errors.Is(err, problem.Unsupported) || problem.NextOf(err) == "" {
			t.Error(err)
		}
	}
	if _, _, err := s.Load(t.Context(), "host"); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("the document: %v", err)
	}
}

// between is a store in which somebody writes right before a document is removed or
// replaced.
type between struct {
	*files.Store
	write func()
}

func (b between) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	b.write()
	return b.Store.DeleteAt(ctx, doc, rev)
}

func (b between) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	b.write()
	return b.Store.Update(ctx, doc, change)
}

// TestWhatSomebodyElseWritesMeanwhileStays, whatever was there before.
func TestWhatSomebodyElseWritesMeanwhileStays(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, s *files.Store, path string){
		"discard of damage":              func(t *testing.T, _ *files.Store, path string) { write(t, path, "{") },
		"restore in place of damage":     func(t *testing.T, _ *files.Store, path string) { write(t, path, "{") },
		"restore in place of a document": func(t *testing.T, s *files.Store, _ string) { update(t, s, "2") },
		"restore in place of nothing": func(t *testing.T, s *files.Store, _ string) {
			if err := s.Delete(t.Context(), "fn"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := files.New(files.Config{Dir: dir})
			update(t, s, "1")
			first, _, err := s.Preserve(t.Context(), "fn")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "fn.json")
			prepare(t, s, path)
			meanwhile, once := files.New(files.Config{Dir: t.TempDir()}), sync.Once{}
			update(t, meanwhile, "meanwhile")
			text, err := os.ReadFile(filepath.Join(strings.TrimPrefix(meanwhile.String(), "files "), "fn.json"))
			if err != nil {
				t.Fatal(err)
			}
			racing := between{s, func() { once.Do(func() { write(t, path, string(text)) }) }}
			if name == "discard of damage" {
				_, err = recovery.Discard(t.Context(), racing, "fn")
			} else {
				_, err = recovery.Restore(t.Context(), racing, "fn", first)
			}
			if !errors.Is(err, problem.Conflict) {
				t.Errorf("it ends with %v", err)
			}
			want := keystoretest.Function("meanwhile").Keys.Keys[0].Value
			if d, _, err := s.Load(t.Context(), "fn"); err != nil || d.Keys.Keys[0].Value != want {
				t.Errorf("what was written meanwhile is lost: %v", err)
			}
		})
	}
}

// TestADocumentIsRestored in place of another one, of damage and of nothing, and what
// was there is kept.
func TestADocumentIsRestored(t *testing.T) {
	dir := t.TempDir()
	s := files.New(files.Config{Dir: dir})
	update(t, s, "1")
	first, _, err := s.Preserve(t.Context(), "fn")
	if err != nil {
		t.Fatal(err)
	}
	for what, prepare := range map[string]func() (keeps bool){
		"damage":     func() bool { write(t, filepath.Join(dir, "fn.json"), "{"); return true },
		"a document": func() bool { update(t, s, "2"); return true },
		"nothing":    func() bool { _, err := recovery.Discard(t.Context(), damaged(t, s, dir), "fn"); return err != nil },
	} {
		keeps := prepare()
		kept, err := recovery.Restore(t.Context(), s, "fn", first)
		if err != nil || (kept != "") != keeps {
			t.Errorf("in place of %s: %q, %v", what, kept, err)
		}
		if d, _, err := s.Load(t.Context(), "fn"); err != nil || d.Keys.Keys[0].Value != keystoretest.Function("1").Keys.Keys[0].Value {
			t.Errorf("in place of %s: %v", what, err)
		}
	}
}

func damaged(t *testing.T, s *files.Store, dir string) *files.Store {
	write(t, filepath.Join(dir, "fn.json"), "[")
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

func update(t *testing.T, s *files.Store, tag string) {
	t.Helper()
	if _, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) { return keystoretest.Function(tag), nil }); err != nil {
		t.Fatal(err)
	}
}
