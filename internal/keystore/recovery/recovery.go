// Package recovery owns the two ways out of a key document that cannot be used and
// for which neither the right sealing key nor a backup is at hand: to give it up and
// to put a copy back. It never loses what was there: a copy is kept first. It does
// not know which store it works on, nor who asks.
package recovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Discard keeps a copy of a document that cannot be used, whose name it gives, and
// takes the document away. It returns problem.Conflict for a document that opens,
// problem.NotFound without one and problem.Unsupported for a store that keeps no
// copies; nothing is changed then.
func Discard(ctx context.Context, store keystore.Store, doc keystore.Doc) (name string, err error) {
	copier, err := copierOf(ctx, store, doc)
	if err != nil {
		return "", err
	}
	switch _, _, err := store.Load(ctx, doc); {
	case err == nil:
		return "", problem.New(problem.Conflict, fmt.Sprintf("key document %q opens; it is not discarded", string(doc))).
			WithNext("to change single keys use latchkey keys renew or latchkey keys delete")
	case problem.KindOf(err) != keystore.ErrUndecryptable:
		return "", err
	}
	if name, err = copier.Preserve(ctx, doc); err != nil {
		return "", err
	}
	return name, store.Delete(ctx, doc)
}

// Restore makes a copy of a document the document again: what is there instead is
// kept as a copy first, whose name it gives, "" if there was nothing. It returns
// problem.Undecryptable for a copy that does not open either, problem.Invalid or
// problem.NotFound for a name that is none, and problem.Unsupported for a store that
// keeps no copies; nothing is changed then.
func Restore(ctx context.Context, store keystore.Store, doc keystore.Doc, from string) (kept string, err error) {
	copier, err := copierOf(ctx, store, doc)
	if err != nil {
		return "", err
	}
	d, err := copier.LoadCopy(ctx, doc, from)
	if err != nil {
		return "", err
	}
	_, _, err = store.Load(ctx, doc)
	if kind := problem.KindOf(err); err != nil && kind != keystore.ErrUndecryptable && kind != keystore.ErrNotFound {
		return "", err
	}
	if problem.KindOf(err) != keystore.ErrNotFound || err == nil {
		if kept, err = keep(ctx, store, copier, doc, err != nil); err != nil {
			return "", err
		}
	}
	_, _, err = store.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
	return kept, err
}

// keep copies a document, and takes it away if nothing else can take its place.
func keep(ctx context.Context, store keystore.Store, copier keystore.Copier, doc keystore.Doc, damaged bool) (string, error) {
	name, err := copier.Preserve(ctx, doc)
	if err != nil || !damaged {
		return name, err
	}
	return name, store.Delete(ctx, doc)
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
