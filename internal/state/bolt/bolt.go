// Package bolt owns the state of a single node in one file on its disk, written by
// the bbolt library: durable before a write returns, one process at a time. It
// does not know what documents mean or whether their values are sealed, and it
// keeps the history of changes in memory only.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/feed"
	"github.com/latchkey/latchkey/internal/state/lease"
)

// Buckets of the file. The sequence of the documents' bucket is the revision of
// the store.
var (
	documents = []byte("documents")
	meta      = []byte("latchkey")
)

// revisionSize is how many bytes before each value are its document's revision.
const revisionSize = 8

// Store is a state store in a file. It is safe for concurrent use; leases are
// those of this process, and end with it.
type Store struct {
	path  string
	db    *bbolt.DB
	clock clock.Clock
	feed  *feed.Feed
	desk  *lease.Desk

	requests chan *request // to the goroutine that commits
	closing  chan struct{} // closed by Close
	done     chan struct{} // closed when that goroutine has ended
	close    func() error
}

var _ state.Store = (*Store)(nil)

func newStore(path string, db *bbolt.DB, c clock.Clock, at state.Revision) *Store {
	s := &Store{
		path: path, db: db, clock: c, feed: feed.New(at),
		requests: make(chan *request), closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.desk = lease.NewDesk(s.write)
	s.close = sync.OnceValue(s.shut)
	go s.run()
	return s
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Document, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Document{}, err
	}
	var doc state.Document
	err := s.view(ctx, func(docs *bbolt.Bucket) error {
		stored := docs.Get([]byte(key))
		if stored == nil {
			return state.Missing(key)
		}
		var err error
		doc, err = s.decode(key, stored, true)
		return err
	})
	return doc, err
}

// List implements [state.Store].
func (s *Store) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	if err := state.CheckList(prefix, page); err != nil {
		return state.Listing{}, err
	}
	var listing state.Listing
	err := s.view(ctx, func(docs *bbolt.Bucket) error {
		var err error
		listing, err = s.list(ctx, docs, prefix, page)
		return err
	})
	if err != nil {
		return state.Listing{}, err
	}
	return listing, nil
}

// sweep is after how many documents a list looks whether it is still wanted.
const sweep = 1024

func (s *Store) list(ctx context.Context, docs *bbolt.Bucket, prefix state.Key, page state.Page) (state.Listing, error) {
	listing := state.Listing{Revision: state.Revision(docs.Sequence())}
	cursor := docs.Cursor()
	key, stored := cursor.Seek([]byte(max(prefix, page.After)))
	if key != nil && string(key) == string(page.After) {
		key, stored = cursor.Next()
	}
	for ; bytes.HasPrefix(key, []byte(prefix)); key, stored = cursor.Next() {
		if page.Limit > 0 && len(listing.Documents) == page.Limit {
			listing.More = true
			break
		}
		doc, err := s.decode(state.Key(key), stored, !page.KeysOnly)
		if err != nil {
			return state.Listing{}, err
		}
		if listing.Documents = append(listing.Documents, doc); len(listing.Documents)%sweep == 0 {
			if err := state.Alive(ctx); err != nil {
				return state.Listing{}, err
			}
		}
	}
	return listing, nil
}

// decode copies a stored document out of the file.
func (s *Store) decode(key state.Key, stored []byte, value bool) (state.Document, error) {
	if len(stored) < revisionSize {
		return state.Document{}, s.damaged(fmt.Errorf("document %q has no revision", key))
	}
	doc := state.Document{Key: key, Revision: revisionOf(stored)}
	if value {
		doc.Value = bytes.Clone(stored[revisionSize:])
	}
	return doc, nil
}

// revisionOf gives the revision of a stored document, Absent for none.
func revisionOf(stored []byte) state.Revision {
	if len(stored) < revisionSize {
		return state.Absent
	}
	return state.Revision(binary.BigEndian.Uint64(stored))
}

// Write implements [state.Store]. Writes that come at the same time share the
// waiting for the disk.
func (s *Store) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if err := state.CheckOps(ops); err != nil {
		return 0, err
	}
	return s.write(ctx, ops...)
}

// Watch implements [state.Store]. What was written before the store was opened
// cannot be watched any more.
func (s *Store) Watch(ctx context.Context, prefix state.Key, from state.Revision) (<-chan state.Event, error) {
	if err := state.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.feed.Watch(ctx, prefix, from), nil
}

// Acquire implements [state.Store].
func (s *Store) Acquire(ctx context.Context, name string, ttl time.Duration) (state.Lease, error) {
	l, err := s.desk.Acquire(ctx, name, ttl)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close implements [state.Store]. Writes that have begun end first.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.desk.Close()
	close(s.closing)
	<-s.done
	s.feed.Close()
	return s.db.Close()
}

// String implements [state.Store].
func (s *Store) String() string { return "file " + s.path }

// Revision gives the revision the store is at.
func (s *Store) Revision(ctx context.Context) (at state.Revision, err error) {
	err = s.view(ctx, func(docs *bbolt.Bucket) error {
		at = state.Revision(docs.Sequence())
		return nil
	})
	return at, err
}

func (s *Store) view(ctx context.Context, read func(docs *bbolt.Bucket) error) (err error) {
	if err := s.ready(ctx); err != nil {
		return err
	}
	defer s.guard(&err, debug.SetPanicOnFault(true))
	err = s.db.View(func(tx *bbolt.Tx) error { return read(tx.Bucket(documents)) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return errClosed()
	}
	return err
}

func (s *Store) ready(ctx context.Context) error {
	if err := state.Alive(ctx); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return errClosed()
	default:
		return nil
	}
}

func errClosed() error { return problem.New(state.ErrUnavailable, "the store is closed") }

// guard makes an error of a panic: the library panics when it meets a page that
// is not what it should be, and reading a file that somebody cuts short faults.
func (s *Store) guard(err *error, faults bool) {
	debug.SetPanicOnFault(faults)
	if cause := recover(); cause != nil {
		*err = s.damaged(fmt.Errorf("%v", cause))
	}
}

func (s *Store) damaged(cause error) error { return damaged(s.path, cause) }
