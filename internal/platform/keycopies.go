package platform

import (
	"context"
	"reflect"
	"slices"

	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// KeyCopies implements functions.KeyRecovery: the copies of the host's document and of
// those that are in the store.
func (n *Node) KeyCopies(ctx context.Context, name string) ([]functions.KeyCopy, error) {
	_, _, store, err := n.keysInUse(ctx, name)
	if err != nil {
		return nil, err
	}
	copier, ok := store.(keystore.Copier)
	if !ok {
		return nil, keystore.NoCopies(store)
	}
	docs, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(docs, keystore.HostDoc) {
		docs = append([]keystore.Doc{keystore.HostDoc}, docs...)
	}
	list := []functions.KeyCopy{}
	for _, doc := range docs {
		copies, err := copier.Copies(ctx, doc)
		if err != nil {
			return nil, err
		}
		for _, name := range copies {
			one, err := lookAtCopy(ctx, store, copier, doc, name)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// lookAtCopy says what there is to say of a copy; an error is of a store that cannot be
// read.
func lookAtCopy(ctx context.Context, store keystore.Store, copier keystore.Copier, doc keystore.Doc, name string) (functions.KeyCopy, error) {
	c := functions.KeyCopy{Document: string(doc), Copy: name, Now: "other"}
	kept, err := copier.LoadCopy(ctx, doc, name)
	if err != nil && problem.KindOf(err) != keystore.ErrUndecryptable {
		return c, err
	}
	if err != nil {
		c.Reason = err.Error()
	} else {
		c.Opens, c.Keys = true, countKeys(kept)
	}
	now, _, err := store.Load(ctx, doc)
	switch {
	case problem.KindOf(err) == keystore.ErrUndecryptable:
		c.Now = "damaged"
	case problem.KindOf(err) == keystore.ErrNotFound:
		c.Now = "missing"
	case err != nil:
		return c, err
	case c.Opens && reflect.DeepEqual(now.Clone().Keys, kept.Clone().Keys):
		c.Now = "same"
	}
	return c, nil
}

func countKeys(d keystore.Document) int {
	n := len(d.Keys.Keys) + len(d.Keys.System)
	if d.Keys.Master.Value != "" {
		n++
	}
	return n
}

// RemoveKeyCopy implements functions.KeyRecovery.
func (n *Node) RemoveKeyCopy(ctx context.Context, name string, doc keystore.Doc, from string) error {
	_, _, store, err := n.keysInUse(ctx, name)
	if err != nil {
		return err
	}
	remover, ok := store.(keystore.CopyRemover)
	if !ok {
		return keystore.NoCopies(store)
	}
	return remover.RemoveCopy(ctx, doc, from)
}
