package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// held gives a store whose files cannot be read the first n times.
func held(t *testing.T, n int) (*Store, *clock.Manual) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fn.json"), []byte(`{"key":"k"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := clock.NewManual(time.Unix(0, 0))
	s := New(Config{Dir: dir, Clock: c})
	s.read = func(path string) ([]byte, error) {
		if n--; n >= 0 {
			return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EBUSY}
		}
		return os.ReadFile(path)
	}
	return s, c
}

func TestAFileHeldForAMomentIsReadAfterIt(t *testing.T) {
	for _, tc := range []struct {
		fails, pauses int
		want          error
	}{{0, 0, nil}, {1, 1, nil}, {5, 5, nil}, {6, 5, keystore.ErrUnavailable}} {
		t.Run(fmt.Sprint(tc.fails), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, c := held(t, tc.fails)
			got := make(chan error, 1)
			go func() {
				_, _, err := s.Load(ctx, "fn")
				got <- err
			}()
			for range tc.pauses {
				if err := c.AwaitTimers(ctx, 1); err != nil {
					t.Fatal(err)
				}
				c.Advance(readPause)
			}
			if err := <-got; !errors.Is(err, tc.want) {
				t.Errorf("load: %v", err)
			}
		})
	}
}

func TestAWaitForAHeldFileEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, c := held(t, 1000)
	got := make(chan error, 1)
	go func() {
		_, _, err := s.Load(ctx, "fn")
		got <- err
	}()
	if err := c.AwaitTimers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("load: %v", err)
	}
}

func TestWhatIsNoFileOfADocumentsSizeIsDamage(t *testing.T) {
	for name, place := range map[string]func(path string) error{
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a large file": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(`{"key":"k"}`), 0o600), os.Truncate(path, maxFile+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Dir: t.TempDir()})
			if err := place(s.path("fn")); err != nil {
				t.Fatal(err)
			}
			loaded := make(chan error, 1)
			go func() {
				_, _, err := s.Load(t.Context(), "fn")
				loaded <- err
			}()
			select {
			case err := <-loaded:
				if problem.KindOf(err) != keystore.ErrUndecryptable || !strings.Contains(err.Error(), s.path("fn")) || problem.NextOf(err) == "" {
					t.Errorf("load: %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("load waits for ever")
			}
			_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) { return keystore.Document{}, nil })
			if !errors.Is(err, keystore.ErrUndecryptable) {
				t.Errorf("update: %v", err)
			}
		})
	}
}

func TestADocumentThatCouldNotBeReadBackIsNotWritten(t *testing.T) {
	s := New(Config{Dir: t.TempDir()})
	large := keystore.Document{Extra: map[string][]byte{"x": []byte(`"` + strings.Repeat("x", maxFile) + `"`)}}
	_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) { return large, nil })
	if !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("update: %v", err)
	}
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
}

func TestAHeldLockIsReportedAfterAWhile(t *testing.T) {
	s, c := held(t, 0)
	other := New(Config{Dir: s.cfg.Dir})
	release, err := other.lock.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- s.Delete(t.Context(), "fn") }()
	if err := c.AwaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(lockWait)
	if err := <-got; !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("delete: %v", err)
	}
	release()
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Errorf("delete once the lock is free: %v", err)
	}
}

func TestWriteErrorsTellReadOnlyFromUnavailable(t *testing.T) {
	s := New(Config{Dir: "d"})
	for cause, want := range map[error]keystore.Doc{syscall.EROFS: "ro", syscall.EACCES: "ro", syscall.EPERM: "ro", syscall.ENOSPC: "un", syscall.EIO: "un"} {
		kind := keystore.ErrUnavailable
		if want == "ro" {
			kind = keystore.ErrReadOnly
		}
		if err := s.writeError("fn", &fs.PathError{Op: "write", Path: "p", Err: cause}); !errors.Is(err, kind) || !errors.Is(err, cause) {
			t.Errorf("%v: %v", cause, err)
		}
	}
}
