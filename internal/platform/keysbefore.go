package platform

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// guarded is a key store that an app's settings name, for an app that may have
// keys in the control plane: where the store has no document and the control plane
// has, nothing is made. New keys would lock out all who have those of before.
type guarded struct {
	keystore.Store
	before keystore.Store
	app    string
}

// watched is guarded for a store that tells changes.
type watched struct {
	guarded
	keystore.Watcher
}

func guard(store, before keystore.Store, app string) keystore.Store {
	g := guarded{store, before, app}
	if w, ok := store.(keystore.Watcher); ok {
		return watched{g, w}
	}
	return g
}

// Load implements keystore.Store.
func (g guarded) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	d, rev, err := g.Store.Load(ctx, doc)
	if errors.Is(err, keystore.ErrNotFound) {
		if bad := g.free(ctx, doc); bad != nil {
			return keystore.Document{}, "", bad
		}
	}
	return d, rev, err
}

// Update implements keystore.Store.
func (g guarded) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	return g.Store.Update(ctx, doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		if !exists {
			if err := g.free(ctx, doc); err != nil {
				return keystore.Document{}, err
			}
		}
		return change(old, exists)
	})
}

// free returns problem.Conflict if the control plane has keys under a document.
func (g guarded) free(ctx context.Context, doc keystore.Doc) error {
	_, _, err := g.before.Load(ctx, doc)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return problem.Wrap(problem.KindOf(err), "whether app "+g.app+" has keys in the control plane is not known", err)
	}
	return problem.New(problem.Conflict, "app "+g.app+" has keys in the control plane for "+string(doc)+" and none in "+g.Store.String()+"; no others are made in their place").
		WithNext("put the keys there first (docs/stores), or take AzureWebJobsSecretStorageType out of the app's settings")
}

// DeleteAt implements keystore.ExactDeleter.
func (g guarded) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return keystore.DeleteAt(ctx, g.Store, doc, rev)
}

// Preserve implements keystore.Copier as far as the store does.
func (g guarded) Preserve(ctx context.Context, doc keystore.Doc) (string, keystore.Revision, error) {
	c, err := g.copier()
	if err != nil {
		return "", "", err
	}
	return c.Preserve(ctx, doc)
}

// Copies implements keystore.Copier.
func (g guarded) Copies(ctx context.Context, doc keystore.Doc) ([]string, error) {
	c, err := g.copier()
	if err != nil {
		return nil, err
	}
	return c.Copies(ctx, doc)
}

// LoadCopy implements keystore.Copier.
func (g guarded) LoadCopy(ctx context.Context, doc keystore.Doc, name string) (keystore.Document, error) {
	c, err := g.copier()
	if err != nil {
		return keystore.Document{}, err
	}
	return c.LoadCopy(ctx, doc, name)
}

// RemoveCopy implements keystore.CopyRemover as far as the store does.
func (g guarded) RemoveCopy(ctx context.Context, doc keystore.Doc, name string) error {
	c, ok := g.Store.(keystore.CopyRemover)
	if !ok {
		return keystore.NoCopies(g.Store)
	}
	return c.RemoveCopy(ctx, doc, name)
}

func (g guarded) copier() (keystore.Copier, error) {
	if c, ok := g.Store.(keystore.Copier); ok {
		return c, nil
	}
	return nil, keystore.NoCopies(g.Store)
}
