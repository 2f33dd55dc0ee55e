package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// MaxProperties is the most bytes that the properties of a site or plan may have.
const MaxProperties = 128 << 10

// Put creates an app or replaces its properties. What replacing leaves alone when
// the spec does not say it: location, kind, identity, the plan, and settings;
// configuration is merged. Errors are problem.Exists when another app has the
// name, problem.NotFound when the resource group or the plan is not there,
// problem.Invalid and problem.TooLarge for what cannot be stored, and those of
// Spec.Allow.
func (a *Apps) Put(ctx context.Context, id resource.ID, by string, s Spec) (app App, created bool, err error) {
	app, err = inventory.Retry(ctx, "app", id, func() (App, error) {
		r, err := a.inv.Get(ctx, id)
		if created = errors.Is(err, problem.NotFound); created {
			return a.create(ctx, id, by, s)
		}
		if err != nil {
			return App{}, err
		}
		found, p, err := fromResource(r)
		if err != nil {
			return App{}, err
		}
		if found.Deleting {
			if err := a.deletion().End(ctx, found.ID); err != nil {
				return App{}, err
			}
			return App{}, inventory.ErrStale
		}
		return a.editOnce(ctx, found, p, by, func(d *draft) error { return a.apply(ctx, d, s, replace) })
	})
	return app, created && err == nil, err
}

// Patch changes what the spec says: members are merged, objects among them too,
// and null removes. problem.NotFound if there is no such app; other errors are
// those of Put.
func (a *Apps) Patch(ctx context.Context, id resource.ID, by string, s Spec) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error { return a.apply(ctx, d, s, merge) })
}

// UpdateWeb merges a configuration into the app's.
func (a *Apps) UpdateWeb(ctx context.Context, id resource.ID, by string, w WebSpec) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error { return a.applyWeb(ctx, d, w) })
}

// create makes an app that is not there yet.
func (a *Apps) create(ctx context.Context, id resource.ID, by string, s Spec) (App, error) {
	if err := CheckName(id.Name()); err != nil {
		return App{}, err
	}
	if other, _, err := a.indexed(ctx, id.Name()); err == nil {
		if other.Equal(id) { // somebody has just made it
			return App{}, inventory.ErrStale
		}
		return App{}, taken(id.Name())
	} else if !errors.Is(err, problem.NotFound) {
		return App{}, err
	}
	in, err := a.inv.Enter(ctx, id)
	if err != nil {
		return App{}, inventory.Final(err)
	}
	if s, err = a.withPlan(ctx, id, by, s); err != nil {
		return App{}, err
	}
	d := a.newDraft(id)
	d.private.UID = uuid.NewString()
	d.also = append(d.also, in, state.Put(nameKey(id.Name()), []byte(id.String()), state.Absent))
	if s.Kind == "" {
		s.Kind = "functionapp"
	}
	d.restart()
	if err := a.apply(ctx, d, s, replace); err != nil {
		return App{}, inventory.Final(err)
	}
	if err := d.newPassword(ctx); err != nil {
		return App{}, err
	}
	return a.write(ctx, d, by, false)
}

// taken does not say where the other app is: whoever makes one need not see that.
func taken(name string) error {
	return problem.New(problem.Exists, fmt.Sprintf("an app called %q already exists", name)).
		WithNext("choose another name: app names are unique in this installation, also those of apps you do not see")
}

type mode bool

const (
	replace mode = false
	merge   mode = true
)

// apply brings what a spec says into a draft.
func (a *Apps) apply(ctx context.Context, d *draft, s Spec, how mode) error {
	if err := s.allowed(d); err != nil {
		return err
	}
	r := &d.resource
	if s.Location != "" {
		r.Location, d.dirty = s.Location, d.dirty || r.Location != s.Location
	}
	if s.Kind != "" {
		r.Kind, d.dirty = s.Kind, d.dirty || r.Kind != s.Kind
	}
	if s.Tags != nil || how == replace {
		d.dirty = d.dirty || !maps.Equal(r.Tags, s.Tags)
		r.Tags = s.Tags
	}
	if s.Identity != nil && !sameJSON(r.Identity, s.Identity) {
		r.Identity = s.Identity
		d.restart()
	}
	if err := a.applyProperties(ctx, d, s.Properties, how); err != nil {
		return err
	}
	return a.applyWeb(ctx, d, s.Web)
}

func (a *Apps) applyProperties(ctx context.Context, d *draft, said Members, how mode) error {
	had := Members{}
	if err := json.Unmarshal(orEmpty(d.resource.Properties), &had); err != nil {
		return problem.Wrap(problem.Undecryptable, fmt.Sprintf("app %q cannot be understood", d.id.Name()), err)
	}
	next := said.withoutNulls()
	if how == merge {
		next = had.merged(said)
	}
	if absent(next["serverFarmId"]) == nil && had["serverFarmId"] != nil {
		next["serverFarmId"] = had["serverFarmId"]
	}
	if err := a.joinPlan(ctx, d, next, had.text("serverFarmId")); err != nil {
		return err
	}
	value, err := json.Marshal(next)
	if err != nil {
		return problem.Wrap(problem.Invalid, "properties cannot be stored", err)
	}
	if len(value) > MaxProperties {
		return problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(value), MaxProperties))
	}
	if !sameJSON(d.resource.Properties, value) {
		d.dirty = true
	}
	if !sameEffect(SiteDefaults(), d.resource.Properties, value) {
		d.restart()
	}
	d.resource.Properties = value
	return nil
}

// applyWeb merges a configuration; settings that it has replace what there was.
func (a *Apps) applyWeb(ctx context.Context, d *draft, w WebSpec) error {
	if len(w.Members) > 0 {
		if err := d.mergeSection(ctx, Web, w.Members); err != nil {
			return err
		}
	}
	for s, value := range map[Section]any{AppSettings: w.Settings, ConnectionStrings: w.Connections, Metadata: w.Metadata, StorageAccounts: w.StorageAccounts} {
		text, err := json.Marshal(value)
		if err == nil && absent(text) != nil {
			err = d.set(ctx, s, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeSection merges members into a section.
func (d *draft) mergeSection(ctx context.Context, s Section, said Members) error {
	old, err := d.section(ctx, s)
	if err != nil {
		return err
	}
	had := Members{}
	if err := json.Unmarshal(orEmpty(old), &had); err != nil {
		return problem.Wrap(problem.Undecryptable, fmt.Sprintf("%s of app %q cannot be understood", s, d.id.Name()), err)
	}
	value, err := json.Marshal(had.merged(said))
	if err != nil {
		return problem.Wrap(problem.Invalid, fmt.Sprintf("%s cannot be stored", s), err)
	}
	return d.set(ctx, s, value)
}

func orEmpty(text json.RawMessage) json.RawMessage {
	if absent(text) == nil || len(text) == 0 {
		return json.RawMessage("{}")
	}
	return text
}
