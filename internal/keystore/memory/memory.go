// Package memory owns the reference key store: documents in this process's
// memory, gone when it ends. It passes the same conformance suite as every
// other backend and can be told to fail, which makes it the fake for tests of
// other packages. It knows nothing of files, sealing or JSON beyond keeping
// extra members.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// maxAttempts bounds how often a change runs when others keep winning.
const maxAttempts = 100

// Store is a key store in memory, safe for concurrent use.
type Store struct {
	place    *place
	readOnly bool
}

var (
	_ keystore.Store        = (*Store)(nil)
	_ keystore.Watcher      = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// place is what several handles share.
type place struct {
	mu          sync.Mutex
	docs        map[keystore.Doc]entry
	corrupt     map[keystore.Doc]bool
	readOnly    bool
	unavailable bool
	next        uint64
	watchers    map[*watcher]struct{}
}

type entry struct {
	doc keystore.Document
	rev keystore.Revision
}

// New gives an empty store.
func New() *Store {
	return &Store{place: &place{
		docs:     map[keystore.Doc]entry{},
		corrupt:  map[keystore.Doc]bool{},
		watchers: map[*watcher]struct{}{},
	}}
}

// ReadOnly gives a handle on the same documents that declares itself, and is,
// read-only.
func (s *Store) ReadOnly() *Store { return &Store{place: s.place, readOnly: true} }

// Load implements [keystore.Store].
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := s.ready(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	e, err := s.place.get(doc)
	if err == nil && e.rev == "" {
		err = keystore.Missing(doc, s.String())
	}
	return e.doc.Clone(), e.rev, err
}

// Update implements [keystore.Store]. The change runs without any lock held.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	for range maxAttempts {
		if err := s.ready(ctx, doc); err != nil {
			return keystore.Document{}, "", err
		}
		d, rev, done, err := s.attempt(ctx, doc, change)
		if done || err != nil {
			return d, rev, err
		}
	}
	return keystore.Document{}, "", problem.New(keystore.ErrConflict,
		fmt.Sprintf("key document %q kept changing while it was being updated", string(doc)))
}

func (s *Store) attempt(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, bool, error) {
	old, err := s.place.writable(s.readOnly, doc)
	if err != nil {
		return keystore.Document{}, "", false, err
	}
	d, err := change(old.doc.Clone(), old.rev != "")
	if err != nil {
		return keystore.Document{}, "", false, keystore.Refused(doc, err)
	}
	if d, err = keystore.Normal(doc, d); err != nil {
		return keystore.Document{}, "", false, err
	}
	if err := keystore.Alive(ctx); err != nil {
		return keystore.Document{}, "", false, err
	}
	rev, done, err := s.place.swap(s.readOnly, doc, old.rev, d)
	return d, rev, done, err
}

// Delete implements [keystore.Store]; a corrupt document can be deleted.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error {
	return s.remove(ctx, doc, func(keystore.Revision) bool { return true })
}

// DeleteAt implements [keystore.ExactDeleter].
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return s.remove(ctx, doc, func(now keystore.Revision) bool { return now == rev })
}

func (s *Store) remove(ctx context.Context, doc keystore.Doc, wanted func(keystore.Revision) bool) error {
	if err := s.ready(ctx, doc); err != nil {
		return err
	}
	p := s.place
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.readOnly || p.readOnly {
		return errReadOnly()
	}
	if p.docs[doc].rev == "" {
		return keystore.Missing(doc, s.String())
	}
	if !wanted(p.docs[doc].rev) {
		return keystore.ChangedSince(doc, s.String())
	}
	delete(p.docs, doc)
	delete(p.corrupt, doc)
	p.announce(doc)
	return nil
}

// List implements [keystore.Store].
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	if err := s.ready(ctx, keystore.HostDoc); err != nil {
		return nil, err
	}
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	return slices.Sorted(maps.Keys(s.place.docs)), nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{ReadOnly: s.readOnly, Metadata: true}
}

// String implements [keystore.Store].
func (s *Store) String() string { return "memory" }

func (s *Store) ready(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	if err := keystore.CheckDoc(doc); err != nil {
		return err
	}
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	return s.place.reachable()
}

// reachable says that the store is switched off. Callers hold mu.
func (p *place) reachable() error {
	if p.unavailable {
		return problem.New(keystore.ErrUnavailable, "the key store in memory is switched off")
	}
	return nil
}

// get gives a document, the zero entry if there is none. Callers hold mu.
func (p *place) get(doc keystore.Doc) (entry, error) {
	if err := p.reachable(); err != nil { // it may have been switched off since ready looked
		return entry{}, err
	}
	if p.corrupt[doc] {
		return entry{}, problem.New(keystore.ErrUndecryptable,
			fmt.Sprintf("key document %q in memory is damaged", string(doc)))
	}
	return p.docs[doc], nil
}

func (p *place) writable(readOnly bool, doc keystore.Doc) (entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if readOnly || p.readOnly {
		return entry{}, errReadOnly()
	}
	return p.get(doc)
}

func (p *place) swap(readOnly bool, doc keystore.Doc, old keystore.Revision, d keystore.Document) (keystore.Revision, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if readOnly || p.readOnly {
		return "", false, errReadOnly()
	}
	e, err := p.get(doc)
	if err != nil || e.rev != old {
		return "", false, err
	}
	return p.put(doc, d), true, nil
}

// put stores a copy of d and tells the watchers. Callers hold mu.
func (p *place) put(doc keystore.Doc, d keystore.Document) keystore.Revision {
	p.next++
	rev := keystore.Revision(strconv.FormatUint(p.next, 10))
	p.docs[doc] = entry{doc: d.Clone(), rev: rev}
	p.announce(doc)
	return rev
}

func errReadOnly() error {
	return problem.New(keystore.ErrReadOnly, "the key store in memory cannot be written")
}
