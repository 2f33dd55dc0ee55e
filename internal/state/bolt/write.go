package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Bounds of how many writes share one transaction.
const (
	batchWrites = 256
	batchBytes  = 8 << 20
)

// request is a write on its way to the goroutine that commits.
type request struct {
	ops    []state.Op // values have room for the revision before them
	size   int
	answer chan struct{} // closed when revision and err are set

	revision state.Revision
	err      error
}

// patience is how long a write that the disk has is waited for when its caller's
// time is up. Whoever is told that it may have happened can neither go on nor try
// again without looking; after a moment there nearly always is an answer.
const patience = 10 * time.Second

// write submits operations and waits until they are durable. A caller whose time is
// up before the disk has them is answered at once: they do not happen any more.
func (s *Store) write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	r := newRequest(ops)
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return 0, state.Alive(ctx)
	case <-s.closing:
		return 0, errClosed()
	}
	select {
	case <-r.answer:
		return r.revision, r.err
	case <-ctx.Done():
		return s.await(ctx, r)
	}
}

// await gives the disk a little longer than the caller did.
func (s *Store) await(ctx context.Context, r *request) (state.Revision, error) {
	t := s.clock.NewTimer(patience)
	defer t.Stop()
	select {
	case <-r.answer:
		return r.revision, r.err
	case <-t.C():
		return 0, problem.Wrap(state.ErrUnavailable, "the disk did not confirm the write in time; it may have happened", ctx.Err()).
			WithNext("look whether it did before trying again, and see whether the disk with " + s.path + " is in order")
	}
}

// newRequest copies what the caller may change as soon as its call returns.
func newRequest(ops []state.Op) *request {
	r := &request{ops: append([]state.Op(nil), ops...), answer: make(chan struct{})}
	for i, op := range r.ops {
		if op.Kind == state.OpPut {
			r.ops[i].Value = append(make([]byte, revisionSize, revisionSize+len(op.Value)), op.Value...)
		}
		r.size += len(op.Key) + len(op.Value)
	}
	return r
}

// run commits writes until the store is closed.
func (s *Store) run() {
	defer close(s.done)
	for {
		select {
		case r := <-s.requests:
			s.commit(s.gather(r))
		case <-s.closing:
			return
		}
	}
}

// gather takes the writes that wait already; it waits for none.
func (s *Store) gather(first *request) []*request {
	batch, size := []*request{first}, first.size
	for len(batch) < batchWrites && size < batchBytes {
		select {
		case r := <-s.requests:
			batch, size = append(batch, r), size+r.size
		default:
			return batch
		}
	}
	return batch
}

// errNothing rolls a transaction back that changes nothing.
var errNothing = errors.New("nothing to write")

// commit does writes in one transaction and answers them. Each has its own
// conditions, which see what those before it do, and its own result.
func (s *Store) commit(batch []*request) {
	events, err := s.transact(batch)
	if err != nil {
		s.doubt()
	}
	s.feed.Publish(events)
	for _, r := range batch {
		if err != nil {
			r.revision, r.err = 0, err
		}
		close(r.answer)
	}
}

func (s *Store) transact(batch []*request) (events []state.Event, err error) {
	defer s.guard(&err, debug.SetPanicOnFault(true))
	err = s.db.Update(func(tx *bbolt.Tx) error {
		docs := tx.Bucket(documents)
		for _, r := range batch {
			made, err := r.apply(docs)
			if err != nil {
				return err
			}
			events = append(events, made...)
		}
		if len(events) == 0 {
			return errNothing
		}
		return nil
	})
	switch {
	case err == nil:
		return events, nil
	case errors.Is(err, errNothing):
		return nil, nil
	}
	return nil, s.failed(err)
}

// apply does one write within a transaction if its conditions hold; whether they
// do is in r.err, the error returned is one of the whole transaction.
func (r *request) apply(docs *bbolt.Bucket) ([]state.Event, error) {
	at := state.Revision(docs.Sequence())
	r.revision, r.err = at, nil
	for _, op := range r.ops {
		if err := state.CheckCondition(op, revisionOf(docs.Get([]byte(op.Key)))); err != nil {
			r.revision, r.err = 0, err
			return nil, nil
		}
	}
	events, err := r.change(docs, at+1)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	r.revision = at + 1
	return events, docs.SetSequence(uint64(r.revision))
}

func (r *request) change(docs *bbolt.Bucket, next state.Revision) (events []state.Event, err error) {
	for _, op := range r.ops {
		doc := state.Document{Key: op.Key, Revision: next}
		switch {
		case op.Kind == state.OpPut:
			binary.BigEndian.PutUint64(op.Value, uint64(next))
			doc.Value = op.Value[revisionSize:]
			err = docs.Put([]byte(op.Key), op.Value)
			events = append(events, state.Event{Kind: state.EventPut, Document: doc})
		case op.Kind == state.OpDelete && docs.Get([]byte(op.Key)) != nil:
			err = docs.Delete([]byte(op.Key))
			events = append(events, state.Event{Kind: state.EventDelete, Document: doc})
		}
		if err != nil {
			return nil, err
		}
	}
	return events, nil
}

// doubt makes watchers read anew after a failed commit: when the disk fails at
// the very end, the file can have changes that nobody was told of.
func (s *Store) doubt() {
	if at, err := s.Revision(context.Background()); err == nil {
		s.feed.Forget(at)
	}
}

// failed gives the error of a transaction that the disk did not take.
func (s *Store) failed(err error) error {
	p := problem.Wrap(state.ErrUnavailable, "the state could not be written to "+s.path, err)
	if isFull(err) {
		return p.WithNext("make room on the file system of " + s.path + "; what was stored before is intact")
	}
	return p.WithNext("see whether the disk with " + s.path + " is in order")
}

// isFull reports whether there was no room. The library hides some causes in text.
func isFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}
