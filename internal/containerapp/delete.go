package containerapp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

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
	return a.deletion().End(ctx, app.ID)
}

// DeleteWithin deletes all apps and then all environments of a resource group, also
// those whose deletion was begun already.
func (a *Apps) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	remove := func(ctx context.Context, id resource.ID) error { return a.Delete(ctx, id, by) }
	if err := a.inv.DeleteWithin(ctx, Type, group, remove); err != nil {
		return err
	}
	return a.inv.DeleteWithin(ctx, EnvironmentType, group, a.DeleteEnvironment)
}

// FinishDeletes ends deletions that were interrupted. It tries all of them and
// gives the errors of those that failed.
func (a *Apps) FinishDeletes(ctx context.Context) error { return a.deletion().EndAll(ctx) }

func (a *Apps) deletion() inventory.Deletion[App] {
	return inventory.Deletion[App]{
		Inventory: a.inv, Type: Type, Lease: leaseName, Remove: a.remove,
		Read: func(r inventory.Resource) (App, bool, error) {
			app, err := FromResource(r)
			return app, app.Deleting, err
		},
	}
}

// leaseName is a segment of a key, which an id is not.
func leaseName(id resource.ID) string {
	sum := sha256.Sum256([]byte(id.Key()))
	return "delete-container-app-" + hex.EncodeToString(sum[:])
}

func (a *Apps) remove(ctx context.Context, app App, fence state.Op) error {
	for _, hook := range a.onDelete {
		if err := hook(ctx, app); err != nil {
			return fmt.Errorf("container app %q is not deleted completely yet: %w", app.Name, err)
		}
	}
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
