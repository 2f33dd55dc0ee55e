package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// Run runs the app until ctx ends, then drains and stops it. Whatever goes wrong
// with the app shows in its status; Run goes on.
func (i *Instance) Run(ctx context.Context) {
	w := newWatch(i)
	defer w.close()
	var c crashes
	for ctx.Err() == nil {
		c = i.cycle(ctx, w, c)
	}
	i.drop(Stopping)
	i.running.Wait()
	i.set(Stopped, nil)
}

// outcome says why a cycle ended.
type outcome struct {
	restart bool         // something asked for a new model
	crash   *worker.Exit // the worker died
	failed  error        // the worker never took work
}

// cycle loads the app, serves it until something happens and deals with that.
func (i *Instance) cycle(ctx context.Context, w *watch, c crashes) crashes {
	if i.offline() {
		i.goOffline()
		i.awaitChange(ctx, w, nil)
		return c
	}
	model, err := i.load(w)
	if err != nil {
		i.fail(err)
		i.awaitChange(ctx, w, nil)
		return c
	}
	started := i.cfg.Clock.Now()
	out := i.serve(ctx, w, model)
	return i.settle(ctx, w, c, out, started)
}

func (i *Instance) settle(ctx context.Context, w *watch, c crashes, out outcome, started time.Time) crashes {
	if ctx.Err() != nil || out.restart {
		return c
	}
	now := i.cfg.Clock.Now()
	c, pause, failed := c.next(now, now.Sub(started))
	msg := crashText(out)
	if failed || out.failed != nil {
		i.set(Error, nil, msg)
	} else {
		i.set(Starting, nil, msg)
	}
	if out.failed != nil && pause == 0 {
		pause = firstBackoff
	}
	i.cfg.Log.Error("worker stopped", "reason", msg, "crashes", c.count, "restart_in", pause.String())
	if pause > 0 {
		t := i.cfg.Clock.NewTimer(pause)
		defer t.Stop()
		i.awaitChange(ctx, w, t)
	}
	if ctx.Err() == nil && i.cfg.OnRestart != nil {
		i.cfg.OnRestart()
	}
	return c
}

func crashText(out outcome) string {
	if out.failed != nil {
		return out.failed.Error()
	}
	e := *out.crash
	text := fmt.Sprintf("the worker ended with exit code %d", e.Code)
	if e.Signal != "" {
		text = "the worker was ended by signal " + e.Signal
	}
	if len(e.LastLogs) > 0 {
		text += "; its last output: " + strings.Join(e.LastLogs, " | ")
	}
	return text
}

// awaitChange waits for a restart request, a change of files, the timer (which
// may be nil) or the end of ctx.
func (i *Instance) awaitChange(ctx context.Context, w *watch, t clock.Timer) {
	var c <-chan time.Time
	if t != nil {
		c = t.C()
	}
	select {
	case <-ctx.Done():
	case <-c:
	case r := <-i.restarts:
		i.cfg.Log.Info("restarting", "reason", r.reason)
	case reason := <-w.changes:
		i.cfg.Log.Info("restarting", "reason", reason)
	}
}

// load reads the model and publishes it; faults of the whole app are an error.
func (i *Instance) load(w *watch) (*Model, error) {
	model, err := i.cfg.Load()
	if err != nil {
		return nil, err
	}
	i.model.Store(model)
	w.follow(model.App)
	if i.cfg.OnModel != nil {
		i.cfg.OnModel(model)
	}
	if len(model.App.Faults) > 0 {
		return nil, appFaults(model.App.Faults)
	}
	return model, nil
}

func appFaults(faults []funcapp.Fault) error {
	errs := make([]error, len(faults))
	for n, f := range faults {
		errs[n] = errors.New(f.String())
	}
	return problem.Wrap(problem.Invalid, "the app cannot be started", errors.Join(errs...))
}

func (i *Instance) fail(err error) {
	texts := []string{err.Error()}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		texts = texts[:0]
		for _, e := range joined.Unwrap() {
			texts = append(texts, e.Error())
		}
	}
	i.drop(Error, texts...)
	for _, t := range texts {
		i.cfg.Log.Error("the app cannot be started", "reason", t)
	}
}

// serve starts a worker for model and serves until a restart is asked for, the
// worker ends, or ctx ends. The worker of the model before serves until the new
// one is ready, unless the app wants its restarts one after the other.
func (i *Instance) serve(ctx context.Context, w *watch, model *Model) outcome {
	old := i.live.Load()
	if old == nil || sequential(model) {
		i.drop(Starting)
		i.running.Wait()
		old = nil
	}
	wk, err := i.startWorker(ctx, w, model)
	if err != nil {
		i.drop(Starting)
		return outcome{failed: err, restart: errors.Is(err, errBrokenOff)}
	}
	i.set(Running, newLive(model, wk))
	i.retire(old)
	select {
	case <-ctx.Done():
		return outcome{}
	case <-wk.Exited():
		return i.onExit(wk)
	case r := <-i.restarts:
		i.cfg.Log.Info("restarting", "reason", r.reason)
	case reason := <-w.changes:
		i.cfg.Log.Info("restarting", "reason", reason)
	}
	return outcome{restart: true}
}

// onExit stops what is left of a worker that ended by itself.
func (i *Instance) onExit(wk worker.Worker) outcome {
	i.set(Starting, nil)
	exit := wk.Exit()
	i.stopWorker(wk)
	return outcome{crash: &exit}
}

func sequential(m *Model) bool {
	ch := m.App.Host.CustomHandler
	return m.App.Host.SequentialRestart || (ch != nil && ch.Port != 0)
}

// errBrokenOff says that the start was given up for a newer one.
var errBrokenOff = errors.New("start broken off")

// startWorker starts a worker. A change of the app's files meanwhile breaks the
// start off, so that a repaired app need not wait for a hopeless one.
func (i *Instance) startWorker(ctx context.Context, w *watch, model *Model) (worker.Worker, error) {
	wk, err := i.cfg.NewWorker(model)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, i.cfg.InitTimeout)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- wk.Start(ctx) }()
	select {
	case err = <-started:
	case <-w.changes:
		cancel()
		<-started
		err = errBrokenOff
	}
	if err != nil {
		i.stopWorker(wk)
		return nil, err
	}
	return wk, nil
}

// drop serves nothing from now on and retires the worker that served.
func (i *Instance) drop(state State, errs ...string) {
	old := i.live.Load()
	i.set(state, nil, errs...)
	i.retire(old)
}

// retire lets the work of a replaced worker finish, within the stop timeout,
// and stops it; in the background, so that the new one serves meanwhile.
func (i *Instance) retire(l *Live) {
	if l == nil {
		return
	}
	i.running.Go(func() { i.drainAndStop(l) })
}

func (i *Instance) drainAndStop(l *Live) {
	timer := i.cfg.Clock.NewTimer(i.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case <-l.drained():
	case <-timer.C():
		i.cfg.Log.Warn("stopping a worker with work in progress", "outstanding", l.Outstanding())
	}
	i.stopWorker(l.Worker)
}

func (i *Instance) stopWorker(wk worker.Worker) {
	ctx, cancel := context.WithTimeout(context.Background(), i.cfg.StopTimeout)
	defer cancel()
	if err := wk.Stop(ctx); err != nil {
		i.cfg.Log.Warn("stopping a worker", "reason", err)
	}
}
