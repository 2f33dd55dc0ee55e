package containerapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Config is what Apps needs.
type Config struct {
	Inventory *inventory.Inventory
	Clock     clock.Clock
	// Suffix makes the suffix of a revision that has none: seven characters. nil
	// takes random ones.
	Suffix func() string
	// OnDelete are called, in order, when an app is deleted, before its documents go:
	// for what runs, and identities. Each may be called again after an interruption
	// and must then succeed; an error ends the deletion, which FinishDeletes or the
	// next Delete takes up.
	OnDelete []func(ctx context.Context, a App) error
}

// Apps keeps container apps with their revisions, and environments. It is safe for
// concurrent use, also by several nodes on one state. Methods that change something
// take the object id of who asked for it; they return problem.Conflict when others
// kept changing the same app.
type Apps struct {
	inv      *inventory.Inventory
	store    state.Store
	clock    clock.Clock
	suffix   func() string
	onDelete []func(context.Context, App) error
}

// New makes the service.
func New(c Config) *Apps {
	a := &Apps{inv: c.Inventory, store: c.Inventory.Store, clock: c.Clock, suffix: c.Suffix, onDelete: c.OnDelete}
	if a.suffix == nil {
		a.suffix = randomSuffix
	}
	return a
}

// Spec is what a client says about an app.
type Spec struct {
	Location string
	Kind     string
	Tags     map[string]string // nil: not said
	// Identity is the block to store, nil to leave what there is.
	Identity json.RawMessage
	// Properties are as the client sent them; read-only members do not count.
	Properties json.RawMessage
	// Allow is asked with what there is at the moment of the change, its error ends
	// it. nil allows.
	Allow func(had App, exists bool) error

	whole bool // the properties are all there is to be
}

// Get reads an app; problem.NotFound if there is none or it is being deleted.
func (a *Apps) Get(ctx context.Context, id resource.ID) (App, error) {
	app, err := a.read(ctx, id)
	if err == nil && app.Deleting {
		err = problem.New(problem.NotFound, fmt.Sprintf("container app %q is being deleted", app.Name))
	}
	return app, err
}

func (a *Apps) read(ctx context.Context, id resource.ID) (App, error) {
	r, err := a.inv.Get(ctx, id)
	if err != nil {
		return App{}, err
	}
	return FromResource(r)
}

// List gives the apps within a scope in order of their ids, at most limit (0: all)
// after the one whose key is given ("" from the first). next is the key to go on
// after, "" at the end. Apps that are being deleted are left out.
func (a *Apps) List(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []App, next state.Key, err error) {
	found, next, err := a.inv.List(ctx, Type, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, r := range found {
		app, err := FromResource(r)
		if err != nil {
			return nil, "", err
		}
		if !app.Deleting {
			list = append(list, app)
		}
	}
	return list, next, nil
}

// Put creates an app or replaces what it is. What replacing leaves alone when the
// spec does not say it: location, kind, identity, and values of secrets that are
// named without one. A template that is another one makes a revision; the same one
// tries a revision that failed anew. Errors are [Faults] for what cannot be, problem.NotFound without the resource group,
// problem.Conflict for more than [MaxActive] active revisions, and those of Spec.Allow.
func (a *Apps) Put(ctx context.Context, id resource.ID, by string, s Spec) (app App, created bool, err error) {
	if err := CheckName(id.Name()); err != nil {
		return App{}, false, err
	}
	app, err = inventory.Retry(ctx, "container app", id, func() (App, error) {
		had, err := a.read(ctx, id)
		created = errors.Is(err, problem.NotFound)
		if err != nil && !created {
			return App{}, err
		}
		if had.Deleting {
			if err := a.deletion().End(ctx, had.ID); err != nil {
				return App{}, err
			}
			return App{}, inventory.ErrStale
		}
		next, err := parseProperties(s.Properties)
		if err != nil {
			return App{}, err
		}
		s.whole = true
		return a.change(ctx, id, by, had, !created, s, next)
	})
	return app, created && err == nil, err
}

// Patch changes what the spec says: a JSON merge patch of the properties, so that
// lists are replaced as wholes; values of secrets that are named without one stay.
// problem.NotFound if there is no such app; other errors are those of Put.
func (a *Apps) Patch(ctx context.Context, id resource.ID, by string, s Spec) (App, error) {
	return inventory.Retry(ctx, "container app", id, func() (App, error) {
		had, err := a.Get(ctx, id)
		if err != nil {
			return App{}, err
		}
		text, err := merged(had.Resource.Properties, s.Properties)
		if err != nil {
			return App{}, err
		}
		next, err := parseProperties(text)
		if err != nil {
			return App{}, err
		}
		if s.Tags == nil {
			s.Tags = had.Resource.Tags
		}
		return a.change(ctx, id, by, had, true, s, next)
	})
}

// SetStopped stops or starts an app. Nothing is written when it is so already.
func (a *Apps) SetStopped(ctx context.Context, id resource.ID, by string, stopped bool) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error {
		if d.private.Stopped != stopped {
			d.private.Stopped = stopped
			d.touch()
		}
		return nil
	})
}

// Touch makes what runs take up something that is not the app's own and has
// changed, such as a secret of a vault: active revisions start anew.
func (a *Apps) Touch(ctx context.Context, id resource.ID) (App, error) {
	return a.edit(ctx, id, "", func(d *draft) error {
		for i := range d.revisions {
			if d.revisions[i].Value.Active {
				d.revisions[i].Value.Restarts++
				d.changed[d.revisions[i].Name] = true
			}
		}
		d.touch()
		return nil
	})
}

// Revisions gives the revisions of an app, the oldest first.
func (a *Apps) Revisions(ctx context.Context, id resource.ID) ([]Revision, error) {
	items, err := a.revisions(id).List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Revision, len(items))
	for i, item := range items {
		list[i] = item.Value
	}
	slices.SortFunc(list, func(x, y Revision) int { return int(x.Number - y.Number) })
	return list, nil
}

// Revision reads one revision; problem.NotFound if there is none.
func (a *Apps) Revision(ctx context.Context, id resource.ID, name string) (Revision, error) {
	item, err := a.revisions(id).Get(ctx, strings.ToLower(name))
	if errors.Is(err, state.ErrNotFound) || errors.Is(err, state.ErrInvalid) {
		return Revision{}, noRevision(id, name)
	}
	return item.Value, err
}

func noRevision(id resource.ID, name string) error {
	return problem.New(problem.NotFound, fmt.Sprintf("container app %q has no revision %q", id.Name(), clip(name)))
}

// Revisions lie beside the apps, so that lists of apps do not read them.
const revisionPrefix state.Key = "/container-revisions"

func (a *Apps) revisions(id resource.ID) state.Collection[Revision] {
	return state.Collection[Revision]{Store: a.store, Prefix: revisionPrefix + state.Key(id.Key()) + "/"}
}
