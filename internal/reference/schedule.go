package reference

import (
	"context"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/resource"
)

const (
	// together is how close attempts may be that are made at once.
	together = time.Second
	// beforeExpiry is how long before a secret expires it is read again, and then
	// again when it expires: by then there should be another one.
	beforeExpiry = time.Minute
)

// schedule is what the node that refreshes knows: every app, which secrets it
// refers to and when what is due.
type schedule struct {
	r    *Resolver
	ctx  context.Context // of the lease
	work sync.WaitGroup
	wake chan struct{}

	mu    sync.Mutex
	ended bool
	apps  map[string]*entry              // by UID
	index map[string]map[*entry]struct{} // who refers to a secret, by secretKey
}

// entry is one app. Its fields are guarded by schedule.mu but for the ids, which
// stay the same.
type entry struct {
	id      resource.ID
	uid     string
	want    demand
	asked   bool                // want is to be seen to, even when it is empty
	running bool                // a goroutine works on it
	timings map[string]timing   // by recordKey
	secrets map[string]struct{} // secretKeys it is indexed under
	at      time.Time           // when the next reference is due; zero for never
	touchAt time.Time           // when copies are made to start anew; zero for never
	retryAt time.Time           // when what could not be worked on is tried again; zero for never
	tries   int                 // that failed in a row
}

// timing is when a reference was and will be fetched.
type timing struct {
	text     string
	last     time.Time // zero for not yet
	failures int       // in a row
	due      time.Time // zero for never
}

func newSchedule(ctx context.Context, r *Resolver) *schedule {
	return &schedule{r: r, ctx: ctx, wake: make(chan struct{}, 1), apps: map[string]*entry{}, index: map[string]map[*entry]struct{}{}}
}

// size gives the number of apps with references.
func (s *schedule) size() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.apps {
		if len(e.timings) > 0 {
			n++
		}
	}
	return n
}

// ask has an app seen to.
func (s *schedule) ask(uid string, id resource.ID, want demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.apps[uid]
	if e == nil {
		e = &entry{id: id, uid: uid, timings: map[string]timing{}}
		s.apps[uid] = e
	}
	s.start(e, want)
}

// start joins what is wanted of an app and works on it, now or after what is being
// done.
func (s *schedule) start(e *entry, want demand) {
	e.want.add(want)
	e.asked = true
	if e.running || s.ended {
		return
	}
	e.running = true
	s.work.Go(func() { s.tend(e) })
}

// each has all apps seen to.
func (s *schedule) each(want demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.apps {
		s.start(e, want)
	}
}

// retry has the apps seen to that have references that failed.
func (s *schedule) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.apps {
		for _, t := range e.timings {
			if t.failures > 0 {
				s.start(e, demand{refused: true})
				break
			}
		}
	}
}

// changed has the apps seen to that refer to a secret, or to any of a vault.
func (s *schedule) changed(vault, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != "" {
		key := secretKey(vault, secret)
		for e := range s.index[key] {
			s.start(e, demand{secrets: map[string]bool{key: true}})
		}
		return
	}
	prefix := secretKey(vault, "")
	for key, entries := range s.index {
		for e := range entries {
			if strings.HasPrefix(key, prefix) {
				s.start(e, demand{vaults: map[string]bool{strings.ToLower(vault): true}})
			}
		}
	}
}

// remove forgets an app.
func (s *schedule) remove(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.apps[uid]; e != nil {
		s.reindex(e, nil)
		delete(s.apps, uid)
	}
}

// reindex notes which secrets an app refers to.
func (s *schedule) reindex(e *entry, secrets map[string]struct{}) {
	for key := range e.secrets {
		delete(s.index[key], e)
		if len(s.index[key]) == 0 {
			delete(s.index, key)
		}
	}
	for key := range secrets {
		if s.index[key] == nil {
			s.index[key] = map[*entry]struct{}{}
		}
		s.index[key][e] = struct{}{}
	}
	e.secrets = secrets
}

