package kubernetes

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/problem"
)

// folder is the read-only form: files that are mounted, one per key.
type folder struct {
	dir   flat.Folder
	clock clock.Clock

	mu   sync.Mutex
	seen map[keystore.Doc]bool // documents that had keys at some time
}

func newFolder(cfg Config) *folder {
	return &folder{dir: flat.Folder{Dir: filepath.Clean(cfg.Dir)}, clock: cfg.Clock, seen: map[keystore.Doc]bool{}}
}

// Load implements [keystore.Store]. Keys that were taken out of a folder that is
// still there are gone: the document is empty then, not absent. A folder that is
// gone takes no keys away.
func (f *folder) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	now, err := f.dir.Read(ctx)
	if err != nil {
		return keystore.Document{}, "", err
	}
	l := f.loaded(now, doc)
	return l.Document, l.Revision, l.Err
}

func (f *folder) loaded(now flat.Contents, doc keystore.Doc) keystore.Loaded {
	if err := now.Faults[doc]; err != nil {
		return keystore.Loaded{Err: err}
	}
	d, exists := now.Entries.Document(doc)
	if !f.count(doc, exists, now.Exists) {
		return keystore.Loaded{Err: keystore.Missing(doc, f.String())}
	}
	rev := now.Entries.Revision(doc)
	if rev == "" {
		rev = "no files"
	}
	return keystore.Loaded{Document: d, Revision: rev}
}

// LoadAll implements [keystore.AllLoader] with one read of the folder.
func (f *folder) LoadAll(ctx context.Context) (map[keystore.Doc]keystore.Loaded, error) {
	now, err := f.dir.Read(ctx)
	if err != nil {
		return nil, err
	}
	all := map[keystore.Doc]keystore.Loaded{}
	for _, doc := range now.Docs() {
		all[doc] = f.loaded(now, doc)
	}
	return all, nil
}

// count notes a document that has keys and reports whether it counts as existing.
func (f *folder) count(doc keystore.Doc, exists, there bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if exists {
		f.seen[doc] = true
	}
	return exists || there && f.seen[doc]
}

// Update implements [keystore.Store]; it always fails with ErrReadOnly.
func (f *folder) Update(ctx context.Context, doc keystore.Doc, _ keystore.Change) (keystore.Document, keystore.Revision, error) {
	return keystore.Document{}, "", f.refuse(ctx, doc)
}

// Delete implements [keystore.Store]; it always fails with ErrReadOnly.
func (f *folder) Delete(ctx context.Context, doc keystore.Doc) error { return f.refuse(ctx, doc) }

func (f *folder) refuse(ctx context.Context, doc keystore.Doc) error {
	if err := check(ctx, doc); err != nil {
		return err
	}
	return problem.New(keystore.ErrReadOnly, f.String()+" is read-only").
		WithNext("change the Secret that is mounted there, or name it in " + NameSetting + " to let keys be changed here")
}

// List implements [keystore.Store].
func (f *folder) List(ctx context.Context) ([]keystore.Doc, error) {
	now, err := f.dir.Read(ctx)
	if err != nil {
		return nil, err
	}
	return now.Docs(), nil
}

// Capabilities implements [keystore.Store].
func (f *folder) Capabilities() keystore.Capabilities { return keystore.Capabilities{ReadOnly: true} }

// String implements [keystore.Store].
func (f *folder) String() string { return "kubernetes " + f.dir.Dir }

// Watch implements [keystore.Watcher] with the kernel's notifications. Every
// change stands for all documents.
func (f *folder) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	return f.dir.Watch(ctx, f.clock, func() { changed("") })
}
