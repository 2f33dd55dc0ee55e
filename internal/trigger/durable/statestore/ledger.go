package statestore

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// ledger knows of every instance how large it is and whether it has ended. It is
// made by reading all once, and kept by what is written here and what the store
// tells of writes elsewhere. A count, which reads only what has changed, corrects
// it. It is safe for concurrent use.
type ledger struct {
	counting sync.Mutex // held by the one that counts

	mu       sync.Mutex
	counted  bool
	at       time.Time // of the last count
	entries  map[state.Key]entry
	bytes    int64
	reserved instances.Usage // by writes in progress
}

type entry struct {
	revision state.Revision
	bytes    int64
	ended    bool
}

func newLedger() ledger { return ledger{entries: map[state.Key]entry{}} }

func entryOf(doc state.Document) entry {
	return entry{revision: doc.Revision, bytes: int64(len(doc.Value)), ended: instances.Ended(doc.Value)}
}

// put notes a document unless a later write of it is known.
func (l *ledger) put(key state.Key, e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, known := l.entries[key]; !known || old.revision <= e.revision {
		l.bytes += e.bytes - old.bytes
		l.entries[key] = e
	}
}

// remove notes that a document was deleted, unless a later write of it is known.
func (l *ledger) remove(key state.Key, revision state.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, known := l.entries[key]; known && old.revision <= revision {
		l.bytes -= old.bytes
		delete(l.entries, key)
	}
}

// reserve sets room aside for a write until release.
func (l *ledger) reserve(b instances.Budget, more instances.Usage, old, changed *instances.Instance) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := instances.Usage{Instances: int64(len(l.entries)) + l.reserved.Instances, Bytes: l.bytes + l.reserved.Bytes}
	if err := b.Check(used, more, old, changed); err != nil {
		return err
	}
	l.reserved.Instances += more.Instances
	l.reserved.Bytes += more.Bytes
	return nil
}

func (l *ledger) release(more instances.Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved.Instances -= more.Instances
	l.reserved.Bytes -= more.Bytes
}

// current reports whether a document is known as it is at a revision.
func (l *ledger) current(key state.Key, revision state.Revision) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, known := l.entries[key]
	return known && e.revision >= revision
}

// unfinished gives the keys of those that have not ended, in order.
func (l *ledger) unfinished() []state.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []state.Key
	for key, e := range l.entries {
		if !e.ended {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// fresh reports whether all was counted, at a time after since.
func (l *ledger) fresh(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counted && !l.at.Before(since)
}

// keep forgets what a count did not find, unless it was written since.
func (l *ledger) keep(found map[state.Key]struct{}, since state.Revision, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range maps.All(l.entries) {
		if _, there := found[key]; !there && e.revision <= since {
			l.bytes -= e.bytes
			delete(l.entries, key)
		}
	}
	l.counted, l.at = true, at
}

const (
	// recountAfter is how old a count must be to be made anew before something is
	// refused because of it.
	recountAfter = 5 * time.Second
	keysAtOnce   = 1000
	docsAtOnce   = 16
)

// Unfinished implements [instances.Store].
func (s *Store) Unfinished(ctx context.Context) ([]string, error) {
	s.ledger.counting.Lock()
	defer s.ledger.counting.Unlock()
	if err := s.count(ctx); err != nil {
		return nil, err
	}
	var ids []string
	for _, key := range s.ledger.unfinished() {
		if id, err := hex.DecodeString(string(key[len(s.prefix):])); err == nil {
			ids = append(ids, string(id))
		}
	}
	return ids, nil
}

// counted makes the first count.
func (s *Store) counted(ctx context.Context) error {
	if s.ledger.fresh(time.Time{}) {
		return nil
	}
	s.ledger.counting.Lock()
	defer s.ledger.counting.Unlock()
	if s.ledger.fresh(time.Time{}) {
		return nil
	}
	return s.count(ctx)
}

// recount counts again, if the last count is not of just now: other hosts may have
// purged. It reports whether there is a newer one.
func (s *Store) recount(ctx context.Context) (again bool, err error) {
	before := s.clock.Now().Add(-recountAfter)
	if s.ledger.fresh(before) {
		return false, nil
	}
	s.ledger.counting.Lock()
	defer s.ledger.counting.Unlock()
	if s.ledger.fresh(before) {
		return true, nil
	}
	return true, s.count(ctx)
}

// count reads all keys, and the documents that are new or changed since the last
// count; counting is held.
func (s *Store) count(ctx context.Context) error {
	at, page := s.clock.Now(), state.Page{KeysOnly: true, Limit: keysAtOnce}
	if !s.ledger.fresh(time.Time{}) {
		page = state.Page{Unreadable: true, Limit: docsAtOnce}
	}
	found := map[state.Key]struct{}{}
	var since state.Revision
	for {
		list, err := s.docs.List(ctx, s.prefix, page)
		if err != nil {
			return err
		}
		if since == 0 {
			since = list.Revision
		}
		for _, doc := range list.Documents {
			found[doc.Key] = struct{}{}
			if err := s.note(ctx, doc, page.KeysOnly); err != nil {
				return err
			}
		}
		if !list.More || len(list.Documents) == 0 {
			s.ledger.keep(found, since, at)
			return nil
		}
		page.After = list.Documents[len(list.Documents)-1].Key
	}
}

// note takes down a document that was listed, and reads it before if that is needed.
func (s *Store) note(ctx context.Context, doc state.Document, keyOnly bool) error {
	if keyOnly {
		if s.ledger.current(doc.Key, doc.Revision) {
			return nil
		}
		whole, err := s.docs.Get(ctx, doc.Key)
		switch {
		case errors.Is(err, state.ErrNotFound):
			return nil
		case errors.Is(err, problem.Undecryptable): // who looks at it says so
		case err != nil:
			return err
		default:
			doc = whole
		}
	}
	s.ledger.put(doc.Key, entryOf(doc))
	return nil
}
