package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// serve starts wk for model and serves until a restart is asked for, the worker
// ends, or ctx ends. The worker of the model before serves until the new one is
// ready, unless the app wants its restarts one after the other. When the start
// is broken off it serves on; when the start fails it is the caller's to drop.
func (r *runner) serve(ctx context.Context, model *Model, wk worker.Worker) outcome {
	if r.live.Load() == nil || sequential(model) {
		r.begin()
	}
	if sequential(model) {
		r.hush()
		r.running.Wait()
	}
	if r.again && r.cfg.OnRestart != nil {
		r.cfg.OnRestart()
	}
	if out, ok := r.start(ctx, wk); !ok {
		return out
	}
	model = r.adopt(model, wk)
	since := r.cfg.Clock.Now()
	live := newLive(model, wk)
	live.outputs = r.newOutputs(model)
	r.retire(r.set(Running, live))
	r.listen(model, r.again)
	r.cfg.Log.Info("the app runs", "functions", len(model.Functions), "worker_pid", wk.PID())
	return r.watchOver(ctx, wk, since)
}

// begin shows that the app is starting; while it is tried again after a failure
// it stays in error instead.
func (r *runner) begin() {
	if !r.retrying {
		r.drop(Starting)
	}
}

func sequential(m *Model) bool {
	ch := m.App.Host.CustomHandler
	return m.App.Host.SequentialRestart || (ch != nil && ch.Port != 0)
}

// watchOver waits until something calls for another worker than wk, which has
// served since then.
func (r *runner) watchOver(ctx context.Context, wk worker.Worker, since time.Time) outcome {
	select {
	case <-ctx.Done():
		return outcome{}
	case <-wk.Exited():
		r.bury()
		exit := wk.Exit()
		return outcome{crash: &exit, served: r.cfg.Clock.Now().Sub(since)}
	case reason := <-r.restarts:
		r.restarting(reason)
		return outcome{restart: true}
	}
}

// start starts wk. A restart asked for meanwhile breaks the start off, so that a
// repaired app need not wait for a hopeless one. Unless it is ok, wk is stopped,
// or will be, in the background.
func (r *runner) start(ctx context.Context, wk worker.Worker) (out outcome, ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- wk.Start(ctx) }()
	limit := r.startTimeout(wk)
	timer := r.cfg.Clock.NewTimer(limit)
	defer timer.Stop()
	out, over := r.awaitStart(ctx, started, timer, limit)
	switch {
	case !over:
		r.discard(wk, started)
		return out, false
	case out.failed != nil:
		r.running.Go(func() { r.stop(wk) })
		return out, false
	}
	return out, true
}

func (r *runner) startTimeout(wk worker.Worker) time.Duration {
	if p, ok := wk.(worker.Patient); ok {
		return p.StartTimeout()
	}
	return r.cfg.InitTimeout
}

// awaitStart waits for the end of a start, or for a reason not to wait for it any
// longer (over is false). The worker that serves meanwhile may die.
func (r *runner) awaitStart(ctx context.Context, started <-chan error, timer clock.Timer, limit time.Duration) (out outcome, over bool) {
	for {
		select {
		case err := <-started:
			return outcome{failed: err}, true
		case <-timer.C():
			return outcome{failed: problem.New(problem.Unavailable,
				fmt.Sprintf("the worker took no work within %s", limit))}, false
		case <-ctx.Done():
			return outcome{}, false
		case <-r.exited():
			r.bury()
		case reason := <-r.restarts:
			r.restarting(reason)
			return outcome{restart: true}, false
		}
	}
}

// exited tells when the worker that serves ends; nil when none serves.
func (i *Instance) exited() <-chan struct{} {
	if l := i.live.Load(); l != nil {
		return l.Worker.Exited()
	}
	return nil
}
