package instance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/worker"
)

// fakeWorker is a worker without a process. What it does is set before Start.
type fakeWorker struct {
	n       int // 1 for the first worker of the test
	journal *journal

	startErr  error
	startGate chan struct{}                                                     // Start waits for it
	stopGate  chan struct{}                                                     // Stop waits for it
	invoke    func(context.Context, *worker.Invocation) (*worker.Result, error) // nil succeeds
	deaf      bool                                                              // the end of a context does not end the waiting

	stopped atomic.Bool
	once    sync.Once
	exited  chan struct{}
	exit    worker.Exit
}

func (w *fakeWorker) number() int { return w.n }

var _ worker.Worker = (*fakeWorker)(nil)

func (w *fakeWorker) Start(ctx context.Context) error {
	w.journal.add("start %d", w.n)
	if err := w.hold(ctx, w.startGate); err != nil {
		return err
	}
	return w.startErr
}

func (w *fakeWorker) hold(ctx context.Context, gate chan struct{}) error {
	if gate == nil {
		return nil
	}
	end := ctx.Done()
	if w.deaf {
		end = nil
	}
	select {
	case <-gate:
		return nil
	case <-end:
		return ctx.Err()
	}
}

func (w *fakeWorker) Stop(ctx context.Context) error {
	w.stopped.Store(true)
	w.journal.add("stop %d", w.n)
	err := w.hold(ctx, w.stopGate)
	w.end(worker.Exit{})
	return err
}

// end makes the worker exit by itself.
func (w *fakeWorker) end(e worker.Exit) {
	w.once.Do(func() {
		w.exit = e
		close(w.exited)
	})
}

func (w *fakeWorker) Invoke(ctx context.Context, inv *worker.Invocation) (*worker.Result, error) {
	if w.invoke != nil {
		return w.invoke(ctx, inv)
	}
	return &worker.Result{}, nil
}
func (w *fakeWorker) Exited() <-chan struct{} { return w.exited }
func (w *fakeWorker) Exit() worker.Exit       { return w.exit }
func (w *fakeWorker) PID() int                { return 1000 + w.n }

// journal is a list that can be waited on.
type journal struct {
	mu      sync.Mutex
	entries []string
	changed chan struct{}
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) list() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

func (j *journal) count(entry string) int {
	return j.countIf(func(e string) bool { return e == entry })
}

func (j *journal) countIf(is func(string) bool) int {
	n := 0
	for _, e := range j.list() {
		if is(e) {
			n++
		}
	}
	return n
}

// await waits until entry is in the list n times; it reports whether it was
// before ctx ended.
func (j *journal) await(ctx context.Context, entry string, n int) bool {
	return j.awaitIf(ctx, func(e string) bool { return e == entry }, n)
}

func (j *journal) awaitIf(ctx context.Context, is func(string) bool, n int) bool {
	for {
		j.mu.Lock()
		changed := j.changed
		j.mu.Unlock()
		if j.countIf(is) >= n {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// testClock is a manual clock that says which timers were asked for.
type testClock struct {
	*clock.Manual
	timers *journal
}

func newTestClock() testClock {
	return testClock{clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)), newJournal()}
}

func (c testClock) NewTimer(d time.Duration) clock.Timer {
	t := c.Manual.NewTimer(d)
	c.timers.add("%s", d)
	return t
}
