package atomicfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

func holds(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%s holds %q, want %q, %v", path, b, want, err)
	}
}

func onlyFiles(t *testing.T, dir string, n int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != n {
		t.Errorf("folder holds %v, %v", entries, err)
	}
}

func TestWriteReplacesAndCreateDoesNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	if err := atomicfile.Create(path, []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Create(path, []byte("2")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	holds(t, path, "1")
	if err := atomicfile.Write(path, []byte("3")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "3")
	onlyFiles(t, filepath.Dir(path), 1)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestConcurrentCreatesHaveOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	var wg sync.WaitGroup
	var won atomic.Int32
	var winner atomic.Value
	for i := range 16 {
		wg.Go(func() {
			text := fmt.Sprint(i)
			switch err := atomicfile.Create(path, []byte(text)); {
			case err == nil:
				won.Add(1)
				winner.Store(text)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d winners", won.Load())
	}
	holds(t, path, winner.Load().(string))
	onlyFiles(t, filepath.Dir(path), 1)
}

func TestWritingWhereNothingCanBeWrittenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(filepath.Join(dir, "taken"), []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if err := atomicfile.Write(filepath.Join(dir, "no", "f"), []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	onlyFiles(t, dir, 1)
}

func TestSweepTakesOnlyTemporaryFilesOfTheCallers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".mine.json.1.lktmp", ".theirs.json.1.lktmp", "mine.json.1.lktmp", ".lktmp", "..lktmp", "mine.json", ".mine.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := atomicfile.Sweep(dir, func(name string) bool { return name == "mine.json" || name == "" }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".mine.json.1.lktmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not swept: %v", err)
	}
	onlyFiles(t, dir, 6)
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	locks := []*atomicfile.Lock{atomicfile.NewLock(path), atomicfile.NewLock(path)}
	var inside, entered int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				release, err := locks[i%2].Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := atomic.AddInt32(&inside, 1); n != 1 {
					t.Errorf("%d holders", n)
				}
				entered++ // the race detector sees a lock that does not lock
				atomic.AddInt32(&inside, -1)
				release()
			}
		})
	}
	wg.Wait()
	if entered != 320 {
		t.Errorf("entered %d times", entered)
	}
}

func TestAnAbandonedWaitGivesTheLockBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder, waiter := atomicfile.NewLock(path), atomicfile.NewLock(path)
	release, err := holder.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second and third wait for the turn the first still has
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() {
			_, err := waiter.Acquire(ctx)
			got <- err
		}()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	release()
	for _, l := range []*atomicfile.Lock{waiter, holder} {
		release, err := l.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
}
