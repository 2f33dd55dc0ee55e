package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// outcome is what came of working on an item.
type outcome struct {
	failed bool      // try again soon
	known  bool      // everything was placed, or will not be before something changes
	look   time.Time // look again then at the latest
}

// settle brings what runs of an app to what is wanted, and reports it.
func (r *Runner) settle(ctx context.Context, it *item, j job) outcome {
	if err := r.readView(ctx, it, j); err != nil {
		if ctx.Err() == nil {
			r.cfg.Log.Warn("a container app's revisions cannot be read; it goes on as it is", "app", it.key, "reason", err)
		}
		return outcome{failed: true}
	}
	wanted := map[engine.Ref]bool{}
	for _, rev := range it.view.Revisions {
		if rev.Active && !j.gone && !it.view.App.Stopped {
			wanted[Ref(it.view.App, rev.Name)] = true
		}
	}
	r.end(ctx, it, wanted)
	if j.gone {
		return outcome{known: true}
	}
	e, err := r.Engine()
	if err == errNotAsked {
		return outcome{}
	}
	if err != nil {
		r.reportAll(ctx, it, wanted, &placingFault{code: codeOperation, err: err})
		return outcome{known: true} // who opens the engine stirs
	}
	out := r.placeAll(ctx, e, it, wanted, j.again)
	for _, rev := range it.view.Revisions {
		look, ok := r.observe(ctx, e, it, rev, wanted)
		out.look, out.failed = firstOf(out.look, look), out.failed || !ok
	}
	return out
}

// readView reads the revisions of an app, if they may be other ones than before, and
// tells who wants to know.
func (r *Runner) readView(ctx context.Context, it *item, j job) error {
	if j.gone {
		it.view = View{App: j.app}
		r.cfg.Seen(it.view)
		return nil
	}
	if it.read == j.app.Resource.Revision && it.read != 0 {
		return nil
	}
	list, err := r.cfg.Apps.Revisions(ctx, j.app.ID)
	if err != nil {
		return err
	}
	it.view, it.read = View{j.app, list}, j.app.Resource.Revision
	r.cfg.Seen(it.view)
	return nil
}

// placeAll places the wanted revisions that are not, or all of them again.
func (r *Runner) placeAll(ctx context.Context, e engine.Engine, it *item, wanted map[engine.Ref]bool, again bool) (out outcome) {
	var values map[string]string
	var secretFault error
	read := false
	out.known = true
	for _, rev := range it.view.Revisions {
		ref := Ref(it.view.App, rev.Name)
		if !wanted[ref] || !again && it.has(ref, rev) {
			continue
		}
		if !read {
			values, secretFault = r.cfg.Secrets(ctx, it.view.App)
			read = true
		}
		err := secretFault
		if err == nil {
			err = r.place(ctx, e, it, rev, values)
		} else {
			err = &placingFault{code: containerapp.CodeTemplate, err: err}
		}
		if ctx.Err() != nil {
			return outcome{failed: true}
		}
		if err == nil {
			delete(it.faults, ref)
			continue
		}
		if err == errLeaves {
			out.known = false
			continue
		}
		var fault *placingFault
		if !errors.As(err, &fault) {
			fault = &placingFault{code: codeOperation, err: err}
		}
		it.faults[ref] = fault
		out.failed = true
	}
	return out
}

// has tells that a revision is placed as it is now.
func (it *item) has(ref engine.Ref, rev containerapp.Revision) bool {
	was, placed := it.spec[ref]
	return placed && was.generation == generation(it.view.App, rev)
}

// errLeaves says that a revision is placed when it has gone: who ends it stirs then.
var errLeaves = errors.New("what is left of the revision is being removed")

