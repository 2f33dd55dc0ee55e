package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

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
	return a.deletion().End(ctx, app.ID)
}

// DeleteWithin deletes all apps of a resource group, also those whose deletion was
// begun already: when it returns nil none is left.
func (a *Apps) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	return a.inv.DeleteWithin(ctx, SiteType, group, func(ctx context.Context, id resource.ID) error { return a.Delete(ctx, id, by) })
}

// FinishDeletes ends deletions that were interrupted. It tries all of them and
// gives the errors of those that failed.
func (a *Apps) FinishDeletes(ctx context.Context) error { return a.deletion().EndAll(ctx) }

func (a *Apps) deletion() inventory.Deletion[App] {
	return inventory.Deletion[App]{
		Inventory: a.inv, Type: SiteType, Remove: a.remove,
		Lease: func(id resource.ID) string { return "delete-app-" + strings.ToLower(id.Name()) },
		Read: func(r inventory.Resource) (App, bool, error) {
			app, err := FromResource(r)
			return app, app.Deleting, err
		},
	}
}

// remove runs the hooks and deletes an app's documents, its name last.
func (a *Apps) remove(ctx context.Context, app App, fence state.Op) error {
	for _, hook := range a.onDelete {
		if err := hook(ctx, app); err != nil {
			return fmt.Errorf("app %q is not deleted completely yet: %w", app.Name, err)
		}
	}
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