// expect has changes of the secrets of targets told from now on, before they are
// fetched: a change that comes while others still are would be missed otherwise.
func (r *Resolver) expect(uid string, targets []target) {
	s := r.leading()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.apps[uid]
	if e == nil {
		return
	}
	secrets := make(map[string]struct{}, len(e.secrets)+len(targets))
	maps.Copy(secrets, e.secrets)
	for _, t := range targets {
		if t.fault == nil {
			secrets[t.secret()] = struct{}{}
		}
	}
	if len(secrets) > len(e.secrets) {
		s.reindex(e, secrets)
	}
}

// learned takes what a pass found out, whoever made it.
func (r *Resolver) learned(p *pass, d document) {
	if s := r.leading(); s != nil {
		s.learned(p, d)
	}
}

func (s *schedule) learned(p *pass, d document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.apps[p.app.UID]
	if e == nil {
		return
	}
	now, timings, secrets := s.r.now(), map[string]timing{}, map[string]struct{}{}
	for _, t := range p.targets {
		if t.fault == nil {
			_, attempted := p.outcomes[t.key]
			timings[t.key] = s.next(e.timings[t.key], t, d.Records[t.key], attempted, now)
			secrets[t.secret()] = struct{}{}
		}
	}
	e.timings, e.at = timings, time.Time{}
	for _, t := range timings {
		e.at = earlier(e.at, t.due)
	}
	s.reindex(e, secrets)
	if d.Touch && p.app.Wanted() && e.touchAt.IsZero() {
		e.touchAt = now.Add(s.r.cfg.Settle)
	}
	s.signal()
}

// next gives when a reference is due after a pass.
func (s *schedule) next(was timing, t target, rec record, attempted bool, now time.Time) timing {
	known := was.text == t.ref.Text
	switch {
	case known && !attempted:
		return was
	case !known:
		was = timing{text: t.ref.Text}
	}
	if attempted {
		was.last = now
	}
	if rec.Status != Resolved {
		if was.failures > 0 && !s.r.isDue(was.due, now) {
			return was // somebody asked for it before its time, which makes no wait longer
		}
		was.due = now.Add(s.r.cfg.Backoff.wait(was.failures))
		was.failures++
		return was
	}
	was.failures, was.due = 0, time.Time{}
	switch {
	case t.ref.Pinned():
	case !attempted: // another node read it, and it may have changed before this one was told of changes
		was.due = now.Add(s.r.cfg.Backoff.First)
	default:
		was.due = regular(now, s.r.cfg.Interval, rec.Expires)
	}
	return was
}

// regular gives when a secret without a version is read again.
func regular(now time.Time, interval time.Duration, expires time.Time) time.Time {
	due := now.Add(interval - part(interval/5))
	for _, at := range []time.Time{expires.Add(-beforeExpiry), expires} {
		if at.After(now) && at.Before(due) {
			return at
		}
	}
	return due
}

// wait gives the time to the next attempt after some that failed.
func (b Backoff) wait(failures int) time.Duration {
	wait := b.First
	for range failures {
		if wait *= 2; wait >= b.Most {
			break
		}
	}
	wait = min(wait, b.Most)
	return wait - part(wait/2)
}

// part gives a random part of a duration.
func part(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d) + 1)) }

func (s *schedule) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// due starts what is due and gives when the next is; zero for never.
func (s *schedule) due() (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.r.now()
	for _, e := range s.apps {
		if e.running {
			continue // it looks again when it ends
		}
		at := e.next()
		if s.r.isDue(at, now) {
			s.start(e, demand{})
			continue
		}
		next = earlier(next, at)
	}
	return next
}

// isDue reports whether a time has come. One that is further away than anything is
// put off has come too: the clock was set back.
func (r *Resolver) isDue(at, now time.Time) bool {
	longest := max(r.cfg.Interval, r.cfg.Backoff.Most, r.cfg.Settle)
	return !at.IsZero() && (!at.After(now) || at.Sub(now) > longest)
}

// next gives when the app is to be seen to next.
func (e *entry) next() time.Time {
	if !e.retryAt.IsZero() {
		return e.retryAt // nothing works before that
	}
	return earlier(e.touchAt, e.at)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (s *schedule) timing(uid, key string) (timing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.apps[uid]
	if e == nil {
		return timing{}, false
	}
	t, known := e.timings[key]
	return t, known
}
