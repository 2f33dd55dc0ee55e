package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// container is one container of a replica over all its starts.
type container struct {
	p    *replica
	role engine.Role
	spec engine.Container

	mu       sync.Mutex
	id       string
	state    engine.ContainerState
	ready    bool
	starts   int
	started  time.Time
	lastExit *engine.Exit
	reason   engine.Reason
	message  string
}

// keep runs a main container, again and again, until ctx ends. An error says that
// the replica cannot go on.
func (c *container) keep(ctx context.Context) error {
	for n := 0; ; n++ {
		began := c.clock().Now()
		exit, err := c.cycle(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if c.clock().Now().Sub(began) > steady {
			n = 0
		}
		if err != nil && (c.p.isOld() || errors.Is(err, errResume)) {
			return err
		}
		c.pausing(exit, err, n)
		if clock.Sleep(ctx, c.clock(), pause(n)) != nil {
			return nil
		}
	}
}

// untilSuccess runs an init container until it succeeds.
func (c *container) untilSuccess(ctx context.Context) error {
	for n := 0; ; n++ {
		exit, err := c.cycle(ctx, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && exit.Code == 0 {
			c.set(func() { c.state, c.reason, c.message = engine.ContainerTerminated, "", "" })
			return nil
		}
		if errors.Is(err, errResume) {
			return err
		}
		c.pausing(exit, err, n)
		if err := clock.Sleep(ctx, c.clock(), pause(n)); err != nil {
			return err
		}
	}
}

// once runs the sidecar and returns when it ended; up gets the outcome of its start.
func (c *container) once(ctx context.Context, up chan<- error) error {
	exit, err := c.cycle(ctx, up)
	select {
	case up <- err:
	default:
	}
	if err == nil && ctx.Err() == nil {
		err = engine.Fail(engine.ReasonReplaced, problem.New(problem.Unavailable, fmt.Sprintf("the replica's network is gone: its sidecar ended with code %d", exit.Code)))
	}
	return err
}

// cycle is one start of the container, or what is left of one from before, to its
// end. up, if any, is told when it runs.
func (c *container) cycle(ctx context.Context, up chan<- error) (engine.Exit, error) {
	s := c.start()
	id, err := c.launch(ctx, s)
	if err != nil {
		return engine.Exit{}, err
	}
	if up != nil {
		up <- nil
	}
	probing, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	c.probe(probing, &work, id)
	exit, err := c.wait(ctx, id)
	stop()
	work.Wait()
	if ctx.Err() != nil {
		return exit, ctx.Err()
	}
	if c.p.r.e.cfg.Identity != nil {
		c.p.r.e.cfg.Identity.Ended(s)
	}
	c.ended(exit)
	return exit, err
}

func (c *container) start() engine.Start {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := engine.Start{Revision: c.p.r.ref, Replica: c.p.name, Container: c.spec.Name, Role: c.role, Count: c.starts}
	if !c.p.isOld() {
		s.Generation = c.p.spec.Generation
	}
	return s
}

// launch starts the container, unless it runs since before.
func (c *container) launch(ctx context.Context, s engine.Start) (string, error) {
	if f, ok := c.p.take(c.spec.Name); ok {
		if err := c.resume(ctx, &s, f); err != nil {
			return "", err
		}
		c.running(f.ID, f.Count, f.Started)
		c.p.r.event(c.p.name, c.spec.Name, engine.ReasonAdopted, "it ran already and was taken over")
		return f.ID, nil
	}
	if c.p.isOld() {
		return "", engine.Fail(engine.ReasonReplaced, problem.New(problem.NotFound, "a container of an older spec ended"))
	}
	env := slices.Clone(c.spec.Env)
	if c.p.r.e.cfg.Identity != nil {
		more, err := c.p.r.e.cfg.Identity.Environment(ctx, s)
		if err != nil {
			return "", engine.Fail(engine.ReasonIdentity, problem.Wrap(problem.KindOf(err), "the container's identity is not ready", err))
		}
		env = append(without(env, more), more...)
	}
	id, err := c.p.r.e.rt.Start(ctx, Unit{Start: s, Digest: c.p.digest, Spec: c.spec, Env: env, Volumes: c.p.spec.Volumes, Ports: c.p.spec.AllPorts()})
	if err != nil {
		return "", err
	}
	c.running(id, s.Count, c.clock().Now())
	if c.p.side == nil {
		_ = c.p.locate(ctx)
	}
	c.p.r.event(c.p.name, c.spec.Name, engine.ReasonStarted, fmt.Sprintf("start %d", s.Count+1))
	return id, nil
}

// without leaves out the variables that the identity provider sets: of two with one
// name containers see either, and what an app chose would be taken for a secret of
// ours when the container is taken over.
func without(env, more []engine.Env) []engine.Env {
	return slices.DeleteFunc(env, func(e engine.Env) bool {
		return slices.ContainsFunc(more, func(m engine.Env) bool { return m.Name == e.Name })
	})
}

// errResume marks that the identity provider did not take a container over.
var errResume = errors.New("not taken over")

func (c *container) resume(ctx context.Context, s *engine.Start, f Found) error {
	s.Count = f.Count
	if c.p.r.e.cfg.Identity == nil {
		return nil
	}
	env, err := c.p.r.e.rt.Environment(ctx, f.ID)
	if err != nil {
		return err
	}
	if err := c.p.r.e.cfg.Identity.Resume(ctx, *s, env); err != nil {
		return engine.Fail(engine.ReasonReplaced, problem.Wrap(problem.Conflict, "what the container has of its identity is not valid any more", errors.Join(errResume, err)))
	}
	return nil
}

// wait returns when the container ended; while the engine is away it goes on
// waiting. A container that is not there any more ended with code 137.
func (c *container) wait(ctx context.Context, id string) (engine.Exit, error) {
	for n := 0; ; n++ {
		exit, err := c.p.r.e.rt.Wait(ctx, id)
		switch {
		case err == nil || ctx.Err() != nil:
			return exit, err
		case problem.KindOf(err) == problem.NotFound:
			return engine.Exit{Code: 137, At: c.clock().Now()}, nil
		}
		c.set(func() { c.reason, c.message = engine.ReasonOf(err), err.Error() })
		if err := clock.Sleep(ctx, c.clock(), min(pause(n), 5*time.Second)); err != nil {
			return engine.Exit{}, err
		}
	}
}

func (c *container) clock() clock.Clock { return c.p.r.e.cfg.Clock }

// set changes the container's status and tells who looks at it.
func (c *container) set(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.p.r.nudge()
}

func (c *container) running(id string, count int, at time.Time) {
	needsProbe := false
	for _, p := range c.spec.Probes {
		needsProbe = needsProbe || p.Kind != engine.Liveness
	}
	c.set(func() {
		c.id, c.state, c.starts, c.started = id, engine.ContainerRunning, count+1, at
		c.ready, c.reason, c.message = !needsProbe, "", ""
	})
}

func (c *container) ended(exit engine.Exit) {
	c.set(func() { c.state, c.ready, c.lastExit = engine.ContainerWaiting, false, &exit })
	why := fmt.Sprintf("it ended with code %d", exit.Code)
	if exit.OOMKilled {
		why += ", out of memory"
	}
	c.p.r.event(c.p.name, c.spec.Name, engine.ReasonExited, why)
}

// pausing says why the container waits for its next start.
func (c *container) pausing(exit engine.Exit, err error, n int) {
	reason, message := engine.ReasonCrash, fmt.Sprintf("it ended with code %d; it is started again in %s", exit.Code, pause(n))
	if c.role == engine.RoleInit {
		reason = engine.ReasonInitFailed
	}
	if err != nil {
		reason, message = engine.ReasonOf(err), err.Error()
	}
	c.set(func() { c.state, c.ready, c.reason, c.message = engine.ContainerWaiting, false, reason, message })
	if err != nil {
		c.p.r.event(c.p.name, c.spec.Name, reason, message)
	}
}

// forget clears what is known of the last start after it was removed.
func (c *container) forget() {
	c.set(func() { c.id, c.state, c.ready = "", engine.ContainerWaiting, false })
}

func (c *container) current() (id string, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, c.state == engine.ContainerRunning
}

func (c *container) status() engine.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := engine.ContainerStatus{Name: c.spec.Name, Role: c.role, State: c.state, Ready: c.ready, Restarts: max(0, c.starts-1), Started: c.started, Reason: c.reason, Message: c.message}
	if c.lastExit != nil {
		last := *c.lastExit
		s.LastExit = &last
	}
	return s
}
