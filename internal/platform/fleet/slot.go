package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
)

// slot is the place of one app: what is wanted of it and what serves.
type slot struct {
	f     *Fleet
	want  atomic.Pointer[Want]
	now   atomic.Pointer[running] // nil while nothing serves
	next  atomic.Pointer[running] // started, does not serve yet
	gone  atomic.Bool             // the app was deleted
	fault atomic.Pointer[fault]   // why the wanted generation has no copy

	mu      sync.Mutex
	runner  bool
	wake    chan struct{} // of capacity 1
	waiters chan struct{} // closed and replaced whenever now or fault changes

	telling sync.Mutex // held while OnChange is told, so that the last call has the last status
	told    bool       // that the app is gone; guarded by telling
}

type fault struct {
	err   error
	since time.Time
	want  Want // that has no copy
}

// of reports whether the fault is about what is wanted.
func (f *fault) of(w *Want) bool {
	return f != nil && f.want.UID == w.UID && f.want.Generation == w.Generation
}

func newSlot(f *Fleet, w Want) *slot {
	s := &slot{f: f, wake: make(chan struct{}, 1), waiters: make(chan struct{})}
	s.want.Store(&w)
	return s
}

// changed makes the runner look again.
func (s *slot) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.tell()
}

// tell lets those go on who wait for a copy.
func (s *slot) tell() {
	s.mu.Lock()
	close(s.waiters)
	s.waiters = make(chan struct{})
	s.mu.Unlock()
	if s.f.cfg.OnChange == nil {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.told { // there may be another app of the name by now
		return
	}
	st := s.status()
	s.told = st.State == Gone
	s.f.cfg.OnChange(st)
}

func (s *slot) waiting() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiters
}

// demand makes sure that the app has a runner, which ends with the fleet or when
// the app is deleted.
func (s *slot) demand() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runner {
		return
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if !s.f.open {
		return
	}
	s.runner = true
	s.f.work.Add(1)
	go func() {
		defer s.f.work.Done()
		s.run(s.f.ctx)
		s.mu.Lock()
		s.runner = false
		s.mu.Unlock()
	}()
}

// Waits before an app is tried again whose files, settings or keys could not be
// had.
const (
	openFirst = time.Second
	openMost  = time.Minute
)

// run brings what serves in line with what is wanted, again and again.
func (s *slot) run(ctx context.Context) {
	var next *running // started, does not serve yet
	wait := openFirst
	for ctx.Err() == nil && !s.gone.Load() {
		w := s.want.Load()
		switch {
		case w.Stopped || w.Release == "":
			s.retire(ctx, next)
			next = nil
			s.retire(ctx, s.swap(nil))
		case s.now.Load().is(w):
			s.retire(ctx, next) // of a generation that is not wanted any more
			next = nil
		case next.is(w):
		default:
			s.retire(ctx, next)
			next = nil
			replaces := s.now.Load() != nil
			if replaces && !s.turn(ctx) {
				continue
			}
			if next = s.begin(ctx, *w); replaces {
				s.handOn(ctx, next)
			}
			if next == nil {
				s.pause(ctx, wait)
				wait = min(2*wait, openMost)
				continue
			}
			wait = openFirst
			if s.now.Load() == nil { // nobody serves: requests may wait within it
				s.swap(next)
				next = nil
				continue
			}
		}
		if s.next.Swap(next) != next {
			s.tell()
		}
		next = s.await(ctx, next)
	}
	s.retire(ctx, next)
	s.retire(ctx, s.swap(nil))
}

// await waits for a change, or for next to run, which then serves.
func (s *slot) await(ctx context.Context, next *running) *running {
	if next == nil {
		select {
		case <-ctx.Done():
		case <-s.wake:
		}
		return nil
	}
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-next.up:
		s.retire(ctx, s.swap(next))
		return nil
	}
	return next
}

// turn waits until the app may have a copy that takes over: a change of what many
// apps use must not start them all at once. It is false if something else came up.
func (s *slot) turn(ctx context.Context) bool {
	select {
	case s.f.turns <- struct{}{}:
		return true
	case <-s.wake:
	case <-ctx.Done():
	}
	return false
}

// turnMost is how long a copy that does not get to run keeps others waiting.
const turnMost = 5 * time.Second

