package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	keptEvents = 50
	mostRaces  = 5 // lost to others that change a Deployment, before it is left for later
)

// revision keeps the objects of one revision as they are wanted.
type revision struct {
	e    *Engine
	ref  engine.Ref
	base string
	ctx  context.Context // ends with the wish for it
	end  context.CancelFunc
	done chan struct{} // closed when nobody keeps it any more
	wake chan struct{}

	mu      sync.Mutex
	spec    engine.Spec
	auto    *engine.AutoScale
	fault   error
	passes  int               // full ones since the wish changed
	applied map[string]header // what the server made of objects, by kind/name
	events  []engine.Event
}

func newRevision(e *Engine, base string, spec engine.Spec) *revision {
	r := &revision{e: e, ref: spec.Ref, base: base, done: make(chan struct{}), wake: make(chan struct{}, 1), applied: map[string]header{}}
	r.ctx, r.end = context.WithCancel(e.ctx)
	r.want(spec)
	return r
}

func (r *revision) removing() bool { return r.ctx.Err() != nil }

func (r *revision) want(spec engine.Spec) { r.set(func() { r.spec = spec }) }
func (r *revision) scale(n int)           { r.set(func() { r.spec.Replicas = n }) }

func (r *revision) autoscale(by *engine.AutoScale) { r.set(func() { r.auto = by }) }

func (r *revision) set(change func()) {
	r.mu.Lock()
	change()
	r.passes = 0
	r.mu.Unlock()
	r.nudge()
	r.e.changed(r.ref)
}

func (r *revision) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// wish gives what is wanted now.
func (r *revision) wish() (engine.Spec, *engine.AutoScale) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spec, r.auto
}

// keep makes the objects what is wanted until the wish or the engine ends.
func (r *revision) keep() {
	defer close(r.done)
	pause := firstPause
	for r.ctx.Err() == nil {
		err := r.applyAll(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		wait := r.e.cfg.Resync
		if err != nil {
			wait, pause = pause, min(2*pause, longPause)
			r.e.cfg.Log.Warn("a revision cannot be made what it is to be", "app", r.ref.App, "revision", r.ref.Revision, "error", err.Error())
		} else {
			pause = firstPause
		}
		r.note(err)
		timer := r.e.cfg.Clock.NewTimer(wait)
		select {
		case <-r.wake:
		case <-timer.C():
		case <-r.ctx.Done():
		}
		timer.Stop()
	}
}

func (r *revision) note(err error) {
	r.mu.Lock()
	same := (err == nil) == (r.fault == nil)
	if r.fault = err; err == nil {
		r.passes++
	}
	r.mu.Unlock()
	if !same {
		r.e.changed(r.ref)
	}
}

// applyAll applies everything that is wanted and removes what is not any more. A
// credential that cannot be had does not keep the rest from being applied.
func (r *revision) applyAll(ctx context.Context) error {
	s, auto := r.wish()
	owner, err := r.apply(ctx, r.owner())
	if err != nil {
		return err
	}
	want, refused, err := r.objects(ctx, s, auto)
	if err != nil {
		return err
	}
	keep := map[string]bool{key(configMap, r.base): true, key(secret, r.pullName()): refused != nil}
	for _, w := range want {
		if w.kind == deployment {
			err = r.deploy(ctx, r.owned(owner.UID, w), auto != nil)
		} else {
			_, err = r.apply(ctx, r.owned(owner.UID, w))
		}
		if err != nil {
			return err
		}
		keep[key(w.kind, w.name())] = true
	}
	return errors.Join(refused, r.prune(ctx, keep, digest(s)))
}

// objects gives all objects but the owner, in the order in which they are needed.
func (r *revision) objects(ctx context.Context, s engine.Spec, auto *engine.AutoScale) (out []wanted, refused, err error) {
	values, err := r.values(s)
	if err != nil {
		return nil, nil, err
	}
	out = append(out, r.account(), values)
	if r.e.cfg.Identity != nil {
		headers, err := r.headers(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, headers)
	}
	pull, some, refused := r.pulls(ctx, s)
	if some {
		out = append(out, pull)
	}
	if refused != nil { // what there is may still be good, and replicas need not be replaced
		r.mu.Lock()
		_, some = r.applied[key(secret, r.pullName())]
		r.mu.Unlock()
		some = some || r.e.seen.exists(secret, r.pullName())
	}
	if !r.e.cfg.Network.Open {
		out = append(out, r.policy(s)) // before there is anything to protect
	}
	if len(s.AllPorts()) > 0 {
		out = append(out, r.service(s))
	}
	out = append(out, r.budget(), r.deployment(s, s.Replicas, some))
	if auto != nil {
		out = append(out, r.scaling(*auto)...)
	}
	return out, refused, nil
}

func key(k kind, name string) string { return k.plural + "/" + name }

func (r *revision) apply(ctx context.Context, w wanted) (header, error) {
	got, err := r.e.apply(ctx, w.kind, w.object)
	if err != nil {
		return got, r.e.fault(err, "apply "+w.kind.name+" "+w.name())
	}
	r.mu.Lock()
	r.applied[key(w.kind, w.name())] = got
	r.mu.Unlock()
	return got, nil
}

// deploy applies the Deployment. The number of replicas of one that the cluster scales
// is what it is right now, on the condition that it still is: not to say it would make
// it 1 when nobody else has said it.
func (r *revision) deploy(ctx context.Context, w wanted, auto bool) error {
	if !auto {
		_, err := r.apply(ctx, w)
		return err
	}
	for try := 0; ; try++ {
		var now deploy
		err := r.e.get(ctx, deployment, r.base, &now)
		if err != nil && problem.KindOf(err) != problem.NotFound {
			return r.e.fault(err, "get Deployment "+r.base)
		}
		if err == nil {
			w.object["spec"].(fields)["replicas"] = now.Spec.Replicas
			w.object["metadata"].(fields)["resourceVersion"] = now.Metadata.ResourceVersion
		}
		if _, err = r.apply(ctx, w); problem.KindOf(err) != problem.Conflict || try == mostRaces {
			return err
		}
	}
}

// headers gives the secrets by which the identity endpoint knows containers of a spec:
// those that there are, so that running replicas keep theirs.
func (r *revision) headers(ctx context.Context, s engine.Spec) (wanted, error) {
	name := headersName(r.base, digest(s))
	have, err := r.e.doors.headers(ctx, name)
	if err != nil && problem.KindOf(err) != problem.NotFound {
		return wanted{}, err
	}
	data := map[string][]byte{}
	s.Containers(func(_ engine.Role, c engine.Container) {
		if data[c.Name] = []byte(have[c.Name]); have[c.Name] == "" {
			data[c.Name] = []byte(base64.RawURLEncoding.EncodeToString(random()))
		}
	})
	r.e.doors.know(name, data)
	return secretOf(r.meta(name, map[string]string{labelDigest: digest(s)}), "Opaque", data), nil
}

func random() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}

