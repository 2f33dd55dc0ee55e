package inventory

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// leaseTTL is how long another node waits for one that died while deleting.
const leaseTTL = 15 * time.Second

// Deletion ends deletions of resources of one type that were begun by a mark in
// their document, so that nobody sees them any more, and may be interrupted at any
// moment. Its methods may be called by many goroutines and nodes.
type Deletion[T any] struct {
	Inventory *Inventory
	Type      string
	// Read gives what a resource is, and whether it is marked.
	Read func(Resource) (value T, marked bool, err error)
	// Lease names what only one node does at a time: a segment of a key.
	Lease func(resource.ID) string
	// Remove removes a marked one with all that belongs to it. It may be called again
	// after an interruption. fence goes into its writes.
	Remove func(ctx context.Context, value T, fence state.Op) error
}

// End ends the deletion of what is marked. What it finds under the lease is what
// counts: one that was created anew in the meantime is left alone, and so is one
// that is not there.
func (d Deletion[T]) End(ctx context.Context, id resource.ID) error {
	lease, err := d.Inventory.Store.Acquire(ctx, d.Lease(id), leaseTTL)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }() // it ends by itself
	ctx, cancel := state.Held(ctx, lease)                            // else hooks could meet the next one of the name
	defer cancel()
	r, err := d.Inventory.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	value, marked, err := d.Read(r)
	if err != nil || !marked {
		return err
	}
	return d.Remove(ctx, value, lease.Fence())
}

// EndAll ends deletions that were interrupted. It tries all of them and gives the
// errors of those that failed.
func (d Deletion[T]) EndAll(ctx context.Context) error {
	found, _, err := d.Inventory.List(ctx, d.Type, resource.Root, "", 0)
	if err != nil {
		return err
	}
	var failed []error
	for _, r := range found {
		_, marked, err := d.Read(r)
		if err == nil && marked {
			err = d.End(ctx, r.ResourceID())
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// DeleteWithin calls remove for all resources of a type within a scope, marked ones
// too, and goes on where one is gone already.
func (inv *Inventory) DeleteWithin(ctx context.Context, typ string, scope resource.ID, remove func(context.Context, resource.ID) error) error {
	found, _, err := inv.List(ctx, typ, scope, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := remove(ctx, r.ResourceID()); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}
