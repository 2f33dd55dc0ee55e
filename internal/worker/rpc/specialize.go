package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// Specialize gives a worker that was started with Placeholder its app: the
// process gets the environment in place of its own and loads the app's functions.
// It is called once, after Start and before everything else. Errors are
// problem.Unavailable; the worker is then good for nothing but Stop.
func (w *Worker) Specialize(ctx context.Context, app *funcapp.App, settings, env map[string]string) error {
	w.mu.Lock()
	fit := w.cfg.Placeholder && len(w.live) == 1 && !w.stopped
	var c *channel
	if fit {
		c = w.live[0]
		w.cfg.Placeholder, w.cfg.App, w.cfg.Settings, w.cfg.Env = false, app, settings, env
	}
	w.mu.Unlock()
	if !fit {
		return problem.New(problem.Unavailable, "the worker has an app already, or no process")
	}
	if err := c.reload(ctx); err != nil {
		return c.explain(err)
	}
	if err := w.adopt(ctx, c); err != nil {
		return c.explain(err)
	}
	w.growToCount()
	return nil
}

// adopt learns from c which functions there are and loads them.
func (w *Worker) adopt(ctx context.Context, c *channel) error {
	if err := w.index(ctx, c); err != nil {
		return err
	}
	return c.load(ctx, w.loads)
}

func (w *Worker) growToCount() {
	if n := w.cfg.Runtime.Process.Count; n > 1 {
		w.keep(func() { w.grow(n - 1) })
	}
	if w.cfg.Runtime.Process.Dynamic {
		w.keep(w.scale)
	}
}

// reload gives the process another environment and the app's directory.
func (c *channel) reload(ctx context.Context) error {
	w := c.w
	variables := make(map[string]string, len(w.cfg.Env)+4)
	for _, from := range []map[string]string{w.cfg.Env, w.additions()} {
		for name, value := range from {
			if value != "" {
				variables[name] = value
			}
		}
	}
	var r *wire.FunctionEnvironmentReloadResponse
	err := c.timed(ctx, w.cfg.Runtime.Process.ReloadTimeout, "FunctionEnvironmentReloadRequest", func(m *wire.StreamingMessage) bool {
		r = m.GetFunctionEnvironmentReloadResponse()
		return r != nil
	}, &wire.StreamingMessage{Content: &wire.StreamingMessage_FunctionEnvironmentReloadRequest{
		FunctionEnvironmentReloadRequest: &wire.FunctionEnvironmentReloadRequest{EnvironmentVariables: variables, FunctionAppDirectory: w.cfg.App.Root}}})
	if err != nil {
		return err
	}
	c.logAll(r.GetResult())
	if err := failure(problem.Unavailable, "the worker cannot take the app's environment", r.GetResult()); err != nil {
		return withStack(err, r.GetResult())
	}
	return c.setCapabilities(c.capabilities().updated(r.GetCapabilities(), r.GetCapabilitiesUpdateStrategy()))
}

// warmUp lets a worker without an app prepare, if it wants to. What goes wrong
// costs time later, nothing else.
func (c *channel) warmUp(ctx context.Context) {
	if !c.capabilities().warmup {
		return
	}
	var r *wire.WorkerWarmupResponse
	err := c.timed(ctx, c.w.cfg.Runtime.Process.InitTimeout, "WorkerWarmupRequest", func(m *wire.StreamingMessage) bool {
		r = m.GetWorkerWarmupResponse()
		return r != nil
	}, &wire.StreamingMessage{Content: &wire.StreamingMessage_WorkerWarmupRequest{
		WorkerWarmupRequest: &wire.WorkerWarmupRequest{WorkerDirectory: c.w.cfg.Runtime.Directory}}})
	if err == nil {
		err = failure(problem.Unavailable, "the worker cannot warm up", r.GetResult())
	}
	if err != nil {
		c.w.say("warn", err.Error())
	}
}

// Ping asks each process that knows how whether it is responsive, and gives the
// longest time an answer took. Errors are problem.Unavailable, also when one did
// not answer before ctx ended.
func (w *Worker) Ping(ctx context.Context) (time.Duration, error) {
	w.mu.Lock()
	all := w.live
	w.mu.Unlock()
	var longest time.Duration
	for _, c := range all {
		if !c.capabilities().status {
			continue
		}
		took, err := c.ping(ctx)
		if err != nil {
			return longest, err
		}
		longest = max(longest, took)
	}
	return longest, nil
}

func (c *channel) ping(ctx context.Context) (time.Duration, error) {
	id, sent := newID(), c.w.cfg.Clock.Now()
	err := c.exchange(ctx, func(m *wire.StreamingMessage) bool { return m.GetWorkerStatusResponse() != nil },
		&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_WorkerStatusRequest{WorkerStatusRequest: &wire.WorkerStatusRequest{}}})
	if err != nil {
		return 0, problem.Wrap(problem.Unavailable, fmt.Sprintf("worker process %d does not answer", c.proc.PID()), err)
	}
	return c.w.cfg.Clock.Now().Sub(sent), nil
}
