package reference

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	// refreshWithin bounds a refresh that somebody asked for.
	refreshWithin = 25 * time.Second
	// storeGrace is what storing may take when a deadline for fetching is over.
	storeGrace = 5 * time.Second
	pageSize   = 500
)

// withoutDeadline gives a context that ends when parent is cancelled, but outlives
// its deadline for long enough to store what was found out.
func withoutDeadline(parent context.Context) (context.Context, context.CancelFunc) {
	deadline, has := parent.Deadline()
	if !has {
		return context.WithCancel(parent)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(parent), deadline.Add(storeGrace))
	stop := context.AfterFunc(parent, func() {
		if parent.Err() == context.Canceled {
			cancel()
		}
	})
	return ctx, func() { stop(); cancel() }
}

// Report says how the references in a section of an app stand, in order of names.
// It reads what is stored and never fetches; it works whatever the vault and the
// app do.
func (r *Resolver) Report(ctx context.Context, a app.App, section app.Section) ([]Report, error) {
	whole, err := r.cfg.Apps.Snapshot(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	all, err := r.reports(ctx, whole)
	var list []Report
	for _, rep := range all {
		if rep.Section == section {
			list = append(list, rep)
		}
	}
	return list, err
}

func (r *Resolver) reports(ctx context.Context, a app.Snapshot) ([]Report, error) {
	found := r.targets(a)
	if len(found) == 0 {
		return nil, nil
	}
	d, damaged, err := r.load(ctx, a.UID)
	if err != nil {
		return nil, err
	}
	var list []Report
	for _, t := range found {
		rec := d.Records[t.key]
		if rec.Text != t.ref.Text {
			rec = record{Text: t.ref.Text, Status: Initialized, Identity: Identity{Type: expectedIdentity(t.reader)}}
			if damaged {
				rec.Why = "what was known of it cannot be read; it is fetched anew"
			}
		}
		if t.fault != nil {
			rec.Status, rec.Why = InvalidSyntax, t.fault.Error()
		}
		rep := r.report(a.App, t, rec)
		rep.History = recent(d.History[t.key])
		list = append(list, rep)
	}
	return list, nil
}

func (r *Resolver) report(a app.App, t target, rec record) Report {
	rep := Report{
		Section: t.section, Setting: t.name, Ref: t.ref, Status: rec.Status, Details: rec.Status.Details(), Why: rec.Why,
		HTTPStatus: rec.HTTPStatus, InnerCode: rec.InnerCode, Identity: rec.Identity, Version: rec.Version, Stale: rec.stale(),
		Since: rec.Since, GoodSince: rec.GoodSince, LastAttempt: rec.LastAttempt, Expires: rec.Expires,
	}
	if s := r.leading(); s != nil {
		if live, known := s.timing(a.UID, t.key); known && live.text == t.ref.Text {
			rep.NextRefresh = live.due
			if live.last.After(rep.LastAttempt) {
				rep.LastAttempt = live.last
			}
		}
	}
	return rep
}

// All gives the references of all apps that have some, in order of apps' ids.
func (r *Resolver) All(ctx context.Context) ([]Summary, error) {
	var all []Summary
	for after := state.Key(""); ; {
		apps, next, err := r.cfg.Apps.List(ctx, resource.Root, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, a := range apps {
			s, err := r.summary(ctx, a)
			if err != nil {
				return nil, err
			}
			if len(s.Reports) > 0 {
				all = append(all, s)
			}
		}
		if after = next; after == "" {
			return all, nil
		}
	}
}

func (r *Resolver) summary(ctx context.Context, a app.App) (Summary, error) {
	whole, err := r.cfg.Apps.Snapshot(ctx, a.ID)
	if errors.Is(err, problem.NotFound) {
		return Summary{}, nil
	}
	if err != nil {
		return Summary{}, err
	}
	s := Summary{App: whole.App}
	s.Reports, err = r.reports(ctx, whole)
	for _, rep := range s.Reports {
		if rep.Status != Resolved {
			s.Failing++
			if rep.Stale {
				s.Stale++
			} else {
				s.Valueless++
			}
		}
	}
	return s, err
}
