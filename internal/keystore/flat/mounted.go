package flat

import (
	"context"
	"sync"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Mounted is the read-only key store that is a folder of mounted files. It is safe
// for concurrent use.
type Mounted struct {
	dir        Folder
	name, next string
	clock      clock.Clock

	mu   sync.Mutex
	seen map[keystore.Doc]bool // documents that had keys at some time
}

var (
	_ keystore.Store     = (*Mounted)(nil)
	_ keystore.Watcher   = (*Mounted)(nil)
	_ keystore.AllLoader = (*Mounted)(nil)
)

// NewMounted gives the store in a folder, which need not exist. The name is that of
// the store without the folder, and next says how keys are changed that are mounted.
// It touches nothing.
func NewMounted(dir Folder, name, next string, c clock.Clock) *Mounted {
	return &Mounted{dir: dir, name: name, next: next, clock: c, seen: map[keystore.Doc]bool{}}
}

// Load implements [keystore.Store]. A document without a single file is
// ErrNotFound; because the store is read-only, that leads to no new keys. If the
// folder is there and held keys of the document before, it is an empty document
// instead: its keys were taken away on purpose and must not live on. A folder
// that is gone takes no keys away. A host document may lack its master key.
func (m *Mounted) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	now, err := m.dir.Read(ctx)
	if err != nil {
		return keystore.Document{}, "", err
	}
	l := m.loaded(now, doc)
	return l.Document, l.Revision, l.Err
}

func (m *Mounted) loaded(now Contents, doc keystore.Doc) keystore.Loaded {
	if err := now.Faults[doc]; err != nil {
		return keystore.Loaded{Err: err}
	}
	d, exists := now.Entries.Document(doc)
	if !m.count(doc, exists, now.Exists) {
		return keystore.Loaded{Err: keystore.Missing(doc, m.String())}
	}
	rev := now.Entries.Revision(doc)
	if rev == "" {
		rev = "no files"
	}
	return keystore.Loaded{Document: d, Revision: rev}
}

// LoadAll implements [keystore.AllLoader] with one read of the folder.
func (m *Mounted) LoadAll(ctx context.Context) (map[keystore.Doc]keystore.Loaded, error) {
	now, err := m.dir.Read(ctx)
	if err != nil {
		return nil, err
	}
	all := map[keystore.Doc]keystore.Loaded{}
	for _, doc := range now.Docs() {
		all[doc] = m.loaded(now, doc)
	}
	return all, nil
}

// count notes a document that has keys and reports whether it counts as existing.
func (m *Mounted) count(doc keystore.Doc, exists, there bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if exists {
		m.seen[doc] = true
	}
	return exists || there && m.seen[doc]
}

// Update implements [keystore.Store]; it always fails with ErrReadOnly.
func (m *Mounted) Update(ctx context.Context, doc keystore.Doc, _ keystore.Change) (keystore.Document, keystore.Revision, error) {
	return keystore.Document{}, "", m.refuse(ctx, doc)
}

// Delete implements [keystore.Store]; it always fails with ErrReadOnly.
func (m *Mounted) Delete(ctx context.Context, doc keystore.Doc) error { return m.refuse(ctx, doc) }

func (m *Mounted) refuse(ctx context.Context, doc keystore.Doc) error {
	if err := check(ctx, doc); err != nil {
		return err
	}
	return problem.New(keystore.ErrReadOnly, m.String()+" is read-only").WithNext(m.next)
}

// List implements [keystore.Store].
func (m *Mounted) List(ctx context.Context) ([]keystore.Doc, error) {
	now, err := m.dir.Read(ctx)
	if err != nil {
		return nil, err
	}
	return now.Docs(), nil
}

// Capabilities implements [keystore.Store].
func (m *Mounted) Capabilities() keystore.Capabilities { return keystore.Capabilities{ReadOnly: true} }

// String implements [keystore.Store].
func (m *Mounted) String() string { return m.name + " " + m.dir.Dir }

// Watch implements [keystore.Watcher] with the kernel's notifications. Every
// change stands for all documents.
func (m *Mounted) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	return m.dir.Watch(ctx, m.clock, func() { changed("") })
}

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}
