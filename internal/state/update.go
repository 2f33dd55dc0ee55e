package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// ErrUnchanged is what a change function returns to leave the document alone;
// Update then succeeds without writing.
var ErrUnchanged = errors.New("nothing to change")

// Change makes a document's new value from the old one; exists says whether
// there is one. It may run more than once. A nil value removes the document.
type Change func(old []byte, exists bool) ([]byte, error)

// DocumentChange is a [Change] that is told the document's revision too; there is
// none if that is Absent.
type DocumentChange func(old Document) ([]byte, error)

// attempts bounds how often an update runs its change.
const attempts = 20

// Update changes one document whoever else changes it at the same time: the
// change runs again on what they wrote, a bounded number of times, then
// ErrConflict is returned. An error of the change is returned as it is and
// nothing is written. also adds operations to the same write; a conflict on
// their keys is returned at once, since running again would not help.
func Update(ctx context.Context, s Store, key Key, change Change, also ...Op) (Document, error) {
	return UpdateDocument(ctx, s, key, func(old Document) ([]byte, error) {
		return change(old.Value, old.Revision != Absent)
	}, also...)
}

// UpdateDocument is [Update] for changes that need the revision.
func UpdateDocument(ctx context.Context, s Store, key Key, change DocumentChange, also ...Op) (Document, error) {
	for try := range attempts {
		doc, err := updateOnce(ctx, s, key, change, also)
		if !errors.Is(err, ErrConflict) || problem.KindOf(err) != ErrConflict || isOwn(err) {
			return given(doc, unwrapOwn(err))
		}
		if len(also) > 0 && isStill(ctx, s, key, doc.Revision) {
			return Document{}, err
		}
		wait := time.Duration(rand.Int64N(int64(time.Millisecond) << min(try, 6)))
		if err := clock.Sleep(ctx, clock.Real{}, wait); err != nil {
			return Document{}, err
		}
	}
	return Document{}, problem.New(ErrConflict, fmt.Sprintf("others kept changing %q", key)).WithNext("try again")
}

// given leaves the document out of a failure.
func given(doc Document, err error) (Document, error) {
	if err != nil {
		return Document{}, err
	}
	return doc, nil
}

// ownError marks an error of the change function, which is not to be retried.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

func isOwn(err error) bool {
	var own ownError
	return errors.As(err, &own)
}

func unwrapOwn(err error) error {
	var own ownError
	if errors.As(err, &own) {
		return own.error
	}
	return err
}

// isStill reports whether a document has the given revision, so that it cannot
// have been what a write conflicted with.
func isStill(ctx context.Context, s Store, key Key, rev Revision) bool {
	doc, err := s.Get(ctx, key)
	return (err == nil || errors.Is(err, ErrNotFound)) && doc.Revision == rev
}

// updateOnce tries to change the document. With an error of the write it gives
// the document as it was read.
func updateOnce(ctx context.Context, s Store, key Key, change DocumentChange, also []Op) (Document, error) {
	old, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Document{}, err
	}
	value, err := change(old)
	if errors.Is(err, ErrUnchanged) {
		return old, nil
	}
	if err != nil {
		return Document{}, ownError{err}
	}
	op := Put(key, value, old.Revision)
	if value == nil {
		op = Delete(key, old.Revision)
	}
	rev, err := s.Write(ctx, append([]Op{op}, also...)...)
	if err != nil {
		return old, err
	}
	return Document{Key: key, Value: value, Revision: rev}, nil
}
