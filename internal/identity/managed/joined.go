package managed

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/state"
)

// writer does the operations of one write, with more of its own in the same write.
type writer func(ctx context.Context, store state.Store, ops []state.Op) (state.Revision, error)

// joined gives the inventory with writes that take the directory's operations in,
// so that a document and its principal are there together or not at all.
func (s *Identities) joined(write writer) *inventory.Inventory {
	return &inventory.Inventory{Store: joinedStore{s.cfg.Inventory.Store, write}, Clock: s.cfg.Inventory.Clock}
}

type joinedStore struct {
	state.Store
	write writer
}

// Write implements state.Store.
func (j joinedStore) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	return j.write(ctx, j.Store, ops)
}

// conflictOf gives the store's own conflict, which says that the write may be tried
// again, out of the directory's error for it: the ids it speaks of are new.
func conflictOf(err error) error {
	if cause := errors.Unwrap(err); cause != nil && errors.Is(cause, state.ErrConflict) {
		return cause
	}
	return err
}
