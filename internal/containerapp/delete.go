package containerapp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// leaseTTL is how long another node waits for one that died while deleting.
const leaseTTL = 15 * time.Second

// Delete removes an app and everything that belongs to it: it is marked first, so
// that nobody sees or runs it any more, then come the hooks, then its documents.
// problem.NotFound if there is no such app.
func (a *Apps) Delete(ctx context.Context, id resource.ID, by string) error {
	app, err := a.edit(ctx, id, by, func(d *draft) error {
		d.private.Deleting = true
		d.touch()
		return nil
	})
	if errors.Is(err, problem.NotFound) {
		if _, left := a.inv.Get(ctx, id); left != nil {
			return err
		}
		app.ID = id // it is marked already
	} else if err != nil {
		return err
	}
	return a.finish(ctx, app.ID)
}

// DeleteWithin deletes all apps and then all environments of a resource group, also
// those whose deletion was begun already.
func (a *Apps) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	found, _, err := a.inv.List(ctx, Type, group, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := a.Delete(ctx, r.ResourceID(), by); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	found, _, err = a.inv.List(ctx, EnvironmentType, group, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := a.DeleteEnvironment(ctx, r.ResourceID()); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}

// FinishDeletes ends deletions that were interrupted. It tries all of them and
// gives the errors of those that failed.
func (a *Apps) FinishDeletes(ctx context.Context) error {
	found, _, err := a.inv.List(ctx, Type, resource.Root, "", 0)
	if err != nil {
		return err
	}
	var failed []error
	for _, r := range found {
		app, err := FromResource(r)
		if err == nil && app.Deleting {
			err = a.finish(ctx, app.ID)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// finish ends the deletion of a marked app. Only one node does so at a time, and
// what it finds under the lease is what counts.
func (a *Apps) finish(ctx context.Context, id resource.ID) error {
	lease, err := a.store.Acquire(ctx, leaseName(id), leaseTTL)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }() // it ends by itself
	ctx, cancel := state.Held(ctx, lease)
	defer cancel()
	app, err := a.read(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil || !app.Deleting {
		return err
	}
	for _, hook := range a.onDelete {
		if err := hook(ctx, app); err != nil {
			return fmt.Errorf("container app %q is not deleted completely yet: %w", app.Name, err)
		}
	}
	return a.remove(ctx, app, lease.Fence())
}

// leaseName is a segment of a key, which an id is not.
func leaseName(id resource.ID) string {
	sum := sha256.Sum256([]byte(id.Key()))
	return "delete-container-app-" + hex.EncodeToString(sum[:])
}

func (a *Apps) remove(ctx context.Context, app App, fence state.Op) error {
	c := a.revisions(app.ID)
	items, err := c.List(ctx)
	if err != nil {
		return err
	}
	for _, item := range items {
		if _, err := a.store.Write(ctx, fence, state.Delete(c.Key(item.Name), state.Any)); err != nil {
			return err
		}
	}
	err = a.inv.Delete(ctx, app.ID, fence)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	return err
}
