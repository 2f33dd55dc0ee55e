package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// Every process has a place. A goroutine tends each place: it waits for the end
// of the process there and puts another one in, until no process is left or the
// worker is stopped. So there are never more processes than places.

const (
	maxCrashes  = 3 // per process, within crashWindow; then restarts become rarer
	crashWindow = 30 * time.Minute
	longestWait = 2 * time.Minute
)

// serveWith lets a process take work, in a place that is counted already.
func (w *Worker) serveWith(c *channel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = append(w.live[:len(w.live):len(w.live)], c)
	w.announce()
}

func (w *Worker) announce() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// leave takes c out of those that take work. It reports whether others are left
// or come; the place is given up unless c is replaced on purpose.
func (w *Worker) leave(c *channel) (others bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := make([]*channel, 0, len(w.live))
	for _, l := range w.live {
		if l != c {
			kept = append(kept, l)
		}
	}
	w.live = kept
	if !c.replaced.Load() {
		w.places--
	}
	w.announce()
	return w.places > 0
}

// tend looks after one place.
func (w *Worker) tend(c *channel) {
	for c != nil {
		<-c.gone
		others := w.leave(c)
		<-c.proc.Done()
		if w.isStopping() {
			return
		}
		exit := c.exit()
		onPurpose := c.replaced.Load()
		switch {
		case exit.Restart():
			w.say("info", "a worker process ended to be started anew")
		case !onPurpose:
			w.say("error", "a worker process ended by itself: "+c.err.Error()+"; "+describe(exit))
		}
		if !others {
			w.finish(exit)
			return
		}
		c = w.successor(onPurpose, exit.Restart())
	}
}

// exit says how c's process ended.
func (c *channel) exit() worker.Exit {
	e := c.proc.Exit()
	e.LastLogs = c.errs.Lines()
	return e
}

// successor puts another process in a place, as soon as the policy lets it; wanted
// says that what ended there did not crash. It gives nil when the worker has ended. A place is counted from the moment in which
// its next process is started: as long as one may still come, callers wait.
func (w *Worker) successor(counted, wanted bool) *channel {
	for !w.isStopping() {
		if !counted {
			if w.pace.wait(w.life, w.cfg.Runtime.Process.Count, wanted) != nil {
				break
			}
			w.reserve()
		}
		c, err := w.another(w.life)
		if err == nil {
			w.serveWith(c)
			return c
		}
		w.say("error", err.Error())
		if w.giveUp() {
			w.finish(worker.Exit{Code: -1, LastLogs: []string{err.Error()}})
			return nil
		}
		counted, wanted = false, false
	}
	return nil
}

func (w *Worker) reserve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places++
}

func (w *Worker) isStopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped || w.over
}

// giveUp gives up a place; it reports whether it was the last.
func (w *Worker) giveUp() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places--
	return w.places == 0
}

// another starts a further process and loads the functions into it.
func (w *Worker) another(ctx context.Context) (*channel, error) {
	c, err := w.launch(ctx)
	if err != nil {
		return nil, err
	}
	if w.indexed {
		_, _, err = c.metadata(ctx) // some workers find their functions only when asked
	}
	if err == nil {
		err = c.load(ctx, w.loads)
	}
	if err != nil {
		err = c.explain(err)
		w.remove(c)
		return nil, err
	}
	return c, nil
}

// grow starts n further processes, one after the other.
func (w *Worker) grow(n int) {
	for range n {
		if clock.Sleep(w.life, w.cfg.Clock, w.cfg.Runtime.Process.StartupInterval) != nil {
			return
		}
		w.reserve()
		c := w.successor(true, false)
		if c == nil {
			return
		}
		if !w.keep(func() { w.tend(c) }) {
			return
		}
	}
}

// replace ends c on purpose, once, however often it is asked for; another
// process takes its place.
func (w *Worker) replace(c *channel, reason string) {
	if !c.replaced.CompareAndSwap(false, true) {
		return
	}
	w.say("warn", "a worker process is replaced: "+reason)
	c.fail(problem.New(problem.Unavailable, "the worker process was replaced: "+reason))
	c.proc.Kill()
}

// pick gives the process with the fewest invocations in progress, and counts one
// in. It waits while none takes work.
func (w *Worker) pick(ctx context.Context) (*channel, error) {
	for {
		c, changed, over := w.idlest()
		if c != nil {
			return c, nil
		}
		if over {
			return nil, problem.New(problem.Unavailable, "no worker process is left: "+describe(w.Exit()))
		}
		select {
		case <-changed:
		case <-w.exited:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// leastBusy gives the process with the fewest invocations in progress, and among
// those the one whose turn it is; nil when none is left.
func leastBusy(live []*channel, turn int) (c *channel) {
	for i := range live {
		if l := live[(turn+i)%len(live)]; !l.isGone() && (c == nil || l.busy.Load() < c.busy.Load()) {
			c = l
		}
	}
	return c
}

func (w *Worker) idlest() (c *channel, changed chan struct{}, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn++
	if c = w.choose(w.live, w.turn); c != nil {
		c.busy.Add(1)
	}
	return c, w.changed, w.over || w.stopped
}

// finish publishes the end: no process is left, and none will come.
func (w *Worker) finish(e worker.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.over, w.exit = true, e
	w.end()
	w.announce()
	close(w.exited)
	if w.door != nil {
		go w.door.close()
	}
}

// pacer spaces restarts after crashes. They come one at a time.
type pacer struct {
	clock    clock.Clock
	interval time.Duration

	mu    sync.Mutex
	next  time.Time // no restart before
	last  time.Time // the crash before
	count int       // of crashes
}

// wait waits until the next restart may begin. The first is at once; after that
// they are an interval apart, and the interval grows when there were too many
// crashes. One that is wanted does not count as a crash.
func (p *pacer) wait(ctx context.Context, processes int, wanted bool) error {
	return clock.Sleep(ctx, p.clock, p.reserve(processes, wanted))
}

func (p *pacer) reserve(processes int, wanted bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	if now.Sub(p.last) > crashWindow {
		p.count = 0
	}
	if !wanted {
		p.count, p.last = p.count+1, now
	}
	start := now
	if p.next.After(now) {
		start = p.next
	}
	interval := p.interval
	for n := p.count - maxCrashes*processes; n > 0 && interval < longestWait; n-- {
		interval = max(2*interval, time.Second)
	}
	p.next = start.Add(min(interval, max(longestWait, p.interval)))
	return start.Sub(now)
}
