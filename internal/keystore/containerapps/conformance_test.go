package containerapps_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
)

// mount stands for whoever changes the volume: it reads as the store does and
// writes files, which the store never does.
type mount struct {
	t   *testing.T
	dir string
	mu  *sync.Mutex
}

// store gives a store that has seen nothing, so that a deleted document is absent.
func (m mount) store() keystore.Store { return open(m.t, m.dir) }

func (m mount) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	return m.store().Load(ctx, doc)
}

func (m mount) List(ctx context.Context) ([]keystore.Doc, error) { return m.store().List(ctx) }

func (m mount) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.read(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	old, exists := now.Document(doc)
	d, err := change(old, exists)
	if err != nil {
		return keystore.Document{}, "", keystore.Refused(doc, err)
	}
	next, err := now.With(doc, d)
	if err == nil {
		err = keystore.Alive(ctx)
	}
	if err == nil {
		err = m.replace(now, next)
	}
	if err != nil {
		return keystore.Document{}, "", err
	}
	return m.Load(ctx, doc)
}

func (m mount) Delete(ctx context.Context, doc keystore.Doc) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.read(ctx, doc)
	if err != nil {
		return err
	}
	if _, exists := now.Document(doc); !exists {
		return keystore.Missing(doc, m.dir)
	}
	return m.replace(now, now.Without(doc))
}

func (m mount) read(ctx context.Context, doc keystore.Doc) (flat.Entries, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	if err := keystore.CheckDoc(doc); err != nil {
		return nil, err
	}
	now, err := flat.Folder{Dir: m.dir}.Read(ctx)
	return now.Entries, err
}

func (m mount) replace(old, next flat.Entries) error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	for name, value := range next {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	for name := range old {
		if _, still := next[name]; !still {
			if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m mount) Capabilities() keystore.Capabilities { return keystore.Capabilities{} }
func (m mount) String() string                      { return strings.Replace(m.store().String(), "tag", "", 1) }

func (m mount) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	return open(m.t, m.dir).Watch(ctx, changed)
}

func TestConformanceOfWhatIsRead(t *testing.T) {
	const layout = "one value per file has no sealed or structured form to damage; see the tests of this package"
	keystoretest.Run(t, keystoretest.Config{
		New: func(t *testing.T) keystoretest.Harness {
			m := mount{t: t, dir: filepath.Join(t.TempDir(), "keys"), mu: &sync.Mutex{}}
			return keystoretest.Harness{
				Store:    m,
				Second:   func(*testing.T) keystore.Store { return m },
				ReadOnly: func(*testing.T) keystore.Store { return m.store() },
				Outside: func(t *testing.T, doc keystore.Doc, d keystore.Document) {
					if _, _, err := m.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil }); err != nil {
						t.Fatal(err)
					}
				},
				Break: func(t *testing.T) func() {
					must(t, os.Rename(m.dir, m.dir+".away"), os.WriteFile(m.dir, nil, 0o600))
					return func() { must(t, os.Remove(m.dir), os.Rename(m.dir+".away", m.dir)) }
				},
			}
		},
		Except: map[string]string{
			"a write in between makes the change run again": "the store under test does not write",
			"an undecryptable document is never replaced":   layout,
			"a truncated document is never replaced":        layout,
			"a damaged document can be deleted":             layout,
			"what dead writers leave is ignored and swept":  "the store under test does not write",
		},
	})
}
