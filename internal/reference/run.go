package reference

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	leaseTTL  = 15 * time.Second
	leaseWait = time.Second // before asking again for a lease that could not be had
	// sites is the prefix of the documents of apps, without those of their sections.
	sites = "subscriptions/"
)

// Run keeps references resolved until ctx ends, which is the only reason for it to
// return. Of several nodes that run, the one with the lease refreshes.
func (r *Resolver) Run(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		lease, err := r.store.Acquire(ctx, r.cfg.Lease, leaseTTL)
		if err != nil {
			if ctx.Err() == nil && !told {
				told = true
				r.cfg.Log.Error("references are not refreshed by this node", "reason", err, "next", problem.NextOf(err))
			}
			_ = clock.Sleep(ctx, r.cfg.Clock, leaseWait)
			continue
		}
		told = false
		held, cancel := state.Held(ctx, lease)
		r.lead(held)
		cancel()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			r.cfg.Log.Warn("the lease for refreshing references was not given back; it ends by itself", "reason", err)
		}
	}
}

// lead refreshes until the lease ends.
func (r *Resolver) lead(ctx context.Context) {
	s := newSchedule(ctx, r)
	r.setSchedule(s)
	s.work.Go(func() {
		state.Follow(ctx, r.store, inventory.TypePrefix(r.cfg.Type)+sites, r.cfg.Clock, &follower{s: s, apps: map[state.Key]string{}})
	})
	for s.pause() {
	}
	r.setSchedule(nil)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.work.Wait()
}

// pause starts what is due and waits for what comes next; false when it is over.
func (s *schedule) pause() bool {
	next := s.due()
	var fires <-chan time.Time
	if !next.IsZero() {
		timer := s.r.cfg.Clock.NewTimer(next.Sub(s.r.now()))
		defer timer.Stop()
		fires = timer.C()
	}
	select {
	case <-s.ctx.Done():
		return false
	case <-s.wake:
	case <-fires:
	}
	return true
}

func (r *Resolver) setSchedule(s *schedule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.schedule = s
}

// leading gives the schedule of the node that refreshes; nil on others.
func (r *Resolver) leading() *schedule {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule
}

// Changed says that a secret of a vault may have changed: the apps that refer to
// it fetch it again at once. secret is "" for all of the vault's. It does nothing
// on nodes that do not refresh.
func (r *Resolver) Changed(vault, secret string) {
	if s := r.leading(); s != nil {
		s.changed(vault, secret)
	}
}

// Retry fetches references again at once that failed for want of a permission, an
// identity or a vault: call it when such changed. It does nothing on nodes that do
// not refresh.
func (r *Resolver) Retry() {
	if s := r.leading(); s != nil {
		s.retry()
	}
}

// Poke fetches all references again: call it when changes may have been missed.
// It does nothing on nodes that do not refresh.
func (r *Resolver) Poke() {
	if s := r.leading(); s != nil {
		s.each(demand{all: true})
	}
}

// tend works on an app until nothing is to be done for it.
func (s *schedule) tend(e *entry) {
	for {
		want, touch, more := s.take(e)
		if !more {
			return
		}
		err := s.r.tend(s.ctx, e, want, touch)
		if errors.Is(err, problem.NotFound) {
			s.remove(e.uid)
			err = nil
		}
		s.done(e, want, err)
	}
}

// take gives what is to be done for an app; when there is nothing, others may
// start it again.
func (s *schedule) take(e *entry) (want demand, touch, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.r.now()
	if s.ctx.Err() != nil || !e.asked && !s.r.isDue(e.next(), now) {
		e.running = false
		s.signal()
		return demand{}, false, false
	}
	want, e.want, e.asked, e.retryAt = e.want, demand{}, false, time.Time{}
	for key, t := range e.timings {
		if !t.due.IsZero() && !t.due.After(now.Add(together)) || s.r.isDue(t.due, now) {
			want.add(demand{keys: map[string]bool{key: true}})
		}
	}
	return want, s.r.isDue(e.touchAt, now), true
}