// prune removes what is not wanted any more. Secrets of an older spec stay for as long
// as pods of it may be made.
func (r *revision) prune(ctx context.Context, keep map[string]bool, current string) error {
	d, used := r.e.seen.deployment(r.base), map[string]bool{}
	for _, p := range r.e.seen.podsOf(r.base) {
		used[p.Metadata.Labels[labelDigest]] = true
	}
	var faults []error
	for _, f := range r.e.seen.all(func(h header) bool { return h.Labels[labelRevision] == r.base }) {
		of := f.Labels[labelDigest]
		if keep[key(f.kind, f.Name)] || f.kind == secret && of != "" && of != current && (used[of] || !d.settled()) {
			continue
		}
		r.e.doors.forget(f.Name)
		faults = append(faults, r.e.fault(r.e.remove(ctx, f.kind, f.Name), "delete "+f.kind.name+" "+f.Name))
		r.mu.Lock()
		delete(r.applied, key(f.kind, f.Name))
		r.mu.Unlock()
	}
	return errors.Join(faults...)
}

// drifted wakes the keeper when an object is not what was applied.
func (r *revision) drifted(k kind, h header, gone bool) {
	r.mu.Lock()
	was, ours := r.applied[key(k, h.Name)]
	r.mu.Unlock()
	switch {
	case gone && ours, !gone && !ours:
		r.nudge()
	case h.UID != was.UID && !gone, h.Generation != was.Generation, h.Generation == 0 && h.ResourceVersion != was.ResourceVersion:
		r.nudge()
	case k == deployment:
		if r.e.seen.deployment(r.base).settled() && r.stale() {
			r.nudge() // what the older replicas needed can go
		}
	}
	if k == deployment {
		r.e.changed(r.ref)
	}
}

// stale reports whether there are secrets of older specs.
func (r *revision) stale() bool {
	s, _ := r.wish()
	now := digest(s)
	return len(r.e.seen.all(func(h header) bool {
		return h.Labels[labelRevision] == r.base && h.Labels[labelDigest] != "" && h.Labels[labelDigest] != now
	})) > 0
}

// event writes down what happened.
func (r *revision) event(replica, container string, reason engine.Reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == keptEvents {
		r.events = append(r.events[:0:0], r.events[1:]...)
	}
	r.events = append(r.events, engine.Event{At: r.e.cfg.Clock.Now(), Replica: replica, Container: container, Reason: reason, Message: message})
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, ref engine.Ref) error {
	name := e.base(ref)
	if r, err := e.find(ref); err == nil {
		r.end()
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer e.forget(r)
	}
	_, err := e.removeAll(ctx, func(base string) bool { return base == name })
	return err
}

func (e *Engine) forget(r *revision) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.revisions[r.base] == r {
		delete(e.revisions, r.base)
	}
	e.doors.forget(r.base)
}
