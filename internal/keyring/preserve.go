package keyring

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// preserve has a document that cannot be used kept as it is, once for each content,
// where the store can keep copies: whatever somebody then does to it, it can be put
// back. The error says where the copy is.
func (r *Ring) preserve(ctx context.Context, s *Scope, err error) error {
	copier, ok := r.cfg.Store.(keystore.Copier)
	if !ok || !errors.Is(err, keystore.ErrUndecryptable) || r.cfg.Store.Capabilities().ReadOnly {
		return err
	}
	name, _, failed := copier.Preserve(ctx, s.doc)
	if failed != nil {
		return err // the document itself is still there
	}
	return problem.Wrap(keystore.ErrUndecryptable, "a copy is kept as "+name, err).WithNext(problem.NextOf(err))
}
