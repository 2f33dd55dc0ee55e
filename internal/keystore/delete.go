package keystore

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// ExactDeleter is the optional power to remove a document only as long as it is what
// somebody has seen.
type ExactDeleter interface {
	// DeleteAt removes a document of which rev is the revision. If it has another by
	// now, nothing is removed and the error is ErrConflict. All else is as of Delete.
	DeleteAt(ctx context.Context, doc Doc, rev Revision) error
}

// DeleteAt removes a document of which rev is the revision, and returns ErrConflict
// for any other state. In a store that is no [ExactDeleter] a write between the look
// at the revision and the removal is lost.
func DeleteAt(ctx context.Context, s Store, doc Doc, rev Revision) error {
	if d, ok := s.(ExactDeleter); ok {
		return d.DeleteAt(ctx, doc, rev)
	}
	_, now, err := s.Load(ctx, doc)
	if err != nil {
		return err
	}
	if now != rev {
		return ChangedSince(doc, s.String())
	}
	return s.Delete(ctx, doc)
}

// ChangedSince is the ErrConflict of DeleteAt for a document that was written since
// its revision was read.
func ChangedSince(doc Doc, where string) error {
	return problem.New(ErrConflict, fmt.Sprintf("key document %q in %s was changed by somebody else and is not removed", string(doc), where)).
		WithNext("look at it again")
}
