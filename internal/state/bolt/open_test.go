package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
)

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := openAt(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(s.String(), path) {
		t.Errorf("the store calls itself %q", s)
	}
}

// opening opens a file in the background.
func opening(ctx context.Context, path string, c clock.Clock) <-chan error {
	opened := make(chan error, 1)
	go func() {
		s, err := bolt.Open(ctx, path, c)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	return opened
}

func TestFileOfAnotherProcess(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "state"), clock.NewManual(time.Unix(0, 0))
	s, ctx := openAt(t, path), testContext(t)
	t.Run("is given up in the end", func(t *testing.T) {
		opened := opening(ctx, path, c)
		for {
			if err := c.AwaitTimers(ctx, 1); err != nil {
				t.Fatal(err)
			}
			c.Advance(4 * time.Second)
			select {
			case err := <-opened:
				if !errors.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), path) || problem.NextOf(err) == "" {
					t.Errorf("got %v, next: %s", err, problem.NextOf(err))
				}
				return
			case <-time.After(time.Millisecond):
			}
			if c.Now().After(time.Unix(60, 0)) {
				t.Fatal("it waits for ever")
			}
		}
	})
	t.Run("is not waited for when nobody wants it any more", func(t *testing.T) {
		short, cancel := context.WithCancel(ctx)
		opened := opening(short, path, c)
		if err := c.AwaitTimers(ctx, 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-opened; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("is taken when it is free", func(t *testing.T) {
		opened := opening(ctx, path, c)
		if err := c.AwaitTimers(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
		if err := <-opened; err != nil {
			t.Error(err)
		}
	})
}

// stateFile gives the bytes of a state with some documents.
func stateFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	s := openAt(t, path)
	for i := range 50 {
		if _, err := s.Write(testContext(t), state.Put(key(i), bytes.Repeat([]byte{byte(i)}, 3000), state.Any)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// used gives how many bytes of a file are in use; it can be longer.
func used(t *testing.T, text []byte) (size int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = db.View(func(tx *bbolt.Tx) error { size = int(tx.Size()); return nil })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return size
}

// boltFile gives the bytes of a file of the library with one bucket.
func boltFile(t *testing.T, bucket string, pairs ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		for i := 0; err == nil && i < len(pairs); i += 2 {
			err = b.Put([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestFilesThatAreNoStateAreLeftAlone(t *testing.T) {
	good := stateFile(t)
	noMeta := bytes.Clone(good)
	clear(noMeta[:2*os.Getpagesize()])
	tests := []struct {
		name string
		text []byte
		want problem.Kind
	}{
		{"text", []byte("this is not a state\n"), problem.Undecryptable},
		{"long text", bytes.Repeat([]byte("not a state\n"), 10_000), problem.Undecryptable},
		{"zeros", make([]byte, 1<<16), problem.Undecryptable},
		{"one byte", []byte{0}, problem.Undecryptable},
		{"cut in the first page", good[:100], problem.Undecryptable},
		{"cut after the first page", good[:os.Getpagesize()], problem.Undecryptable},
		{"cut after the head", good[:2*os.Getpagesize()], problem.Undecryptable},
		{"cut in the middle", good[:len(good)/4], problem.Undecryptable},
		{"cut by its last page", good[:used(t, good)-os.Getpagesize()], problem.Undecryptable},
		{"without its head", noMeta, problem.Undecryptable},
		{"another program's", boltFile(t, "members", "a", "b"), problem.Undecryptable},
		{"a newer version's", boltFile(t, "latchkey", "format", "2"), problem.Unsupported},
		{"without documents", boltFile(t, "latchkey", "format", "1"), problem.Undecryptable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first attempt leaves no lock behind
				_, err := bolt.Open(testContext(t), path, clock.Real{})
				if problem.KindOf(err) != tt.want || !strings.Contains(err.Error(), path) || problem.NextOf(err) == "" {
					t.Errorf("got %v, next: %s", err, problem.NextOf(err))
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, tt.text) {
				t.Errorf("the file was changed, %v", err)
			}
		})
	}
}

func TestPlacesWhereNoFileCanBe(t *testing.T) {
	folder := t.TempDir()
	for path, want := range map[string]problem.Kind{
		folder:                               problem.Undecryptable,
		filepath.Join(folder, "no", "state"): problem.Unavailable,
	} {
		if _, err := bolt.Open(testContext(t), path, clock.Real{}); problem.KindOf(err) != want || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	}
}

func TestLeasesEndWithTheirProcess(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "state"), testContext(t)
	s := openAt(t, path)
	l, err := s.Acquire(ctx, "job", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	listing, err := s.List(ctx, state.LeasePrefix, state.Page{})
	if err != nil || len(listing.Documents) != 0 || listing.Revision <= l.Fence().If {
		t.Errorf("left %v at %d, %v", listing.Documents, listing.Revision, err)
	}
}

func TestEmptyFileIsANewState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, path).Write(testContext(t), state.Put("/a", nil, state.Absent)); err != nil {
		t.Error(err)
	}
}

// TestDamageIsAnError damages every page but the head of a state, one at a time.
// Documents are given as they were or an error is, and the process lives on.
func TestDamageIsAnError(t *testing.T) {
	good, ctx, damaged := stateFile(t), testContext(t), 0
	for at := 2 * os.Getpagesize(); at < len(good); at += os.Getpagesize() {
		text := bytes.Clone(good)
		copy(text[at:], bytes.Repeat([]byte{0xa5}, 64)) // the page's header
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(ctx, path, clock.Real{})
		if err != nil {
			damaged++
			wantDamage(t, err)
			continue
		}
		for i := range 50 {
			doc, err := s.Get(ctx, key(i))
			if err != nil {
				damaged++
				wantDamage(t, err)
			} else if len(doc.Value) != 3000 {
				t.Errorf("%s has %d bytes", doc.Key, len(doc.Value))
			}
			if _, err := s.Write(ctx, state.Put(key(i), nil, state.Any)); err != nil {
				wantDamage(t, err)
			}
		}
		if _, err := s.List(ctx, "/", state.Page{}); err != nil {
			wantDamage(t, err)
		}
		_ = s.Close()
	}
	if damaged == 0 {
		t.Error("no damage was found")
	}
}

func wantDamage(t *testing.T, err error) {
	t.Helper()
	if kind := problem.KindOf(err); kind != problem.Undecryptable && kind != problem.NotFound {
		t.Errorf("got %v", err)
	}
}
