package release

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
)

// DeployerConfig is what a [Deployer] needs. Releases and Activate are required.
type DeployerConfig struct {
	Releases *Releases
	// Activate makes a release the one that the app runs.
	Activate func(ctx context.Context, app, id, by string) error
	Keep     int          // releases kept of each app besides the active one; 10
	AtOnce   int          // deployments at once on this node; 4
	Log      *slog.Logger // nil: discarded
}

// Deployer takes packages from their arrival to the app running them. It is safe
// for concurrent use. Close it at the end.
type Deployer struct {
	cfg   DeployerConfig
	slots chan struct{}
	life  context.Context // ends with Close
	end   context.CancelFunc

	mu     sync.Mutex
	closed bool
	tasks  sync.WaitGroup
}

// NewDeployer makes a deployer.
func NewDeployer(cfg DeployerConfig) *Deployer {
	cfg.Keep, cfg.AtOnce = or(cfg.Keep, 10), or(cfg.AtOnce, 4)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Deployer{cfg: cfg, slots: make(chan struct{}, cfg.AtOnce)}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Close ends deployments in progress, which fail, and waits for them.
func (d *Deployer) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end()
	d.tasks.Wait()
}

// Deploy takes a zip and gives the release once the app has been told to run it.
// Errors are those of [Releases.Begin], [Deployment.Build] and Activate;
// problem.Throttled when this node has enough to do. A caller who goes away does
// not end it once the zip has arrived.
func (d *Deployer) Deploy(ctx context.Context, app string, zip io.Reader, meta Meta) (Release, error) {
	done := make(chan result, 1)
	if _, err := d.start(ctx, app, zip, meta, func(r result) { done <- r }); err != nil {
		return Release{}, err
	}
	select {
	case r := <-done:
		return r.release, r.err
	case <-ctx.Done():
		return Release{}, ctx.Err()
	}
}

// DeployLater takes a zip and gives the release as soon as all of it has arrived.
// The rest goes on by itself; [Releases.Get] tells how it went.
func (d *Deployer) DeployLater(ctx context.Context, app string, zip io.Reader, meta Meta) (Release, error) {
	return d.start(ctx, app, zip, meta, func(result) {})
}

type result struct {
	release Release
	err     error
}

// start receives the zip and leaves the rest to a goroutine.
func (d *Deployer) start(ctx context.Context, app string, zip io.Reader, meta Meta, tell func(result)) (Release, error) {
	release, err := d.slot()
	if err != nil {
		return Release{}, err
	}
	dep, err := d.cfg.Releases.Begin(ctx, app, meta)
	if err != nil {
		release()
		return Release{}, err
	}
	if err := dep.Receive(ctx, zip); err != nil {
		release()
		return dep.Release(), errors.Join(err, dep.Close(ctx))
	}
	begun := dep.Release()
	go func() {
		rel, err := d.guarded(dep)
		release()
		tell(result{rel, err})
	}()
	return begun, nil
}

// slot takes part in what may go on at once, or fails.
func (d *Deployer) slot() (release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, problem.New(problem.Unavailable, "the server is stopping").WithNext("deploy again later")
	}
	select {
	case d.slots <- struct{}{}:
		d.tasks.Add(1)
		return func() { <-d.slots; d.tasks.Done() }, nil
	default:
		return nil, problem.New(problem.Throttled, "too many deployments are in progress on this node").WithNext("deploy again later")
	}
}

// guarded is finish for what strangers send: a package that makes a reader of it
// panic fails by itself, and does not end the apps of all others.
func (d *Deployer) guarded(dep *Deployment) (rel Release, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.cfg.Log.Error("a deployment panicked; please report this", "app", dep.Release().App, "release", dep.Release().ID, "panic", p, "stack", string(debug.Stack()))
			err = errors.Join(problem.New(problem.Internal, "an internal error ended the deployment"), dep.Close(d.life))
			rel = dep.Release()
		}
	}()
	return d.finish(dep)
}

// finish builds, activates and clears what is too old.
func (d *Deployer) finish(dep *Deployment) (Release, error) {
	rel, err := dep.Build(d.life)
	if err != nil {
		return rel, errors.Join(err, dep.Close(d.life))
	}
	activation := d.activate(rel)
	err = dep.Close(d.life, activation)
	if activation != nil {
		return dep.Release(), activation
	}
	if err != nil {
		return dep.Release(), err
	}
	if err := d.cfg.Releases.Prune(d.life, rel.App, d.cfg.Keep, rel.ID); err != nil {
		d.cfg.Log.Warn("old releases could not be removed", "app", rel.App, "reason", err)
	}
	return dep.Release(), nil
}

func (d *Deployer) activate(rel Release) error {
	ctx, stop := context.WithTimeout(d.life, writeGrace)
	defer stop()
	return d.cfg.Activate(ctx, rel.App, rel.ID, rel.By)
}

// Activate makes a release of an app that is Ready the active one, for going back
// to an earlier one. problem.NotFound and problem.Conflict as for
// [Releases.Folder].
func (d *Deployer) Activate(ctx context.Context, app, id, by string) (Release, error) {
	rel, err := d.cfg.Releases.ready(ctx, app, id)
	if err != nil {
		return rel, err
	}
	return rel, d.cfg.Activate(ctx, app, id, by)
}
