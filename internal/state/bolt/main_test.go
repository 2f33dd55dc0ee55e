package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
)

// role makes the test binary another program: one that is killed while it writes,
// or one whose disk gets full.
const role = "LATCHKEY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "killed":
		exit(writeUntilKilled(os.Args[1], os.Args[2]))
	case "full":
		exit(fillDisk(os.Args[1]))
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func key(i int) state.Key { return state.Key(fmt.Sprintf("/d/%06d", i)) }

// workers is how many goroutines write in the program that is killed.
const workers = 4

// writeUntilKilled writes for ever and prints each write that was acknowledged:
// the worker, the number of the write, its revision.
func writeUntilKilled(path, round string) error {
	s, err := bolt.Open(context.Background(), path, clock.Real{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var printing sync.Mutex
	for w := range workers {
		go func() {
			for n := 0; ; n++ {
				rev, err := s.Write(context.Background(), mixed(round, w, n)...)
				if err != nil {
					failed <- err
					return
				}
				printing.Lock()
				fmt.Printf("%d %d %d\n", w, n, rev)
				printing.Unlock()
			}
		}()
	}
	return <-failed
}

// mixed gives the nth write of a worker: puts and deletes of a few documents, of
// sizes from nothing to many pages, always with the number of the write.
func mixed(round string, worker, n int) []state.Op {
	r := rand.New(rand.NewPCG(uint64(worker), uint64(n)))
	home := fmt.Sprintf("/kill/%s/%d/", round, worker)
	ops := []state.Op{state.Put(state.Key(home+"n"), fmt.Append(nil, n), state.Any)}
	for _, i := range r.Perm(12)[:r.IntN(6)] {
		k := state.Key(fmt.Sprintf("%sdoc %d", home, i))
		if r.IntN(3) == 0 {
			ops = append(ops, state.Delete(k, state.Any))
			continue
		}
		size := []int{0, 10, 500, 5_000, 40_000}[r.IntN(5)]
		ops = append(ops, state.Put(k, append(fmt.Append(nil, n, " "), make([]byte, size)...), state.Any))
	}
	return ops
}

// fillDisk writes until the file may not grow any more, and wants clear errors,
// no loss, and everything to work again when there is room.
func fillDisk(folder string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path := filepath.Join(folder, "state")
	s, err := bolt.Open(ctx, path, clock.Real{})
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := limitFiles(1 << 20); err != nil {
		return err
	}
	written, err := fill(ctx, s)
	if !errors.Is(err, state.ErrUnavailable) || problem.NextOf(err) == "" {
		return fmt.Errorf("a full disk is %w, next: %q", err, problem.NextOf(err))
	}
	if err := holds(ctx, s, written); err != nil {
		return err
	}
	if err := resyncs(ctx, s, written); err != nil {
		return err
	}
	if err := limitFiles(64 << 20); err != nil {
		return err
	}
	if _, err := s.Write(ctx, state.Put(key(written), big(written), state.Absent)); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = bolt.Open(ctx, path, clock.Real{}); err != nil {
		return err
	}
	return errors.Join(holds(ctx, s, written+1), s.Close())
}

func limitFiles(size uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		return err
	}
	l.Cur = size
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
}

func big(i int) []byte { return append(make([]byte, 50_000), byte(i)) }

func fill(ctx context.Context, s *bolt.Store) (written int, err error) {
	for written = range 1000 {
		if _, err = s.Write(ctx, state.Put(key(written), big(written), state.Absent)); err != nil {
			return written, err
		}
	}
	return 0, errors.New("the disk does not get full")
}

// holds wants exactly the first n documents of fill.
func holds(ctx context.Context, s *bolt.Store, n int) error {
	listing, err := s.List(ctx, "/", state.Page{})
	if err != nil || len(listing.Documents) != n || n == 0 {
		return fmt.Errorf("%d documents, want %d, %w", len(listing.Documents), n, err)
	}
	for i, doc := range listing.Documents {
		if doc.Key != key(i) || string(doc.Value) != string(big(i)) {
			return fmt.Errorf("%s has %d bytes", doc.Key, len(doc.Value))
		}
	}
	return nil
}

// resyncs wants a watch to end with EventResync when a write fails.
func resyncs(ctx context.Context, s *bolt.Store, n int) error {
	listing, err := s.List(ctx, "/", state.Page{KeysOnly: true})
	if err != nil {
		return err
	}
	events, err := s.Watch(ctx, "/", listing.Revision)
	if err != nil {
		return err
	}
	if _, err := s.Write(ctx, state.Put(key(n), make([]byte, 500_000), state.Absent)); !errors.Is(err, state.ErrUnavailable) {
		return fmt.Errorf("a full disk takes a write: %w", err)
	}
	if e := <-events; e.Kind != state.EventResync {
		return fmt.Errorf("a watch reports %+v", e)
	}
	return nil
}
