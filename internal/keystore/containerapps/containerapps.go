// Package containerapps owns the read-only key store that is a folder of mounted
// files, one per key, the one the functions host uses on Azure Container Apps:
// keys come into being and change where the volume comes from. The layout
// belongs to package flat. It does not know who asks for keys, and it never
// writes.
package containerapps

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/problem"
)

// DefaultDir is where the platform mounts the files.
const DefaultDir = "/run/secrets/functions-keys"

// Config says which folder.
type Config struct {
	// Dir is the folder with the files; "" is DefaultDir. It need not exist.
	Dir string
	// Clock is for collecting the kernel's notifications; nil is the system clock.
	Clock clock.Clock
}

// Store is a folder of mounted keys. It is safe for concurrent use.
type Store struct {
	dir   flat.Folder
	clock clock.Clock

	mu   sync.Mutex
	seen map[keystore.Doc]bool // documents that had keys at some time
}

var (
	_ keystore.Store   = (*Store)(nil)
	_ keystore.Watcher = (*Store)(nil)
)

// Open gives the store in a folder, which need not exist. It touches nothing and
// never fails; it has the form that all backends have.
func Open(_ context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	return &Store{dir: flat.Folder{Dir: filepath.Clean(cfg.Dir)}, clock: cfg.Clock, seen: map[keystore.Doc]bool{}}, nil
}

// Load implements [keystore.Store]. A document without a single file is
// ErrNotFound; because the store is read-only, that leads to no new keys. If the
// folder is there and held keys of the document before, it is an empty document
// instead: its keys were taken away on purpose and must not live on. A folder
// that is gone takes no keys away. A host document may lack its master key.
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	now, err := s.dir.Read(ctx)
	if err == nil {
		err = now.Faults[doc]
	}
	if err != nil {
		return keystore.Document{}, "", err
	}
	d, exists := now.Entries.Document(doc)
	if !s.count(doc, exists, now.Exists) {
		return keystore.Document{}, "", keystore.Missing(doc, s.String())
	}
	rev := now.Entries.Revision(doc)
	if rev == "" {
		rev = "no files"
	}
	return d, rev, nil
}

// count notes a document that has keys and reports whether it counts as existing.
func (s *Store) count(doc keystore.Doc, exists, there bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if exists {
		s.seen[doc] = true
	}
	return exists || there && s.seen[doc]
}

// Update implements [keystore.Store]; it always fails with ErrReadOnly.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, _ keystore.Change) (keystore.Document, keystore.Revision, error) {
	return keystore.Document{}, "", s.refuse(ctx, doc)
}

// Delete implements [keystore.Store]; it always fails with ErrReadOnly.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error { return s.refuse(ctx, doc) }

func (s *Store) refuse(ctx context.Context, doc keystore.Doc) error {
	if err := check(ctx, doc); err != nil {
		return err
	}
	return problem.New(keystore.ErrReadOnly, s.String()+" is read-only").
		WithNext("change the secrets that are mounted there; the new keys are in force as soon as the files change")
}

// List implements [keystore.Store].
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	now, err := s.dir.Read(ctx)
	if err != nil {
		return nil, err
	}
	return now.Docs(), nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities { return keystore.Capabilities{ReadOnly: true} }

// String implements [keystore.Store].
func (s *Store) String() string { return "ContainerApps " + s.dir.Dir }

// Watch implements [keystore.Watcher] with the kernel's notifications. Every
// change stands for all documents.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	return s.dir.Watch(ctx, s.clock, func() { changed("") })
}

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}
