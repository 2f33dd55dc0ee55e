package runner

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/state"
)

// item is an app and what is done about it. What is above the gap belongs to the
// Runner's mu, what is below to whoever works on it, which one goroutine does at a
// time.
type item struct {
	key     string
	app     containerapp.App // as it was read last
	lost    bool             // its document is gone
	ended   string           // the life of the app that is being deleted
	look    bool             // something may have changed
	again   bool             // place its revisions again
	due     time.Time        // when to place them again anyway; zero for never
	tries   int              // placements in a row that failed
	working bool
	told    bool                // Seen was told of it
	settled bool                // everything was placed, or is known not to be possible
	wanted  map[engine.Ref]bool // as of the last placement
	ending  map[engine.Ref]*departure
	placed  map[engine.Ref]time.Time // since when

	view   View                         // as it was read
	read   state.Revision               // of the document that view was read with
	spec   map[engine.Ref]placement     // what was placed
	faults map[engine.Ref]*placingFault // why revisions are not placed
}

// placement is what a revision was placed as.
type placement struct{ life, generation string }

// departure is a revision on its way out.
type departure struct {
	life     string // of the app
	removing bool   // the engine was asked; before, it can be wanted again
}

func newItem(key string) *item {
	return &item{key: key, wanted: map[engine.Ref]bool{}, ending: map[engine.Ref]*departure{}, placed: map[engine.Ref]time.Time{},
		spec: map[engine.Ref]placement{}, faults: map[engine.Ref]*placingFault{}}
}

// stir says that something is to be done; mu is held. again places anew.
func (it *item) stir(again bool) {
	it.look = true
	if again {
		it.again, it.tries, it.due = true, 0, time.Time{}
	}
}

// job is what is to be done about an item, as it was when that began.
type job struct {
	app   containerapp.App
	gone  bool // nothing of it is wanted
	again bool
}

