package supervise

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
)

const keptEvents = 50

// revision keeps the replicas of one revision as they are wanted.
type revision struct {
	e    *Engine
	ref  engine.Ref
	ctx  context.Context // ends with the wish for it
	end  context.CancelFunc
	done chan struct{} // closed when nothing of it is left, or the engine closed
	wake chan struct{} // something changed
	work sync.WaitGroup

	mu       sync.Mutex
	spec     engine.Spec
	digest   string
	known    bool // what runs already has been found out
	unknown  error
	replicas []*replica // oldest first
	events   []engine.Event
}

func newRevision(e *Engine, spec engine.Spec) *revision {
	r := &revision{e: e, ref: spec.Ref, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	r.ctx, r.end = context.WithCancel(e.ctx)
	r.want(spec)
	return r
}

func (r *revision) removing() bool { return r.ctx.Err() != nil }

func (r *revision) want(spec engine.Spec) {
	r.mu.Lock()
	r.spec, r.digest = spec, spec.Digest()
	r.mu.Unlock()
	r.nudge()
}

func (r *revision) scale(n int) {
	r.mu.Lock()
	r.spec.Replicas = n
	r.mu.Unlock()
	r.nudge()
}

// nudge wakes the keeper and tells the world that the status changed.
func (r *revision) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
	if r.e.cfg.Changed != nil {
		r.e.cfg.Changed(r.ref)
	}
}

// keep makes what is there what is wanted, until the wish or the engine ends.
func (r *revision) keep() {
	defer close(r.done)
	defer r.e.forget(r.ref)
	r.adoptAll()
	for r.ctx.Err() == nil {
		r.balance()
		select {
		case <-r.wake:
		case <-r.ctx.Done():
		}
	}
	r.work.Wait()
}

// adoptAll finds out what runs already; it goes on trying while the engine is away.
func (r *revision) adoptAll() {
	for n := 0; ; n++ {
		found, err := r.e.rt.List(r.ctx)
		if err == nil {
			r.adopt(found)
			return
		}
		r.mu.Lock()
		r.unknown = err
		r.mu.Unlock()
		r.nudge()
		if clock.Sleep(r.ctx, r.e.cfg.Clock, pause(n)) != nil {
			return
		}
	}
}

func (r *revision) adopt(found []Found) {
	byReplica := map[string][]Found{}
	for _, f := range found {
		if f.Revision.Key() == r.ref && f.Replica != "" {
			byReplica[f.Replica] = append(byReplica[f.Replica], f)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.unknown = true, nil
	for name, parts := range byReplica {
		r.begin(name, parts)
	}
	slices.SortFunc(r.replicas, func(a, b *replica) int { return a.created.Compare(b.created) })
}

// begin starts the goroutine of a replica; mu is held.
func (r *revision) begin(name string, parts []Found) {
	p := newReplica(r, name, parts)
	r.replicas = append(r.replicas, p)
	r.work.Go(p.run)
}

// balance starts what is missing and ends what is too much.
func (r *revision) balance() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removing() {
		return
	}
	var current, old []*replica
	ready := 0
	for _, p := range r.replicas {
		switch {
		case p.leaving():
		case p.digest != r.digest && p.failing():
			p.end() // it serves nobody and is not wanted
		case p.digest != r.digest:
			old = append(old, p)
		default:
			if current = append(current, p); p.ready() {
				ready++
			}
		}
	}
	for n := len(current); n < r.spec.Replicas; n++ {
		r.begin(r.newName(), nil)
	}
	r.trim(current, r.spec.Replicas)
	r.trim(old, max(0, r.spec.Replicas-ready))
}

// trim ends replicas until n are left: not ready ones first, then the youngest.
func (r *revision) trim(ps []*replica, n int) {
	if len(ps) <= n {
		return
	}
	ready := map[*replica]bool{}
	for _, p := range ps {
		ready[p] = p.ready()
	}
	rank := map[bool]int{true: 1}
	slices.SortStableFunc(ps, func(a, b *replica) int {
		if c := cmp.Compare(rank[ready[a]], rank[ready[b]]); c != 0 {
			return c
		}
		return b.created.Compare(a.created)
	})
	for _, p := range ps[:len(ps)-n] {
		p.end()
	}
}

func (r *revision) newName() string {
	return strings.TrimRight(r.ref.Revision[:min(len(r.ref.Revision), 40)], "-") + "-" + strings.ToLower(rand.Text()[:10])
}

// gone takes a replica out of the list.
func (r *revision) gone(p *replica) {
	r.mu.Lock()
	r.replicas = slices.DeleteFunc(r.replicas, func(q *replica) bool { return p == q })
	r.mu.Unlock()
	r.nudge()
}

func (r *revision) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.known || slices.ContainsFunc(r.replicas, func(p *replica) bool { return p.name == name })
}

// event writes down what happened.
func (r *revision) event(replica, container string, reason engine.Reason, message string) {
	ev := engine.Event{At: r.e.cfg.Clock.Now(), Replica: replica, Container: container, Reason: reason, Message: message}
	r.mu.Lock()
	if len(r.events) == keptEvents {
		r.events = slices.Delete(r.events, 0, 1)
	}
	r.events = append(r.events, ev)
	r.mu.Unlock()
	if r.e.cfg.Log != nil {
		r.e.cfg.Log.Debug("container event", "app", r.ref.App, "revision", r.ref.Revision, "replica", replica, "container", container, "reason", string(reason), "detail", message)
	}
	r.nudge()
}

func (r *revision) status() engine.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := engine.Status{Ref: r.ref, Desired: r.spec.Replicas, Events: slices.Clone(r.events)}
	if r.unknown != nil {
		s.Reason, s.Message = engine.ReasonOf(r.unknown), r.unknown.Error()
	}
	for _, p := range r.replicas {
		one := p.status()
		one.Current = p.digest == r.digest
		s.Replicas = append(s.Replicas, one)
		if one.Current && one.Ready {
			s.Ready++
		}
		if one.Current && !one.Ready && one.Reason != "" && s.Reason == "" {
			s.Reason, s.Message = one.Reason, one.Message
		}
	}
	return s
}

// container finds the one that is meant, running ones first.
func (r *revision) container(of, name string) (id string, running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.replicas {
		if of != "" && of != p.name {
			continue
		}
		found, runs := p.container(cmp.Or(name, r.spec.Main[0].Name))
		if id == "" || runs && !running {
			id, running = cmp.Or(found, id), runs
		}
	}
	return id, running
}

// pause gives how long to wait after n failures in a row: half a second, doubled
// each time up to five minutes.
func pause(n int) time.Duration {
	return min(5*time.Minute, 500*time.Millisecond<<min(n, 12))
}

// steady is how long a container must run for its failures to be forgotten.
const steady = 10 * time.Minute
