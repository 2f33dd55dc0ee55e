package scale

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale/decide"
	"github.com/latchkey/latchkey/internal/scale/rules"
)

// byEngine is the reason where the Scaler does nothing.
const byEngine = "the engine scales it by its rules"

const (
	sampling   = time.Second      // between looks at what is in flight
	again      = 30 * time.Second // between calls of Scale that change nothing
	firstRetry = time.Second      // after a call of Scale that failed, doubling
)

// revision is one that is scaled. Two goroutines work for it: follow decides and
// calls the engine, watch reads sources that may take their time.
type revision struct {
	s    *Scaler
	kick chan struct{} // something is to be done before the next tick

	mu      sync.Mutex
	is      Revision
	rules   []rules.Rule
	state   *decide.State
	load    looks
	read    map[string]reading // by name of the rule
	due     time.Time          // of the next decision
	seen    []Rule             // what the last decision saw
	applied int                // what the engine was told last; -1: nothing
	retry   time.Time          // when it is told again
	pause   time.Duration      // after the next failure
	failure string             // of the last call
	hand    handover
	change  int                // counts changes of the rules
	cancel  context.CancelFunc // ends the goroutines; nil: there are none
}

// newRevision makes a revision with its first number of replicas.
func newRevision(s *Scaler, is Revision, list []rules.Rule) *revision {
	now := s.cfg.Clock.Now()
	r := &revision{s: s, kick: make(chan struct{}, 1), is: is, rules: list, read: map[string]reading{}, due: now, applied: -1, pause: firstRetry}
	start := is.Replicas
	if start < 0 {
		start = 1
	}
	if !is.Ready {
		start = 0
	}
	r.state = decide.New(limits(is.Template, list), start, is.Ready, now)
	return r
}

// limits gives the limits of a template that may lack some.
func limits(t containerapp.Template, list []rules.Rule) decide.Limits {
	l := decide.Limits{Max: 10, Cooldown: 300 * time.Second}
	if s := t.Scale; s != nil {
		set(&l.Min, s.MinReplicas)
		set(&l.Max, s.MaxReplicas)
		if s.CooldownPeriod != nil {
			l.Cooldown = time.Duration(*s.CooldownPeriod) * time.Second
		}
	}
	for _, r := range list {
		l.NeverZero = l.NeverZero || r.Resource()
	}
	return l
}

func set(to, from *int) {
	if from != nil {
		*to = *from
	}
}

// polling gives the time between readings of a rule.
func polling(t containerapp.Template, r rules.Rule) time.Duration {
	switch {
	case r.Kind != rules.Queue:
		return decide.Interval
	case t.Scale == nil || t.Scale.PollingInterval == nil || *t.Scale.PollingInterval < 1:
		return 30 * time.Second
	}
	return time.Duration(*t.Scale.PollingInterval) * time.Second
}

// update takes over what Set says anew.
func (r *revision) update(is Revision, list []rules.Rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if is.Ready && !r.is.Ready {
		r.state.Ready(r.s.cfg.Clock.Now())
		r.anew()
	}
	if !reflect.DeepEqual(r.is.Template, is.Template) || !reflect.DeepEqual(r.is.Ingress, is.Ingress) {
		r.rules, r.read, r.hand = list, map[string]reading{}, handover{}
		r.change++
		r.state.Limit(limits(is.Template, list))
		r.due = r.s.cfg.Clock.Now()
		r.wake()
	}
	is.Ready = is.Ready || r.is.Ready
	r.is = is
}

// anew has the engine told at once after a failure from before the revision was
// there, which says nothing any more. Callers hold mu.
func (r *revision) anew() {
	if r.failure != "" {
		r.failure, r.pause, r.retry = "", firstRetry, r.s.cfg.Clock.Now()
		r.wake()
	}
}

// wake has follow look at once; it never blocks.
func (r *revision) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *revision) stop(cancel context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel = cancel
}

func (r *revision) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
}