// decide gives out work until ctx ends.
func (r *Runner) decide(ctx context.Context, work *sync.WaitGroup) {
	swept, due := false, time.Time{}
	for ctx.Err() == nil {
		next, done := r.dispatch(ctx, work)
		if done && !swept {
			if now := r.cfg.Clock.Now(); !now.Before(due) {
				swept, due = r.sweep(ctx), now.Add(mostPause)
			}
			if !swept {
				next = firstOf(next, due)
			}
		}
		timer := r.cfg.Clock.NewTimer(time.Hour)
		if !next.IsZero() {
			timer.Stop()
			timer = r.cfg.Clock.NewTimer(max(0, next.Sub(r.cfg.Clock.Now())))
		}
		select {
		case <-r.wake:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func firstOf(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dispatch begins what is to be done and may be, and says when there is more to do
// by itself. done tells that everything was placed once.
func (r *Runner) dispatch(ctx context.Context, work *sync.WaitGroup) (next time.Time, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		return next, false
	}
	done = r.engine != nil
	told := true
	now := r.cfg.Clock.Now()
	for _, it := range r.items {
		done, told = done && it.settled, told && it.told
		late := !it.due.IsZero() && !it.due.After(now)
		switch {
		case it.working || r.busy >= atOnce:
		case it.look || it.again || late:
			j := job{app: it.app, gone: it.lost || it.app.Deleting || it.ended == it.app.UID, again: it.again || late}
			it.look, it.again, it.due, it.working = false, false, time.Time{}, true
			r.busy++
			work.Go(func() { r.turn(ctx, it, j) })
		case !it.due.IsZero():
			next = firstOf(next, it.due)
		}
	}
	r.told = r.told || told
	return next, done
}

// turn works on an item once.
func (r *Runner) turn(ctx context.Context, it *item, j job) {
	out := r.settle(ctx, it, j)
	r.mu.Lock()
	defer r.mu.Unlock()
	it.working, it.told = false, it.told || j.gone || it.read != 0
	r.busy--
	now := r.cfg.Clock.Now()
	switch {
	case out.failed:
		it.due = now.Add(min(mostPause, firstPause<<min(it.tries, 8)))
		it.tries++
	case j.again:
		it.tries = 0
	}
	if !out.look.IsZero() {
		it.due = firstOf(it.due, out.look)
	}
	if out.known {
		it.settled = true
	}
	if it.lost && len(it.placed) == 0 && len(it.ending) == 0 {
		delete(r.items, it.key)
		r.cfg.Gone(it.key)
	}
	r.nudge()
}

// sweep removes what no app wants; it reports whether that is done.
func (r *Runner) sweep(ctx context.Context) bool {
	e, err := r.Engine()
	if err != nil {
		return false
	}
	removed, err := e.Sweep(ctx, r.keeps)
	for _, o := range removed {
		if o.Container != "" {
			r.cfg.Log.Info("a container that no app wants was removed", "app", o.Revision.App, "revision", o.Revision.Revision, "container", o.Container)
		}
	}
	if err != nil {
		r.cfg.Log.Warn("what is left of before could not be removed from the container engine; it is tried again", "reason", err)
		return false
	}
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return true
}

// keeps tells that a revision is wanted, even if it could not be placed.
func (r *Runner) keeps(ref engine.Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.items[ref.Key().App]
	return it != nil && it.wanted[ref.Key()]
}

// removePatience is how long a deletion waits for what runs of an app to end; after
// that it ends beside.
const removePatience = 15 * time.Second

// Remove ends everything of a life of an app, as when it is deleted, and keeps it from
// coming back. What takes long to end, or is on an engine that is away, ends after
// Remove has returned.
func (r *Runner) Remove(ctx context.Context, a containerapp.App) error {
	r.mu.Lock()
	it := r.items[Ref(a, "").App]
	if it == nil {
		r.mu.Unlock()
		return nil
	}
	it.ended = a.UID
	it.stir(true)
	r.mu.Unlock()
	r.nudge()
	limit := time.Now().Add(removePatience)
	for time.Now().Before(limit) {
		r.mu.Lock()
		over := !it.working && !it.again && len(it.placed) == 0 && len(it.ending) == 0
		r.mu.Unlock()
		if over {
			return nil
		}
		if err := clock.Sleep(ctx, clock.Real{}, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// end removes revisions that are placed and not wanted, each beside.
func (r *Runner) end(ctx context.Context, it *item, wanted map[engine.Ref]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it.wanted = wanted
	for ref := range it.placed {
		if wanted[ref] {
			continue
		}
		life := it.spec[ref].life
		delete(it.placed, ref)
		delete(it.spec, ref)
		if it.ending[ref] == nil { // else it was wanted for a moment
			it.ending[ref] = &departure{life: life}
			r.removals.Go(func() { r.remove(ctx, it, ref) })
		}
	}
}

// remove ends a revision, however often that takes, unless it is wanted again before.
func (r *Runner) remove(ctx context.Context, it *item, ref engine.Ref) {
	if r.cfg.Drain != nil {
		r.cfg.Drain(ctx, ref)
	}
	for wait := firstPause; ctx.Err() == nil && r.departs(it, ref); wait = min(2*wait, mostPause) {
		e, err := r.Engine()
		if err == nil {
			err = e.Remove(ctx, ref)
		}
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			r.cfg.Log.Warn("a revision could not be ended; it is tried again", "app", ref.App, "revision", ref.Revision, "reason", err)
		}
		r.pauses(it, ref)
		_ = clock.Sleep(ctx, r.cfg.Clock, wait)
	}
	r.mu.Lock()
	delete(it.ending, ref)
	it.stir(true)
	r.mu.Unlock()
	r.nudge()
}

// departs begins the removal of a revision, unless the same life of its app wants it
// again: it then is as if it had never ended.
func (r *Runner) departs(it *item, ref engine.Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := it.ending[ref]
	if d.removing = !it.wanted[ref] || it.app.UID != d.life; d.removing {
		return true
	}
	if it.placed[ref].IsZero() {
		it.placed[ref] = r.cfg.Clock.Now()
	}
	return false
}

// pauses says that a removal that failed waits for its next attempt.
func (r *Runner) pauses(it *item, ref engine.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it.ending[ref].removing = false
	it.stir(false)
	r.nudge()
}

// leaves tells that a revision cannot be placed before what is left of it is gone.
func (r *Runner) leaves(it *item, ref engine.Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := it.ending[ref]
	return d != nil && (d.removing || d.life != it.view.App.UID)
}
