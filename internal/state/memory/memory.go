// Package memory owns the reference state store: documents in this process's
// memory, gone when it ends. It passes the same conformance suite as every other
// backend and can be told to fail, which makes it the fake for tests of other
// packages. It does not know what documents mean.
package memory

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/feed"
	"github.com/latchkey/latchkey/internal/state/lease"
)

// Store is a state store in memory, safe for concurrent use.
type Store struct {
	feed *feed.Feed
	desk *lease.Desk

	mu          sync.Mutex
	docs        map[state.Key]state.Document // values in here never change
	keys        []state.Key                  // of docs, sorted
	revision    state.Revision
	closed      bool
	unavailable bool
}

var _ state.Store = (*Store)(nil)

// New gives an empty store. Its leases end with the process only, so nothing in
// it depends on the clock; it is taken so that all backends are made alike.
func New(clock.Clock) *Store {
	s := &Store{feed: feed.New(0), docs: map[state.Key]state.Document{}}
	s.desk = lease.NewDesk(s.write)
	return s
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Document, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Document{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return state.Document{}, err
	}
	doc, exists := s.docs[key]
	if !exists {
		return state.Document{}, state.Missing(key)
	}
	doc.Value = bytes.Clone(doc.Value)
	return doc, nil
}

// List implements [state.Store].
func (s *Store) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	if err := state.CheckList(prefix, page); err != nil {
		return state.Listing{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return state.Listing{}, err
	}
	listing := state.Listing{Revision: s.revision}
	for _, key := range s.keys[s.start(prefix, page.After):] {
		if !strings.HasPrefix(string(key), string(prefix)) {
			break
		}
		if page.Limit > 0 && len(listing.Documents) == page.Limit {
			listing.More = true
			break
		}
		doc := s.docs[key]
		doc.Value = bytes.Clone(doc.Value)
		if page.KeysOnly {
			doc.Value = nil
		}
		listing.Documents = append(listing.Documents, doc)
	}
	return listing, nil
}

// start gives the place of the first key of a list.
func (s *Store) start(prefix, after state.Key) int {
	i, _ := slices.BinarySearch(s.keys, max(prefix, after))
	if i < len(s.keys) && s.keys[i] == after {
		i++
	}
	return i
}

// Write implements [state.Store].
func (s *Store) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if err := state.CheckOps(ops); err != nil {
		return 0, err
	}
	return s.write(ctx, ops...)
}

func (s *Store) write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	for _, op := range ops {
		if err := state.CheckCondition(op, s.docs[op.Key].Revision); err != nil {
			return 0, err
		}
	}
	events := s.apply(ops)
	s.feed.Publish(events)
	return s.revision, nil
}

// apply makes the changes whose conditions hold. Callers hold mu.
func (s *Store) apply(ops []state.Op) []state.Event {
	var events []state.Event
	for _, op := range ops {
		at, exists := slices.BinarySearch(s.keys, op.Key)
		switch {
		case op.Kind == state.OpPut:
			doc := state.Document{Key: op.Key, Value: append([]byte{}, op.Value...), Revision: s.revision + 1}
			if s.docs[op.Key] = doc; !exists {
				s.keys = slices.Insert(s.keys, at, op.Key)
			}
			events = append(events, state.Event{Kind: state.EventPut, Document: doc})
		case op.Kind == state.OpDelete && exists:
			delete(s.docs, op.Key)
			s.keys = slices.Delete(s.keys, at, at+1)
			events = append(events, state.Event{Kind: state.EventDelete, Document: state.Document{Key: op.Key, Revision: s.revision + 1}})
		}
	}
	if len(events) > 0 {
		s.revision++
	}
	return events
}

// Watch implements [state.Store].
func (s *Store) Watch(ctx context.Context, prefix state.Key, from state.Revision) (<-chan state.Event, error) {
	if err := state.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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

// Close implements [state.Store]. What was stored is gone.
func (s *Store) Close() error {
	s.desk.Close()
	s.mu.Lock()
	s.closed, s.docs, s.keys = true, nil, nil
	s.mu.Unlock()
	s.feed.Close()
	return nil
}

// String implements [state.Store].
func (s *Store) String() string { return "memory" }

// ready reports why the store cannot be used. Callers hold mu.
func (s *Store) ready(ctx context.Context) error {
	switch err := state.Alive(ctx); {
	case err != nil:
		return err
	case s.closed:
		return problem.New(state.ErrUnavailable, "the store is closed")
	case s.unavailable:
		return problem.New(state.ErrUnavailable, "the store in memory is switched off")
	}
	return nil
}