func (r *revision) activate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Wake(r.s.cfg.Clock.Now()) {
		r.wake()
	}
}

func (r *revision) desired() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Replicas()
}

// follow decides at every interval and has the engine follow, until ctx ends.
func (r *revision) follow(ctx context.Context) {
	for ctx.Err() == nil {
		wait, handed := r.handOver(ctx)
		if !handed {
			wait = r.step(ctx)
		}
		r.rest(ctx, wait)
	}
}

// rest waits for a time, or for news.
func (r *revision) rest(ctx context.Context, d time.Duration) {
	t := r.s.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
	case <-r.kick:
	case <-ctx.Done():
	}
}

// step does what is due and gives the time until something else is.
func (r *revision) step(ctx context.Context) time.Duration {
	now := r.s.cfg.Clock.Now()
	measured := r.sample(now)
	r.mu.Lock()
	if !now.Before(r.due) {
		r.decide(now)
		r.due = now.Add(decide.Interval)
	}
	n, tell := r.state.Replicas(), r.state.Replicas() != r.applied || !now.Before(r.retry)
	r.mu.Unlock()
	if tell {
		r.apply(ctx, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.s.cfg.Clock.Now()
	wait := min(r.due.Sub(now), r.retry.Sub(now))
	if measured {
		wait = min(wait, sampling)
	}
	return max(wait, time.Millisecond)
}

// apply has the engine follow.
func (r *revision) apply(ctx context.Context, n int) {
	r.mu.Lock()
	ref, had, why := r.is.Ref, r.applied, r.state.Why()
	r.mu.Unlock()
	err := r.s.cfg.Scale(ctx, ref, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.s.cfg.Clock.Now()
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		r.failure = plain(err)
		if r.pause == 4*firstRetry { // not what passes, such as a revision that is being placed
			r.s.cfg.Log.Warn("a revision could not be scaled", "revision", ref.String(), "replicas", n, "error", r.failure)
		}
		r.applied, r.retry = n, now.Add(r.pause)
		r.pause = min(2*r.pause, again)
		return
	case n != had:
		r.s.cfg.Log.Info("a revision was scaled", "revision", ref.String(), "replicas", n, "why", string(why))
	}
	r.applied, r.failure, r.pause, r.retry = n, "", firstRetry, now.Add(again)
}

// plain gives an error's text with what to do.
func plain(err error) string {
	if next := problem.NextOf(err); next != "" {
		return err.Error() + ": " + next
	}
	return err.Error()
}

// counts reports whether a rule is about what is in flight and can be measured.
func (r *revision) counts() bool {
	for _, rule := range r.rules {
		if (rule.Kind == rules.HTTP || rule.Kind == rules.TCP) && rule.Fault == "" {
			return r.s.cfg.Sources.Load != nil
		}
	}
	return false
}

// sample looks at what is in flight, if a rule is about it. No lock is held, so
// that who counts may call the Scaler with its own locks held.
func (r *revision) sample(now time.Time) bool {
	r.mu.Lock()
	ref, wanted := r.is.Ref, r.counts()
	r.mu.Unlock()
	if !wanted {
		return false
	}
	load := r.s.cfg.Sources.Load(ref)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load.add(now, load)
	return true
}

// decide asks all rules; the caller holds mu.
func (r *revision) decide(now time.Time) {
	votes := make([]decide.Vote, 0, len(r.rules))
	r.seen = r.seen[:0]
	for _, rule := range r.rules {
		vote, says := r.ask(rule, now)
		votes, r.seen = append(votes, vote), append(r.seen, says)
	}
	r.state.Decide(now, votes)
}

// ask gives the vote of one rule and what is to be said about it.
func (r *revision) ask(rule rules.Rule, now time.Time) (decide.Vote, Rule) {
	says := Rule{Name: rule.Name, Type: rule.Type, Target: rule.Target, Unit: rule.Unit}
	vote := decide.Vote{}
	switch {
	case rule.Fault != "":
		vote = decide.Vote{Replicas: 1, Active: true}
		says.Error = r.unfollowed(rule)
	case rule.Kind == rules.Cron:
		says.Read = now
		if rule.Window.Open(now) {
			says.Value, vote = rule.Target, decide.Total(rule.Target, 1, 0)
		}
	case rule.Remote():
		vote = r.remote(rule, &says)
	case r.s.cfg.Sources.Load == nil:
		vote, says.Error = decide.Vote{Unread: true}, "requests are not counted here"
	default:
		says.Read, says.Value = now, r.load.mean(now)
		if rule.Kind == rules.HTTP {
			says.Value = max(says.Value, r.load.rate())
		}
		vote = decide.Total(says.Value, rule.Target, rule.Activation)
	}
	says.Replicas, says.Active = vote.Replicas, vote.Active
	return vote, says
}

func (r *revision) unfollowed(rule rules.Rule) string {
	if rule.Kind == rules.Unsupported && r.hand.why != "" {
		return fmt.Sprintf("rule %q of type %q is not followed: %s", rule.Name, rule.Type, r.hand.why)
	}
	if rule.Kind == rules.Unsupported {
		return fmt.Sprintf("rule %q of type %q is not supported by the %s engine; supported: %s; on kubernetes KEDA runs it",
			rule.Name, rule.Type, r.s.cfg.Engine, rules.Supported)
	}
	return fmt.Sprintf("rule %q of type %q cannot be followed: %s", rule.Name, rule.Type, rule.Fault)
}

// remote gives the vote of the last reading, with what went wrong since.
func (r *revision) remote(rule rules.Rule, says *Rule) decide.Vote {
	got, there := r.read[rule.Name]
	says.Value, says.Read, says.Error = got.value, got.at, got.fault
	switch {
	case !there:
		says.Error = "it was not read yet"
		return decide.Vote{Unread: true}
	case got.fault != "":
		return decide.Vote{Unread: true}
	case rule.Resource():
		return decide.Each(got.used, rule.Target, r.state.Replicas())
	}
	return decide.Total(got.value, rule.Target, rule.Activation)
}

func (r *revision) explain() Explanation {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := limits(r.is.Template, r.rules)
	e := Explanation{Revision: r.is.Ref, Desired: r.state.Replicas(), Min: l.Min, Max: l.Max, Reason: string(r.state.Why()), Active: r.state.Active(), Error: r.failure}
	if r.hand.done {
		e.Reason, e.Error = byEngine, r.hand.why
	}
	now := r.s.cfg.Clock.Now()
	for _, rule := range r.rules {
		_, says := r.ask(rule, now)
		if r.hand.done {
			says = Rule{Name: rule.Name, Type: rule.Type, Target: rule.Target, Unit: rule.Unit}
		}
		e.Rules = append(e.Rules, says)
	}
	return e
}

// watch reads the rules that ask somebody else, until ctx ends.
func (r *revision) watch(ctx context.Context) {
	next := map[string]time.Time{}
	for ctx.Err() == nil {
		r.mu.Lock()
		list, is := r.rules, r.is
		if r.hand.done {
			list = nil // the engine reads them
		}
		r.mu.Unlock()
		now := r.s.cfg.Clock.Now()
		wait := time.Duration(0)
		for _, rule := range list {
			if !rule.Remote() || rule.Fault != "" {
				continue
			}
			if !now.Before(next[rule.Name]) {
				r.reading(ctx, is, rule)
				now = r.s.cfg.Clock.Now()
				next[rule.Name] = now.Add(polling(is.Template, rule))
			}
			if left := next[rule.Name].Sub(now); wait == 0 || left < wait {
				wait = left
			}
		}
		if wait == 0 {
			wait = again // the rules may become others
		}
		_ = clock.Sleep(ctx, r.s.cfg.Clock, max(wait, time.Millisecond))
	}
}
