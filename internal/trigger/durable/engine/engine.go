// Package engine owns how orchestrations run: it replays their history to the
// orchestrator function, carries out what that asks for, activities, timers and
// other orchestrations, and takes what happened down. Work is done at least once,
// history is written exactly once. It does not know HTTP, or where instances are
// kept.
package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Config says what an engine is made of. Leases may be nil for a store that no
// other host uses.
type Config struct {
	Store  instances.Store
	Invoke trigger.Invoker
	Clock  clock.Clock
	Log    *slog.Logger
	Leases trigger.Leases
}

// Engine runs the orchestrations of one app. Its methods are safe for concurrent
// use; Run is called once at a time.
type Engine struct {
	cfg Config

	mu      sync.Mutex
	driving bool
	queue   []string
	state   map[string]progress // of instances in the queue or in work
	wake    chan struct{}       // has one element when the queue has any
	changed chan struct{}       // closed and replaced when an instance changed
	missed  chan struct{}       // has one element when changes by others may have been missed
	flying  map[flight]struct{} // tasks in work
}

// progress says how far an instance is.
type progress int

const (
	queued progress = iota
	working
	again // something happened while it was in work
)

// flight is a task that somebody works on.
type flight struct {
	id, execution string
	task          int
}

const (
	turners       = 8
	maxActivities = 64
	maxErrands    = 16 // what is written and started for tasks at a time
	rescanEvery   = 15 * time.Second
	lease         = "durabletask"
)

// New makes an engine that does not run anything before Run.
func New(cfg Config) *Engine {
	return &Engine{
		cfg: cfg, state: map[string]progress{},
		wake: make(chan struct{}, 1), changed: make(chan struct{}), missed: make(chan struct{}, 1), flying: map[flight]struct{}{},
	}
}

// Run runs orchestrations until ctx ends, on one host of the app at a time.
func (e *Engine) Run(ctx context.Context) {
	if w, ok := e.cfg.Store.(instances.Watcher); ok {
		watching, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Watch(watching, e.heard)
		}()
		defer func() {
			cancel()
			<-ended
		}()
	}
	for ctx.Err() == nil {
		if e.cfg.Leases == nil {
			e.drive(ctx)
			continue
		}
		l, err := e.cfg.Leases.Acquire(ctx, lease)
		if err != nil {
			_ = clock.Sleep(ctx, e.cfg.Clock, rescanEvery)
			continue
		}
		held, cancel := context.WithCancel(ctx)
		go func() {
			defer cancel()
			select {
			case <-l.Lost():
			case <-held.Done():
			}
		}()
		e.drive(held)
		cancel()
		_ = l.Release(context.WithoutCancel(ctx))
	}
}

// heard takes up what another host did to an instance, or this one.
func (e *Engine) heard(i *instances.Instance) {
	switch {
	case i == nil:
		select {
		case e.missed <- struct{}{}:
		default:
		}
	case i.Status.Final():
	case len(i.Inbox) > 0 || i.Status == instances.Pending || !e.busyWith(i.ID):
		e.nudge(i.ID)
	}
	e.tell()
}

// busyWith reports whether an instance is in the queue or in work: what was written
// meanwhile without a message for it was written here.
func (e *Engine) busyWith(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, busy := e.state[id]
	return busy
}

func (e *Engine) drive(ctx context.Context) {
	e.mu.Lock()
	e.driving, e.queue, e.state, e.flying = true, nil, map[string]progress{}, map[flight]struct{}{}
	e.mu.Unlock()
	var all sync.WaitGroup
	w := &works{
		Engine: e, ctx: ctx, all: &all, timers: newTimers(e.cfg.Clock),
		activities: pool{most: maxActivities, all: &all}, errands: pool{most: maxErrands, all: &all},
	}
	all.Go(func() { w.timers.run(ctx) })
	for range turners {
		all.Go(w.loop)
	}
	w.rescan()
	all.Wait()
	e.mu.Lock()
	e.driving = false
	e.mu.Unlock()
}

// works is what runs while this host drives.
type works struct {
	*Engine
	ctx context.Context
	all *sync.WaitGroup

	timers              *timers
	activities, errands pool
}

// rescan looks for instances in progress, at first and now and then: other hosts
// take messages for them too, and not every store tells of that.
func (w *works) rescan() {
	for w.ctx.Err() == nil {
		ids, err := w.cfg.Store.Unfinished(w.ctx)
		if err != nil && w.ctx.Err() == nil {
			w.cfg.Log.Warn("orchestrations cannot be listed", "reason", err)
		}
		for _, id := range ids {
			w.nudge(id)
		}
		w.pause()
	}
}

// pause waits for the next look at all.
func (w *works) pause() {
	timer := w.cfg.Clock.NewTimer(rescanEvery)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-w.missed:
	case <-w.ctx.Done():
	}
}

// nudge has an instance looked at, if this host drives.
func (e *Engine) nudge(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.driving {
		return
	}
	switch p, known := e.state[id]; {
	case !known:
		e.state[id] = queued
		e.queue = append(e.queue, id)
		e.ring()
	case p == working:
		e.state[id] = again
	}
}

// ring wakes one that waits for the queue; mu is held.
func (e *Engine) ring() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (w *works) loop() {
	for {
		id, ok := w.take()
		if !ok {
			select {
			case <-w.wake:
				continue
			case <-w.ctx.Done():
				return
			}
		}
		w.work(id)
		w.done(id)
	}
}

func (w *works) take() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.ctx.Err() != nil {
		return "", false
	}
	id := w.queue[0]
	w.queue = w.queue[1:]
	w.state[id] = working
	if len(w.queue) > 0 {
		w.ring()
	}
	return id, true
}

func (w *works) done(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state[id] == again {
		w.state[id] = queued
		w.queue = append(w.queue, id)
		w.ring()
		return
	}
	delete(w.state, id)
}

// tell wakes those who wait for a change of an instance.
func (e *Engine) tell() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}