// done has what failed tried again later.
func (s *schedule) done(e *entry, want demand, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		e.tries = 0
		return
	}
	if s.ctx.Err() != nil {
		return
	}
	e.want.add(want)
	e.retryAt = s.r.now().Add(s.r.cfg.Backoff.wait(e.tries))
	e.tries++
	s.r.cfg.Log.Error("references of an app cannot be seen to now", "app", e.id.Name(), "reason", err, "next", problem.NextOf(err))
}

// tend does a pass over an app's references, and then makes its copies start anew
// if that is due.
func (r *Resolver) tend(ctx context.Context, e *entry, want demand, touch bool) error {
	g, leave, err := r.enter(ctx, e.uid)
	defer leave()
	if err != nil {
		return err
	}
	a, err := r.snapshot(ctx, e)
	if err != nil {
		return err
	}
	p := &pass{r: r, gate: g, lane: r.behind, app: a}
	d, err := p.run(ctx, ctx, want)
	if err != nil || !touch {
		return err
	}
	if err := r.touch(ctx, a.App, d); err != nil {
		return err
	}
	if s := r.leading(); s != nil {
		s.touched(e)
	}
	return nil
}

func (r *Resolver) snapshot(ctx context.Context, e *entry) (app.Snapshot, error) {
	r.loading <- struct{}{}
	defer func() { <-r.loading }()
	a, err := r.cfg.Apps.Snapshot(ctx, e.id)
	if err == nil && a.UID != e.uid {
		err = errAppGone
	}
	return a, err
}

func (s *schedule) touched(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.touchAt = time.Time{}
}

// touch makes copies of an app start anew that may have older values than these.
func (r *Resolver) touch(ctx context.Context, a app.App, d document) error {
	if !d.Touch || !a.Wanted() {
		return nil
	}
	_, err := r.cfg.Touch(ctx, a)
	if err != nil && !errors.Is(err, problem.NotFound) {
		return problem.Wrap(problem.KindOf(err), "copies of the app keep an older value of a secret for now", err)
	}
	r.counts.touched()
	r.cfg.Log.Info("a secret changed: copies of the app start anew", "app", a.Name)
	return nil
}

// follower keeps the schedule up with the apps.
type follower struct {
	s     *schedule
	apps  map[state.Key]string // UIDs by documents
	later bool                 // it was reset before
	cut   bool                 // the state cannot be read
}

// Reset implements state.Follower. The first one is for a node that begins to
// refresh: it cannot know what changed before.
func (f *follower) Reset(documents []state.Document) {
	gone := f.apps
	f.apps = make(map[state.Key]string, len(documents))
	for _, doc := range documents {
		f.put(doc, gone[doc.Key], demand{all: !f.later})
		delete(gone, doc.Key)
	}
	for _, uid := range gone {
		f.s.remove(uid)
	}
	f.later, f.cut = true, false
}

// Apply implements state.Follower.
func (f *follower) Apply(e state.Event) {
	if e.Kind == state.EventDelete {
		f.s.remove(f.apps[e.Key])
		delete(f.apps, e.Key)
		return
	}
	f.put(e.Document, f.apps[e.Key], demand{})
}

// Cut implements state.Follower.
func (f *follower) Cut(err error) {
	if f.cut {
		return
	}
	f.cut = true
	f.s.r.cfg.Log.Error("changes of apps are not seen; their references stay as they are", "reason", err, "next", problem.NextOf(err))
}

// put takes an app; was is the UID its document had.
func (f *follower) put(doc state.Document, was string, want demand) {
	res, err := inventory.Decode(doc)
	var a app.App
	if err == nil {
		a, err = f.s.r.cfg.Decode(res)
	}
	if err != nil {
		f.s.r.cfg.Log.Error("an app's document cannot be understood; its references stay as they are", "document", string(doc.Key), "reason", err)
		f.apps[doc.Key] = was
		return
	}
	if was != "" && (was != a.UID || a.Deleting) {
		f.s.remove(was)
	}
	delete(f.apps, doc.Key)
	if !a.Deleting {
		f.apps[doc.Key] = a.UID
		f.s.ask(a.UID, a.ID, want)
	}
}
