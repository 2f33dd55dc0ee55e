package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
)

func testStore(t *testing.T) (context.Context, *Store) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s, err := Open(ctx, filepath.Join(t.TempDir(), "state"), clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return ctx, s
}

// TestWritesAreSynced: a killed process cannot tell, since the system keeps what
// it wrote; only a power failure would.
func TestWritesAreSynced(t *testing.T) {
	_, s := testStore(t)
	if s.db.NoSync || s.db.NoGrowSync || s.db.NoFreelistSync {
		t.Error("the library does not sync")
	}
}

func TestWritesOfABatchHaveTheirOwnConditions(t *testing.T) {
	ctx, s := testStore(t)
	events, err := s.Watch(ctx, "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var batch []*request
	for _, ops := range [][]state.Op{
		{state.Put("/a", []byte("1"), state.Absent)},
		{state.Put("/b", nil, state.Any), state.Put("/a", []byte("2"), state.Absent)}, // fails: the first made it
		{state.Put("/a", []byte("3"), 1), state.Put("/c", nil, state.Absent)},
		{state.Check("/a", 1)}, // fails: the third changed it
		{state.Check("/a", 2)},
		{state.Delete("/c", 2)},
		{state.Delete("/c", state.Any)}, // changes nothing
	} {
		batch = append(batch, newRequest(ops))
	}
	go func() { s.commit(batch); close(done) }()
	<-done
	type outcome struct {
		Revision state.Revision
		Conflict bool
	}
	var got []outcome
	for _, r := range batch {
		<-r.answer
		got = append(got, outcome{r.revision, errors.Is(r.err, state.ErrConflict)})
	}
	if diff := cmp.Diff([]outcome{{1, false}, {0, true}, {2, false}, {0, true}, {2, false}, {3, false}, {3, false}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var keys []state.Key
	for range 4 {
		keys = append(keys, (<-events).Key)
	}
	if diff := cmp.Diff([]state.Key{"/a", "/a", "/c", "/c"}, keys); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestWaitingWritesShareATransaction(t *testing.T) {
	s := &Store{requests: make(chan *request), closing: make(chan struct{})}
	for range 10 {
		go func() { _, _ = s.write(t.Context(), state.Put("/a", nil, state.Any)) }()
	}
	var got int
	for got < 10 { // nobody is lost, however they come
		batch := s.gather(<-s.requests)
		for _, r := range batch {
			close(r.answer)
		}
		got += len(batch)
	}
	large := newRequest([]state.Op{state.Put("/a", make([]byte, batchBytes), state.Any)})
	if batch := s.gather(large); len(batch) != 1 {
		t.Errorf("a batch over the limit grows to %d", len(batch))
	}
}

func TestWriteThatTheDiskKeepsWaiting(t *testing.T) {
	c := clock.NewManual(time.Unix(0, 0))
	s := &Store{requests: make(chan *request), closing: make(chan struct{}), clock: c}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	write := func() {
		_, err := s.write(ctx, state.Put("/a", nil, state.Any))
		result <- err
	}
	go write()
	<-s.requests // taken, and never answered
	cancel()
	within, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := c.AwaitTimers(within, 1); err != nil {
		t.Fatal("the disk gets no more time")
	}
	c.Advance(patience)
	if err := <-result; !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a write that may happen still: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	go write()
	if err := <-result; errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write that did not begin: %v", err)
	}
}

// TestAWriteThatTheDiskConfirmsLateIsNotInDoubt: the caller's time is up while the
// disk works; who then is told that a write may have happened would do it twice.
func TestAWriteThatTheDiskConfirmsLateIsNotInDoubt(t *testing.T) {
	life, s := testStore(t)
	disk, err := s.db.Begin(true) // nothing can be committed beside it
	if err != nil {
		t.Fatal(err)
	}
	r := newRequest([]state.Op{state.Put("/slow", nil, state.Absent)})
	select {
	case s.requests <- r: // the disk has it
	case <-life.Done():
		t.Fatal("nobody takes the write")
	}
	ctx, cancel := context.WithCancel(life)
	cancel()
	result := make(chan error, 1)
	go func() {
		at, err := s.await(ctx, r)
		if err == nil && at != 1 {
			err = fmt.Errorf("revision %d", at)
		}
		result <- err
	}()
	if err := disk.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("the write that the disk confirmed late: %v", err)
	}
	if _, err := s.write(life, state.Put("/slow", nil, state.Absent)); !errors.Is(err, state.ErrConflict) {
		t.Errorf("the same write again: %v", err)
	}
}

func TestValuesOfAWriteMayChangeWhileItWaits(t *testing.T) {
	value, ops := []byte("mine"), []state.Op{state.Put("/a", nil, state.Any)}
	ops[0].Value = value
	r := newRequest(ops)
	copy(value, "xxxx")
	ops[0].Key = "/b"
	if r.ops[0].Key != "/a" || string(r.ops[0].Value[revisionSize:]) != "mine" {
		t.Errorf("the request has %+v", r.ops)
	}
}
