package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// leaseTTL is how long another node waits for one that died while deleting.
const leaseTTL = 15 * time.Second

// Delete removes an app and everything that belongs to it: it is marked first, so
// that nobody sees or runs it any more, then come the hooks, then its documents
// and its name. An interruption leaves a marked app, which FinishDeletes, Delete
// or Put take up. problem.NotFound if there is no such app.
func (a *Apps) Delete(ctx context.Context, id resource.ID, by string) error {
	app, err := a.edit(ctx, id, by, func(d *draft) error {
		d.private.Deleting = true
		d.restart()
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

// DeleteWithin deletes all apps of a resource group, also those whose deletion was
// begun already: when it returns nil none is left.
func (a *Apps) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	found, _, err := a.inv.List(ctx, SiteType, group, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := a.Delete(ctx, r.ResourceID(), by); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}

// FinishDeletes ends deletions that were interrupted. It tries all of them and
// gives the errors of those that failed.
func (a *Apps) FinishDeletes(ctx context.Context) error {
	found, _, err := a.inv.List(ctx, SiteType, resource.Root, "", 0)
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
// what it finds under the lease is what counts: an app that was created anew in
// the meantime is left alone.
func (a *Apps) finish(ctx context.Context, id resource.ID) error {
	lease, err := a.store.Acquire(ctx, "delete-app-"+strings.ToLower(id.Name()), leaseTTL)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }() // it ends by itself
	ctx, cancel := state.Held(ctx, lease)                            // else hooks could meet the next app of the name
	defer cancel()
	r, err := a.inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	app, err := FromResource(r)
	if err != nil || !app.Deleting {
		return err
	}
	for _, hook := range a.onDelete {
		if err := hook(ctx, app); err != nil {
			return fmt.Errorf("app %q is not deleted completely yet: %w", app.Name, err)
		}
	}
	return a.remove(ctx, app, lease.Fence())
}

// remove deletes an app's documents, its name last.
func (a *Apps) remove(ctx context.Context, app App, fence state.Op) error {
	_, index, err := a.indexed(ctx, app.Name)
	if err != nil && !errors.Is(err, problem.NotFound) {
		return err
	}
	if err := a.removeSections(ctx, app.ID, fence); err != nil {
		return err
	}
	last := []state.Op{fence}
	if err == nil {
		last = append(last, state.Delete(nameKey(app.Name), index))
	}
	err = a.inv.Delete(ctx, app.ID, last...)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	return err
}

func (a *Apps) removeSections(ctx context.Context, id resource.ID, fence state.Op) error {
	var keys []state.Key
	for _, s := range []Section{Web, PolicySCM} { // one of each type
		key := string(inventory.Key(s.ID(id)))
		prefix := state.Key(key[:strings.LastIndexByte(key, '/')+1])
		found, err := a.store.List(ctx, prefix, state.Page{KeysOnly: true})
		if err != nil {
			return err
		}
		for _, doc := range found.Documents {
			keys = append(keys, doc.Key)
		}
	}
	for part := range slices.Chunk(keys, state.MaxOps/2) {
		ops := []state.Op{fence}
		for _, key := range part {
			ops = append(ops, state.Delete(key, state.Any))
		}
		if _, err := a.store.Write(ctx, ops...); err != nil {
			return err
		}
	}
	return nil
}