// handOn gives the turn to the next app when a copy runs, has ended, or takes too
// long.
func (s *slot) handOn(ctx context.Context, c *running) {
	if c == nil {
		<-s.f.turns
		return
	}
	s.f.work.Add(1) // the runner is still counted
	go func() {
		defer s.f.work.Done()
		defer func() { <-s.f.turns }()
		timer := s.f.cfg.Clock.NewTimer(turnMost)
		defer timer.Stop()
		select {
		case <-c.up:
		case <-c.ended:
		case <-timer.C():
		case <-ctx.Done():
		}
	}()
}

func (s *slot) pause(ctx context.Context, d time.Duration) {
	timer := s.f.cfg.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-timer.C():
	}
}

// begin starts a copy; nil when what it needs cannot be had, which is told once.
func (s *slot) begin(ctx context.Context, w Want) *running {
	c, err := start(ctx, s.f, w, s.tell)
	if err == nil {
		if s.fault.Swap(nil) != nil {
			s.tell()
		}
		return c
	}
	if ctx.Err() == nil {
		s.blame(w, err)
	}
	return nil
}

func (s *slot) blame(w Want, err error) {
	before := s.fault.Load()
	s.fault.Store(&fault{err, s.f.cfg.Clock.Now(), w})
	if !before.of(&w) || before.err.Error() != err.Error() {
		s.f.cfg.Log.Error("an app cannot be started", "app", w.Name, "generation", w.Generation, "reason", err, "next", problem.NextOf(err))
	}
	s.tell()
}

// swap makes c serve and gives what served before.
func (s *slot) swap(c *running) *running {
	old := s.now.Swap(c)
	if old != c {
		s.tell()
	}
	return old
}

// retire ends a copy that serves no more, in the background: its requests are
// finished first.
func (s *slot) retire(ctx context.Context, c *running) {
	if c == nil {
		return
	}
	s.f.work.Add(1) // the runner is still counted
	go func() {
		defer s.f.work.Done()
		c.end(ctx, s.f.cfg.Clock)
	}()
}

var errPatience = errors.New("the app did not start in time")

// acquire gives the copy that serves and counts the caller in; the caller leaves
// it. Without one the app is started and waited for, at most for patience.
func (s *slot) acquire(ctx context.Context, patience time.Duration) (*running, error) {
	if c := s.enter(); c != nil {
		return c, nil
	}
	timer := s.f.cfg.Clock.NewTimer(patience)
	defer timer.Stop()
	s.demand()
	for {
		changed := s.waiting()
		if c := s.enter(); c != nil {
			return c, nil
		}
		if f := s.fault.Load(); f.of(s.want.Load()) {
			return nil, f.err
		}
		if w := s.want.Load(); w.Stopped || w.Release == "" || s.gone.Load() {
			return nil, problem.New(problem.Unavailable, "the app is stopped")
		}
		select {
		case <-changed:
		case <-timer.C():
			return nil, problem.Wrap(problem.Unavailable, "the app is not running", errPatience)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *slot) enter() *running {
	for {
		c := s.now.Load()
		if c == nil || c.enter() {
			return c
		}
		if s.now.Load() == c { // being replaced by nothing
			return nil
		}
	}
}

func (s *slot) status() Status {
	w := s.want.Load()
	st := Status{Name: w.Name, State: Idle}
	c := s.now.Load()
	switch {
	case s.gone.Load():
		return Status{Name: w.Name, State: Gone}
	case w.Stopped:
		st.State = Stopped
	case w.Release == "":
		st.State = Empty
	case c != nil:
		is := c.app.Instance().Status()
		st.State, st.Errors, st.Since = string(is.State), is.Errors, is.Since
		st.Generation, st.Release, st.Pending = c.want.Generation, c.want.Release, !c.is(w)
		if next := s.next.Load(); st.Pending && next.is(w) { // why it does not serve
			st.Errors = slices.Concat(next.app.Instance().Status().Errors, st.Errors)
		}
	}
	if f := s.fault.Load(); f.of(w) && !w.Stopped {
		st.Errors = append([]string{f.err.Error()}, st.Errors...)
		if c == nil {
			st.State, st.Since = Failed, f.since
		}
	}
	return st
}

// states are all in which an instance can be.
var states = []instance.State{
	instance.Default, instance.Starting, instance.Initialized, instance.Running,
	instance.Error, instance.Stopping, instance.Stopped, instance.Offline,
}
