package app

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// draft is a site with its sections on the way to one write. A section is written
// together with the site's document, whose serial grows each time: whoever read a
// site and its sections at the same serial has seen one moment of them.
type draft struct {
	apps     *Apps
	id       resource.ID
	base     inventory.Resource // the site as it was read
	resource inventory.Resource
	private  private
	sections map[Section]inventory.Resource // read so far
	changed  map[Section]bool
	also     []state.Op // further operations of the write
	dirty    bool       // there is something to write
	bump     bool       // running copies must take it up
}

func (a *Apps) newDraft(id resource.ID) *draft {
	return &draft{apps: a, id: id, sections: map[Section]inventory.Resource{}, changed: map[Section]bool{}}
}

// restart says that running copies must take up this change.
func (d *draft) restart() { d.dirty, d.bump = true, true }

// section gives the value of a section, nil if it was never set.
func (d *draft) section(ctx context.Context, s Section) (json.RawMessage, error) {
	r, err := d.read(ctx, s)
	return r.Properties, err
}

func (d *draft) read(ctx context.Context, s Section) (inventory.Resource, error) {
	if r, known := d.sections[s]; known {
		return r, nil
	}
	r, err := d.apps.readSection(ctx, d.id, s)
	if err == nil {
		d.sections[s] = r
	}
	return r, err
}

// set changes a section, if value is another one.
func (d *draft) set(ctx context.Context, s Section, value json.RawMessage) error {
	r, err := d.read(ctx, s)
	if err != nil || sameJSON(r.Properties, value) {
		return err
	}
	if len(value) > MaxSection {
		return problem.New(problem.TooLarge, fmt.Sprintf("%s has %d bytes, more than the limit of %d", s, len(value), MaxSection))
	}
	bump := s.bumps() && (s != Web || !sameEffect(WebDefaults(d.id.Name()), r.Properties, value))
	r.Properties = value
	d.sections[s], d.changed[s] = r, true
	d.dirty, d.bump = true, d.bump || bump
	return nil
}

// ops gives the operations that store the changed sections.
func (d *draft) ops(by string) ([]state.Op, error) {
	ops, now := d.also, d.apps.clock.Now().UTC()
	for s := range d.changed {
		r := d.sections[s]
		if r.ID == "" {
			r.ID, r.Created, r.CreatedBy = s.ID(d.id).String(), now, by
		}
		r.Changed, r.ChangedBy = now, by
		text, err := json.Marshal(r)
		if err != nil {
			return nil, problem.Wrap(problem.Internal, fmt.Sprintf("section %s cannot be stored", s), err)
		}
		ops = append(ops, state.Put(inventory.Key(s.ID(d.id)), text, r.Revision))
	}
	return ops, nil
}

// edit changes an app. change may run more than once; nothing is written when it
// changes nothing.
func (a *Apps) edit(ctx context.Context, id resource.ID, by string, change func(*draft) error) (App, error) {
	return inventory.Retry(ctx, "app", id, func() (App, error) {
		app, p, err := a.get(ctx, id)
		if err != nil {
			return App{}, err
		}
		return a.editOnce(ctx, app, p, by, change)
	})
}

func (a *Apps) editOnce(ctx context.Context, app App, p private, by string, change func(*draft) error) (App, error) {
	if by == whoeverDid {
		by = app.Resource.ChangedBy
	}
	d := a.newDraft(app.ID)
	d.base, d.resource, d.private = app.Resource, app.Resource, p
	if err := change(d); err != nil {
		return App{}, inventory.Final(err)
	}
	if !d.dirty {
		return app, nil
	}
	return a.write(ctx, d, by, true)
}

// write stores a draft; inventory.ErrStale or state.ErrConflict when what it was made from
// has changed.
func (a *Apps) write(ctx context.Context, d *draft, by string, exists bool) (App, error) {
	d.private.Serial++
	if d.bump {
		d.private.Generation++
	}
	text, err := json.Marshal(d.private)
	if err != nil {
		return App{}, problem.Wrap(problem.Internal, "an app cannot be stored", err)
	}
	d.resource.Private = text
	ops, err := d.ops(by)
	if err != nil {
		return App{}, err
	}
	r, _, err := a.inv.Write(ctx, d.id, by, func(old inventory.Resource, there bool) (inventory.Resource, error) {
		if there != exists || there && old.Revision != d.base.Revision {
			return old, inventory.ErrStale
		}
		return d.resource, nil
	}, ops...)
	if err != nil {
		return App{}, err
	}
	return FromResource(r)
}
