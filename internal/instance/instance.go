// Package instance owns one running app: reading its folder, starting and
// replacing its worker, restarting when files change, going offline, draining.
// It publishes what is being served as an immutable [Live] value and its state
// as a [Status]. It does not know keys, routes' callers or HTTP dialects.
package instance

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// Config says what an instance is made of.
type Config struct {
	Root  string // absolute path of the app folder
	Clock clock.Clock
	Log   *slog.Logger

	// Load reads the app anew at each (re)start. It must not write to the folder.
	Load func() (*Model, error)
	// NewWorker makes a worker that has not been started.
	NewWorker func(*Model) (worker.Worker, error)
	// Index gives the model with the functions that a worker found in place of
	// those of the files; nil for an app whose worker does not look for them.
	Index func(*Model, []funcapp.Function) *Model

	Watch       bool          // restart when files of the app change
	StopTimeout time.Duration // for draining and for stopping a worker; default 10 s
	InitTimeout time.Duration // for a worker to take work, unless it is [worker.Patient]; default 60 s

	Triggers Triggers // of functions that no request asks for

	OnModel   func(*Model) // called whenever a model has been loaded, before it serves
	OnRestart func()       // called whenever a worker is started by itself in place of one that crashed or did not start
}

// Instance runs one app. Run is called once; all other methods may be called
// from any goroutine at any time.
type Instance struct {
	cfg Config

	live  atomic.Pointer[Live]  // nil while nothing can be served
	model atomic.Pointer[Model] // newest loaded model, kept through errors

	mu      sync.Mutex
	status  Status
	changed chan struct{}      // closed and replaced when status or live changes
	retired map[*Live]struct{} // replaced, not stopped yet

	restarts chan string // the reason of at most one pending request
	draining atomic.Bool
	waiting  atomic.Int64 // callers in await
	calls    atomic.Int64 // calls of functions with data
	retries  atomic.Int64 // of them those that wait for their next attempt
	ears     ears
	running  sync.WaitGroup // background stops of workers
}

// New makes an instance that is not running yet.
func New(cfg Config) *Instance {
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 10 * time.Second
	}
	if cfg.InitTimeout == 0 {
		cfg.InitTimeout = 60 * time.Second
	}
	return &Instance{
		cfg:      cfg,
		status:   Status{State: Default, Since: cfg.Clock.Now()},
		changed:  make(chan struct{}),
		retired:  map[*Live]struct{}{},
		restarts: make(chan string, 1),
	}
}

// Model gives the newest model that was loaded, also while the app is in error
// or offline; nil before the first load.
func (i *Instance) Model() *Model { return i.model.Load() }

// Restart asks for a restart; it returns at once. Requests that come while one
// is pending are merged. A start in progress is broken off for it, and a wait
// after a failure ends.
func (i *Instance) Restart(reason string) {
	select {
	case i.restarts <- reason:
	default:
	}
}

// Enter gives what is being served and counts the caller in until it calls
// Leave. While the worker is starting it waits, at most for patience or until
// ctx ends. It returns problem.Unavailable when nothing can be served: at once
// in state Error, Offline and Stopping, after the wait otherwise.
func (i *Instance) Enter(ctx context.Context, patience time.Duration) (*Live, error) {
	if l := i.live.Load(); l != nil && l.enter() {
		return l, nil
	}
	return i.await(ctx, patience)
}

func (i *Instance) await(ctx context.Context, patience time.Duration) (*Live, error) {
	defer i.waiting.Add(-1)
	if i.waiting.Add(1) > maxWaiting {
		return nil, errNotRunning
	}
	timer := i.cfg.Clock.NewTimer(patience)
	defer timer.Stop()
	for {
		i.mu.Lock()
		changed, state := i.changed, i.status.State
		i.mu.Unlock()
		if l := i.live.Load(); l != nil && l.enter() {
			return l, nil
		}
		if !state.mayRecoverSoon() {
			return nil, errNotRunning
		}
		select {
		case <-changed:
		case <-timer.C():
			return nil, errNotRunning
		case <-ctx.Done():
			return nil, worker.ErrClientGone
		}
	}
}

// maxWaiting bounds the requests that wait for an app to start: nobody has asked
// yet whether they may be served at all.
const maxWaiting = 1000

// errNotRunning carries the host's own words (keys §1.7).
var errNotRunning = problem.New(problem.Unavailable, "Function host is not running.")

// AwaitState waits until the instance is in one of the states or ctx ends.
func (i *Instance) AwaitState(ctx context.Context, states ...State) (Status, error) {
	for {
		i.mu.Lock()
		changed, status := i.changed, i.status
		i.mu.Unlock()
		for _, s := range states {
			if status.State == s {
				return status, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status, ctx.Err()
		}
	}
}

// Status gives the current state.
func (i *Instance) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// set publishes a new state together with what is served in it. It gives what
// was served before, which takes no more work and is now the caller's to stop.
// Only Run's goroutine calls it.
func (i *Instance) set(state State, live *Live, errs ...string) *Live {
	i.mu.Lock()
	old := i.live.Swap(live)
	if old != nil {
		i.retired[old] = struct{}{}
	}
	if i.status.State != state {
		i.status = Status{State: state, Since: i.cfg.Clock.Now()}
	}
	if len(errs) > 0 { // else the reasons stay until the state changes
		i.status.Errors = errs
	}
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
	if old != nil {
		old.close()
	}
	return old
}

// Workers gives the process ids of the workers now serving.
func (i *Instance) Workers() []int {
	l := i.live.Load()
	if l == nil {
		return nil
	}
	if g, ok := l.Worker.(worker.Group); ok {
		return g.PIDs()
	}
	return []int{l.Worker.PID()}
}

// Faults gives the faults of the newest model: of the app and of its functions.
func (m *Model) Faults() []funcapp.Fault {
	faults := append([]funcapp.Fault(nil), m.App.Faults...)
	for i := range m.Functions {
		faults = append(faults, m.Functions[i].Faults...)
	}
	return faults
}

// Drain stops the app's listeners until Resume or a restart of the process: they
// take no more work, what is in progress ends in its own time, retries included.
// Requests go on being served, so that a load balancer can move its callers away.
func (i *Instance) Drain() {
	i.draining.Store(true)
	i.ears.mu.Lock()
	defer i.ears.mu.Unlock()
	if i.ears.set != nil {
		i.ears.set.pause()
	}
}

// Draining reports whether Drain was called since the last Resume.
func (i *Instance) Draining() bool { return i.draining.Load() }

// Resume ends draining by a restart. It returns problem.Conflict unless the app
// is running, and does nothing if it is not draining.
func (i *Instance) Resume() error {
	if s := i.Status().State; s != Running {
		return problem.New(problem.Conflict, "the host is in state "+string(s))
	}
	if i.draining.CompareAndSwap(true, false) {
		i.Restart("resumed")
	}
	return nil
}

// Outstanding gives the number of invocations in progress, those on workers
// that are being replaced included.
func (i *Instance) Outstanding() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	if l := i.live.Load(); l != nil {
		n = l.Outstanding()
	}
	for l := range i.retired {
		n += l.Outstanding()
	}
	return n
}
