package reference

import (
	"context"
	"maps"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
)

// Values gives what a running copy of an app is to have: its settings with
// references replaced by their last good values, else left as they are.
// References that were not attempted since the app became what it is (its
// settings, its identity, a restart, a start) are fetched first, within
// Config.Opening. With Config.Refuse it returns problem.Unavailable naming a
// reference without a value. The maps belong to the caller.
func (r *Resolver) Values(ctx context.Context, a app.Snapshot) (Values, error) {
	v := Values{Settings: maps.Clone(a.Settings), Connections: maps.Clone(a.Connections)}
	found := r.targets(a)
	if len(found) == 0 {
		return v, nil
	}
	d, err := r.attempted(ctx, a, found)
	if err != nil {
		return Values{}, err
	}
	for _, t := range found {
		rec, known := d.Records[t.key]
		if !known || rec.Text != t.ref.Text {
			rec = record{Status: Initialized, Why: "it was not fetched yet"}
		}
		if rec.good() {
			v.replace(t, rec.Value)
		}
		if rec.Status != Resolved {
			v.Unresolved = append(v.Unresolved, Problem{t.section, t.name, rec.Status, rec.Why, rec.stale()})
		}
	}
	return v, r.refuse(a, v)
}

func (v *Values) replace(t target, value string) {
	if t.section == app.AppSettings {
		v.Settings[t.name] = value
		return
	}
	c := v.Connections[t.name]
	c.Value = value
	v.Connections[t.name] = c
}

// refuse says what keeps a copy from opening.
func (r *Resolver) refuse(a app.Snapshot, v Values) error {
	for _, p := range v.Unresolved {
		if r.cfg.Refuse && !p.Stale {
			return problem.New(problem.Unavailable, "app "+a.Name+" does not start without the value of "+string(p.Section)+" "+p.Setting+": "+string(p.Status)+": "+p.Why).
				WithNext("see the status of its references")
		}
	}
	return nil
}

// attempted gives what is known of an app's references once all were attempted,
// or patience is over.
func (r *Resolver) attempted(ctx context.Context, a app.Snapshot, found []target) (document, error) {
	d, _, err := r.load(ctx, a.UID)
	if err == nil && d.covers(a, found) {
		return d, nil
	}
	patience, cancel := context.WithTimeout(ctx, r.cfg.Opening)
	defer cancel()
	g, leave, err := r.enter(patience, a.UID)
	defer leave()
	if ctx.Err() != nil {
		return document{}, ctx.Err()
	}
	if err != nil { // others are at it and slow
		d, _, err = r.load(ctx, a.UID)
		return d, err
	}
	return r.inFront(ctx, patience, g, a, demand{})
}

// covers reports whether nothing is to be fetched before a copy opens.
func (d document) covers(a app.Snapshot, found []target) bool {
	for _, t := range found {
		if rec := d.Records[t.key]; t.fault == nil && (rec.Text != t.ref.Text || rec.Status == Initialized) {
			return false
		}
	}
	return d.current(a.App)
}

// inFront does a pass that somebody waits for; the gate must be held.
func (r *Resolver) inFront(ctx, patience context.Context, g *gate, a app.Snapshot, want demand) (document, error) {
	p := &pass{r: r, gate: g, lane: r.front, app: a}
	d, err := p.run(ctx, patience, want)
	if err != nil {
		return document{}, err
	}
	if r.leading() != nil { // it has a schedule for that
		return d, nil
	}
	if err := r.touch(ctx, a.App, d); err != nil {
		r.cfg.Log.Error("the node that refreshes will try again", "app", a.Name, "reason", err, "next", problem.NextOf(err))
	}
	return d, nil
}

// Refresh fetches all references of an app now. How that went is in Report; the
// error says only that it could not be found out. Fetches that ctx's deadline
// cuts off count as timed out.
func (r *Resolver) Refresh(ctx context.Context, a app.App) error {
	work, end := withoutDeadline(ctx)
	defer end()
	patience, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	g, leave, err := r.enter(patience, a.UID)
	defer leave()
	if err != nil {
		return problem.Wrap(problem.Timeout, "the app's references are being fetched already, which takes long", err).WithNext("ask for their status")
	}
	whole, err := r.cfg.Apps.Snapshot(work, a.ID)
	if err != nil {
		return err
	}
	_, err = r.inFront(work, patience, g, whole, demand{all: true})
	return err
}
