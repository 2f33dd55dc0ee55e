package containerapp

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Activate makes a revision active, where several can be. problem.NotFound if
// there is none, problem.Conflict where only one can be active, or [MaxActive] are.
func (a *Apps) Activate(ctx context.Context, id resource.ID, by, name string) (App, error) {
	return a.onRevision(ctx, id, by, name, func(d *draft, r *Revision) error {
		if r.Active {
			return nil
		}
		if d.props.Configuration.Mode == Single {
			return problem.New(problem.Conflict, fmt.Sprintf("revision %q cannot be active: only the latest is, in single mode", r.Name)).
				WithNext("set configuration.activeRevisionsMode to Multiple")
		}
		if d.active() >= MaxActive {
			return tooManyActive()
		}
		r.Active, r.Status = true, Status{Provisioning: InProgress, Running: Processing}
		d.mark(r)
		return nil
	})
}

// Deactivate ends a revision. What traffic it had goes to the others that have
// some. problem.NotFound if there is none, problem.Conflict while it is the only
// one to get traffic.
func (a *Apps) Deactivate(ctx context.Context, id resource.ID, by, name string) (App, error) {
	return a.onRevision(ctx, id, by, name, func(d *draft, r *Revision) error {
		if !r.Active {
			return nil
		}
		if d.serves(r.Name) {
			return problem.New(problem.Conflict, fmt.Sprintf("revision %q gets traffic", r.Name)).
				WithNext("give its traffic to another revision first")
		}
		r.Active, r.Status.Running, r.Status.Replicas = false, IsStopped, 0
		d.mark(r)
		return nil
	})
}

// serves reports whether the ingress sends requests to a revision. Those for the
// latest one go to the one that was ready last, until the latest is.
func (d *draft) serves(name string) bool {
	g := d.props.Configuration.Ingress
	if g == nil {
		return false
	}
	latest := strings.EqualFold(name, d.private.Latest) || strings.EqualFold(name, d.private.LatestReady)
	for _, t := range g.Traffic {
		if t.Weight > 0 && (strings.EqualFold(t.RevisionName, name) || t.LatestRevision && latest) {
			return true
		}
	}
	return false
}

// RestartRevision makes the replicas of a revision start anew. problem.NotFound if
// there is none, problem.Conflict if it is not active.
func (a *Apps) RestartRevision(ctx context.Context, id resource.ID, by, name string) (App, error) {
	return a.onRevision(ctx, id, by, name, func(d *draft, r *Revision) error {
		if !r.Active {
			return problem.New(problem.Conflict, fmt.Sprintf("revision %q is not active", r.Name)).WithNext("activate it first")
		}
		r.Restarts++
		d.mark(r)
		return nil
	})
}

// Report tells how a revision is doing. When the latest one has become ready, the
// one before it ends where only one is active. Nothing is written when it was so
// already. problem.NotFound if there is no such revision.
func (a *Apps) Report(ctx context.Context, id resource.ID, name string, s Status) (App, error) {
	return a.onRevision(ctx, id, "", name, func(d *draft, r *Revision) error {
		d.report(r, s)
		return nil
	})
}

func (d *draft) report(r *Revision, s Status) {
	ready := s.Provisioning == Provisioned && strings.EqualFold(r.Name, d.private.Latest) && d.private.LatestReady != r.Name
	if r.Status == s && !ready {
		return
	}
	r.Status = s
	d.changed[strings.ToLower(r.Name)], d.dirty = true, true
	if ready {
		d.private.LatestReady = r.Name
	}
	d.settle()
}

// ReportOf is [Apps.Report] of what somebody saw of a revision: nothing is written if
// it was restarted, activated or ended since. problem.NotFound if that life of the app
// is over.
func (a *Apps) ReportOf(ctx context.Context, app App, seen Revision, s Status) (App, error) {
	return a.onRevision(ctx, app.ID, "", seen.Name, func(d *draft, r *Revision) error {
		if d.private.UID != app.UID {
			return noRevision(app.ID, seen.Name)
		}
		if r.Restarts == seen.Restarts && r.Active == seen.Active {
			d.report(r, s)
		}
		return nil
	})
}

// mark says that a revision changed.
func (d *draft) mark(r *Revision) {
	d.changed[strings.ToLower(r.Name)] = true
	d.touch()
}

func (a *Apps) onRevision(ctx context.Context, id resource.ID, by, name string, change func(*draft, *Revision) error) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error {
		item := d.find(name)
		if item == nil {
			return noRevision(id, name)
		}
		return change(d, &item.Value)
	})
}
