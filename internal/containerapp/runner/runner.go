// Package runner owns that container apps run as they are wanted: it follows the
// control plane, places the active revisions of apps that are not stopped on an
// engine, ends what is not wanted any more, and reports how revisions are doing. It
// does not know which engine it is, where secrets come from, how many replicas a
// revision needs, or how requests come to them: it asks, and it tells.
package runner

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Config is what a Runner works with. What can be nil is said so.
type Config struct {
	Apps  *containerapp.Apps
	Store state.Store // of the apps' documents, to be followed
	// Open opens the engine, which must call changed as [engine.Config] says. It is
	// called again, with pauses, while it fails; revisions fail with its error until
	// then. The Runner closes the engine.
	Open func(ctx context.Context, changed func(engine.Ref)) (engine.Engine, error)
	// Secrets gives the values of all secrets of an app by name. Its error names the
	// secret, the vault and the identity, and is what the revision fails with; it is
	// asked again with pauses. Who knows that a value changed calls
	// [containerapp.Apps.Touch]. nil gives those that were set by value.
	Secrets func(ctx context.Context, a containerapp.App) (map[string]string, error)
	// Replicas says how many replicas a revision is to have now; changes come by
	// [Runner.Scale]. nil gives the least, but one.
	Replicas func(ref engine.Ref, s containerapp.Scale) int
	// Env gives what containers of a revision find in their environment besides their
	// own variables, which stand above it. nil gives none.
	Env func(ctx context.Context, a containerapp.App, r containerapp.Revision) ([]engine.Env, error)
	// Seen is told of an app and its revisions, those that are not active included,
	// whenever something about them changed, before they are placed; an app that is
	// being deleted has none. Gone is told of an app that is not there any more, by the
	// App of its engine.Ref. Both are called one at a time for each app. Changed is told
	// of every change of a revision on the engine. None of them may block.
	Seen    func(View)
	Gone    func(app string)
	Changed func(engine.Ref)

	// Drain is called before a revision is ended, after Seen or Gone told of it; it
	// returns when nothing is under way for it any more, or not worth waiting for. nil
	// ends revisions at once.
	Drain func(ctx context.Context, ref engine.Ref)

	Clock clock.Clock
	Log   *slog.Logger
}

// View is an app with its revisions, the oldest first.
type View struct {
	App       containerapp.App
	Revisions []containerapp.Revision
}

// Ref gives how an engine knows a revision of an app.
func Ref(a containerapp.App, revision string) engine.Ref {
	return engine.Ref{App: a.ID.String(), Revision: revision}.Key()
}

// Limits of what is done at a time, and pauses between attempts.
const (
	atOnce     = 8 // apps that are worked on
	firstPause = 500 * time.Millisecond
	mostPause  = 30 * time.Second
	openFirst  = time.Second
)

// Runner keeps apps running. Its methods are safe for concurrent use; one goroutine,
// that of Run, decides what is worked on.
type Runner struct {
	cfg  Config
	wake chan struct{} // buffered by one: something is to be done

	mu     sync.Mutex
	items  map[string]*item // by the key of the app's id
	known  bool             // the control plane was read
	told   bool             // Seen was told of every app that was there then
	busy   int              // items that are worked on
	engine engine.Engine    // nil until it was opened
	noOpen error            // why it was not
	ready  chan struct{}    // closed when everything was placed once

	removals sync.WaitGroup // of revisions, which end with the context of Run
}

// New makes a Runner, which does nothing before Run.
func New(cfg Config) *Runner {
	if cfg.Secrets == nil {
		cfg.Secrets = func(_ context.Context, a containerapp.App) (map[string]string, error) { return a.Secrets, nil }
	}
	if cfg.Seen == nil {
		cfg.Seen = func(View) {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func(engine.Ref) {}
	}
	if cfg.Gone == nil {
		cfg.Gone = func(string) {}
	}
	if cfg.Replicas == nil {
		cfg.Replicas = func(_ engine.Ref, s containerapp.Scale) int { return least(s) }
	}
	return &Runner{cfg: cfg, wake: make(chan struct{}, 1), items: map[string]*item{}, ready: make(chan struct{}),
		noOpen: errNotAsked}
}

// errNotAsked stands until the engine was opened for the first time, or could not be.
var errNotAsked = problem.New(problem.Unavailable, "the container engine was not asked yet")

// least gives how many replicas a revision has when nobody scales it.
func least(s containerapp.Scale) int {
	if s.MinReplicas == nil {
		return 1
	}
	return max(1, *s.MinReplicas)
}

// Run keeps apps running until ctx ends; then the engine is closed, so that what can
// outlive Latchkey goes on.
func (r *Runner) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { r.open(ctx) })
	work.Go(func() {
		state.Follow(ctx, r.cfg.Store, inventory.TypePrefix(containerapp.Type), r.cfg.Clock, (*follower)(r))
	})
	r.decide(ctx, &work)
	work.Wait()
	r.removals.Wait()
	r.mu.Lock()
	e := r.engine
	r.engine, r.noOpen = nil, problem.New(problem.Unavailable, "this node is ending")
	r.mu.Unlock()
	if e != nil {
		if err := e.Close(); err != nil {
			r.cfg.Log.Warn("the container engine was not closed as it should be", "reason", err)
		}
	}
}

// open opens the engine, however long that takes.
func (r *Runner) open(ctx context.Context) {
	for wait := openFirst; ; wait = min(2*wait, mostPause) {
		e, err := r.cfg.Open(ctx, r.changed)
		if ctx.Err() != nil {
			if err == nil {
				_ = e.Close()
			}
			return
		}
		r.mu.Lock()
		first := r.engine == nil && (err == nil || r.noOpen.Error() != err.Error())
		r.engine, r.noOpen = e, err
		if err != nil {
			r.engine = nil
		}
		for _, it := range r.items {
			it.stir(first)
		}
		r.mu.Unlock()
		r.nudge()
		if err == nil {
			r.cfg.Log.Info("container apps run", "engine", e.String())
			return
		}
		if errors.Is(err, problem.Unsupported) || clock.Sleep(ctx, r.cfg.Clock, wait) != nil {
			return // it never will
		}
	}
}

// Engine gives the engine, or why there is none.
func (r *Runner) Engine() (engine.Engine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine == nil {
		return nil, r.noOpen
	}
	return r.engine, nil
}

// Told reports whether Seen was told of every app there is once.
func (r *Runner) Told() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

// Ready is closed when everything that is wanted was placed once.
func (r *Runner) Ready() <-chan struct{} { return r.ready }

// Observe tells what a revision's replicas are doing; problem.NotFound if it is not
// placed.
func (r *Runner) Observe(ctx context.Context, ref engine.Ref) (engine.Status, error) {
	e, err := r.Engine()
	if err != nil {
		return engine.Status{}, err
	}
	return e.Observe(ctx, ref)
}

// Scale sets the number of replicas of a revision until the next change;
// problem.NotFound if it is not placed.
func (r *Runner) Scale(ctx context.Context, ref engine.Ref, replicas int) error {
	e, err := r.Engine()
	if err != nil {
		return err
	}
	return e.Scale(ctx, ref, replicas)
}

// Addresses gives where ready replicas of a revision serve a port, as host:port.
func (r *Runner) Addresses(ctx context.Context, ref engine.Ref, port int) []string {
	s, err := r.Observe(ctx, ref)
	if err != nil {
		return nil
	}
	var list []string
	for _, one := range s.Replicas {
		if at := one.Addresses[port]; at != "" && one.Ready {
			list = append(list, at)
		}
	}
	return list
}

func (r *Runner) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