// place places one revision.
func (r *Runner) place(ctx context.Context, e engine.Engine, it *item, rev containerapp.Revision, secrets map[string]string) error {
	a := it.view.App
	ref := Ref(a, rev.Name)
	if r.leaves(it, ref) {
		return errLeaves
	}
	var more []engine.Env
	if r.cfg.Env != nil {
		var err error
		if more, err = r.cfg.Env(ctx, a, rev); err != nil {
			return err
		}
	}
	spec, err := specOf(a, rev, secrets, more)
	if err != nil {
		return err
	}
	var scale containerapp.Scale
	if rev.Template.Scale != nil {
		scale = *rev.Template.Scale
	}
	spec.Replicas = r.cfg.Replicas(ref, scale)
	if err := e.Place(ctx, spec); err != nil {
		return err
	}
	// Who scales may have said another number to the engine before this was placed.
	for n := r.cfg.Replicas(ref, scale); n != spec.Replicas; n = r.cfg.Replicas(ref, scale) {
		if err := e.Scale(ctx, ref, n); err != nil {
			return err
		}
		spec.Replicas = n
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if it.spec[ref].generation != spec.Generation || it.placed[ref].IsZero() {
		it.placed[ref] = r.cfg.Clock.Now()
	}
	it.spec[ref] = placement{a.UID, spec.Generation}
	return nil
}

// observe reports how a revision is doing, and says when to look again.
func (r *Runner) observe(ctx context.Context, e engine.Engine, it *item, rev containerapp.Revision, wanted map[engine.Ref]bool) (look time.Time, ok bool) {
	ref := Ref(it.view.App, rev.Name)
	fault := it.faults[ref]
	switch {
	case !wanted[ref]:
		return look, r.report(ctx, it, rev, stopped(rev.Status))
	case fault != nil && !it.isPlaced(ref):
		return look, r.report(ctx, it, rev, failing(rev.Status, fault))
	case !it.isPlaced(ref):
		return look, true // it leaves, to be placed again
	}
	s, err := e.Observe(ctx, ref)
	if err != nil {
		return look, errors.Is(err, problem.NotFound) && fault != nil
	}
	since := it.since(r, ref)
	now := r.cfg.Clock.Now()
	asked := askedOf(it.view.App, rev)
	status := statusOf(rev, asked, s, now.Sub(since), now)
	if left := settles(rev, asked, s, now); left > 0 {
		look = now.Add(left)
	} else if status.Provisioning == containerapp.InProgress {
		look = nextLook(since, now)
	}
	if fault != nil { // what runs is of before
		status = failing(rev.Status, fault)
		status.Replicas, status.Healthy = replicas(s), s.Ready > 0
	}
	return look, r.report(ctx, it, rev, status)
}

// nextLook is when patience with a revision ends next; zero when it has.
func nextLook(since, now time.Time) time.Time {
	for _, patient := range [...]time.Duration{trial, deadline} {
		if at := since.Add(patient); at.After(now) {
			return at
		}
	}
	return time.Time{}
}

func (it *item) isPlaced(ref engine.Ref) bool { _, placed := it.spec[ref]; return placed }

func (it *item) since(r *Runner, ref engine.Ref) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return it.placed[ref]
}

// reportAll reports that nothing can be placed.
func (r *Runner) reportAll(ctx context.Context, it *item, wanted map[engine.Ref]bool, fault *placingFault) {
	for _, rev := range it.view.Revisions {
		if wanted[Ref(it.view.App, rev.Name)] {
			r.report(ctx, it, rev, failing(rev.Status, fault))
		} else {
			r.report(ctx, it, rev, stopped(rev.Status))
		}
	}
}

// report tells the control plane, if it is news.
func (r *Runner) report(ctx context.Context, it *item, rev containerapp.Revision, s containerapp.Status) bool {
	a := it.view.App
	ready := s.Provisioning == containerapp.Provisioned && a.Latest == rev.Name && a.LatestReady != rev.Name
	if rev.Status == s && !ready {
		return true
	}
	_, err := r.cfg.Apps.ReportOf(ctx, a, rev, s)
	if err != nil && !errors.Is(err, problem.NotFound) && ctx.Err() == nil {
		r.cfg.Log.Warn("how a revision is doing cannot be reported; it is tried again", "app", a.ID.String(), "revision", rev.Name, "reason", err)
		return false
	}
	if s.Code != "" && s.Reason != rev.Status.Reason && err == nil {
		r.cfg.Log.Warn("a revision does not get on", "app", a.ID.String(), "revision", rev.Name, "why", s.Reason)
	}
	return true
}

// generation is what makes replicas of one template differ: the life of the app, and
// how often a restart was asked for, as who knows of new values of secrets does.
func generation(a containerapp.App, rev containerapp.Revision) string {
	return fmt.Sprintf("%s.%d", a.UID, rev.Restarts)
}

// Generates reports whether a generation is of this life of an app: containers of one
// that was deleted can outlive it for a while, and another of its name can be there.
func Generates(a containerapp.App, generation string) bool {
	life, _, _ := strings.Cut(generation, ".")
	return life == a.UID
}
