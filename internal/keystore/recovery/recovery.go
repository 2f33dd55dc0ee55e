// Package recovery owns the two ways out of a key document that cannot be used and
// for which neither the right sealing key nor a backup is at hand: to give it up and
// to put a copy back. It never loses what was there: a copy is kept first. It does
// not know which store it works on, nor who asks.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Discard keeps a copy of a document that cannot be used, whose name it gives, and
// takes the document away. It returns problem.Conflict for a document that opens, or
// that somebody else writes meanwhile, problem.NotFound without one and
// problem.Unsupported for a store that keeps no copies; the document stays then.
func Discard(ctx context.Context, store keystore.Store, doc keystore.Doc) (name string, err error) {
	copier, err := copierOf(ctx, store, doc)
	if err != nil {
		return "", err
	}
	if err := damaged(doc)(store.Load(ctx, doc)); err != nil {
		return "", err
	}
	name, rev, err := copier.Preserve(ctx, doc)
	if err != nil {
		return "", err
	}
	kept, err := copier.LoadCopy(ctx, doc, name)
	if err := damaged(doc)(kept, rev, err); err != nil { // somebody mended it in between
		return "", err
	}
	return name, keystore.DeleteAt(ctx, store, doc, rev)
}

// damaged makes an error of a document that can be read, or of which that is not known.
func damaged(doc keystore.Doc) func(keystore.Document, keystore.Revision, error) error {
	return func(_ keystore.Document, _ keystore.Revision, err error) error {
		switch {
		case err == nil:
			return problem.New(problem.Conflict, fmt.Sprintf("key document %q opens; it is not discarded", string(doc))).
				WithNext("to change single keys use latchkey keys renew or latchkey keys delete")
		case problem.KindOf(err) != keystore.ErrUndecryptable:
			return err
		}
		return nil
	}
}

// Restore makes a copy of a document the document again: what is there instead is
// kept as a copy first, whose name it gives, "" if there was nothing. It returns
// problem.Undecryptable for a copy that does not open either, problem.Invalid or
// problem.NotFound for a name that is none, and problem.Unsupported for a store that
// keeps no copies; nothing is changed then. What somebody else writes meanwhile stays,
// and the error is problem.Conflict.
func Restore(ctx context.Context, store keystore.Store, doc keystore.Doc, from string) (kept string, err error) {
	copier, err := copierOf(ctx, store, doc)
	if err != nil {
		return "", err
	}
	d, err := copier.LoadCopy(ctx, doc, from)
	if err != nil {
		return "", err
	}
	kept, was, err := keep(ctx, store, copier, doc)
	if err != nil {
		return kept, err
	}
	_, _, err = store.Update(ctx, doc, func(now keystore.Document, exists bool) (keystore.Document, error) {
		if exists != (was != nil) || exists && !reflect.DeepEqual(now.Clone(), was.Clone()) {
			return keystore.Document{}, keystore.ChangedSince(doc, store.String())
		}
		return d, nil
	})
	return kept, err
}

// keep copies what there is of a document, and takes it away if nothing else can take
// its place. was is what stays there, nil for nothing.
func keep(ctx context.Context, store keystore.Store, copier keystore.Copier, doc keystore.Doc) (name string, was *keystore.Document, err error) {
	name, rev, err := copier.Preserve(ctx, doc)
	if problem.KindOf(err) == keystore.ErrNotFound {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	switch d, err := copier.LoadCopy(ctx, doc, name); {
	case err == nil:
		return name, &d, nil
	case problem.KindOf(err) != keystore.ErrUndecryptable:
		return name, nil, err
	}
	return name, nil, keystore.DeleteAt(ctx, store, doc, rev)
}

// copierOf gives the power to keep copies, if a store really has it.
func copierOf(ctx context.Context, store keystore.Store, doc keystore.Doc) (keystore.Copier, error) {
	copier, ok := store.(keystore.Copier)
	if !ok {
		return nil, keystore.NoCopies(store)
	}
	if _, err := copier.Copies(ctx, doc); errors.Is(err, problem.Unsupported) {
		return nil, err // it wraps a store that has not
	}
	return copier, nil
}
