package instance

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/worker"
)

// Every worker has one owner: the one that is being started belongs to start,
// the one that serves to live. Whoever takes it out of there stops it, in the
// background, and Run waits for that at its end.

// drop serves nothing from now on and retires the worker that served.
func (i *Instance) drop(state State, errs ...string) { i.retire(i.set(state, nil, errs...)) }

// bury takes the worker that served out because it ended; nobody waits for the
// work that was in progress on it.
func (i *Instance) bury() {
	if l := i.set(Starting, nil); l != nil {
		i.running.Go(func() { i.end(l) })
	}
}

// retire lets the work of a replaced worker finish, within the stop timeout,
// and stops it; the new one serves meanwhile.
func (i *Instance) retire(l *Live) {
	if l != nil {
		i.running.Go(func() { i.drainAndStop(l) })
	}
}

func (i *Instance) drainAndStop(l *Live) {
	timer := i.cfg.Clock.NewTimer(i.drainTimeout(l.Worker))
	defer timer.Stop()
	select {
	case <-l.drained():
	case <-l.Worker.Exited():
	case <-timer.C():
		i.cfg.Log.Warn("stopping a worker with work in progress", "outstanding", l.Outstanding())
	}
	i.end(l)
}

// drainTimeout is the stop timeout, or less if the worker says so.
func (i *Instance) drainTimeout(wk worker.Worker) time.Duration {
	if d, ok := wk.(worker.Drainer); ok {
		return min(d.DrainTimeout(), i.cfg.StopTimeout)
	}
	return i.cfg.StopTimeout
}

func (i *Instance) end(l *Live) {
	i.stop(l.Worker)
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.retired, l)
}

// discard stops a worker whose start was given up: first it gets the time to
// notice that.
func (i *Instance) discard(wk worker.Worker, started <-chan error) {
	i.running.Go(func() {
		if ended, _ := i.wait(started); !ended {
			i.cfg.Log.Warn("the start of a worker does not end; stopping it all the same")
		}
		i.stop(wk)
	})
}

// stop stops wk. One that does not end although its time is up (the kernel can
// hold on to a process it cannot kill) is left behind rather than waited for.
func (i *Instance) stop(wk worker.Worker) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- wk.Stop(ctx) }()
	ended, err := i.wait(stopped)
	if !ended {
		cancel()
		ended, err = i.wait(stopped)
	}
	switch {
	case !ended:
		i.cfg.Log.Error("a worker cannot be stopped; its process is left behind", "pid", wk.PID())
	case err != nil:
		i.cfg.Log.Warn("stopping a worker", "reason", err)
	}
}

// wait waits for done, at most for the stop timeout.
func (i *Instance) wait(done <-chan error) (ended bool, err error) {
	timer := i.cfg.Clock.NewTimer(i.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C():
		return false, nil
	}
}
