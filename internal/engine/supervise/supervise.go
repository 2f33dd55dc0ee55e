package supervise

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Engine is an engine.Engine on top of a Runtime.
type Engine struct {
	cfg    engine.Config
	rt     Runtime
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	revisions map[engine.Ref]*revision
}

var _ engine.Engine = (*Engine)(nil)

// New makes an engine of a runtime; Close ends both.
func New(cfg engine.Config, rt Runtime) *Engine {
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{cfg: cfg, rt: rt, ctx: ctx, cancel: cancel, revisions: map[engine.Ref]*revision{}}
}

// String names the runtime.
func (e *Engine) String() string { return e.rt.String() }

// Place implements engine.Engine.
func (e *Engine) Place(ctx context.Context, spec engine.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := e.distinct(spec); err != nil {
		return err
	}
	spec.Ref = spec.Key()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return problem.New(problem.Unavailable, "the engine was closed")
	}
	if r := e.revisions[spec.Ref]; r != nil {
		if r.removing() {
			return problem.New(problem.Conflict, spec.Ref.String()+" is being removed").WithNext("place it again when it is gone")
		}
		r.want(spec)
		return nil
	}
	r := newRevision(e, spec)
	e.revisions[spec.Ref] = r
	e.work.Go(r.keep)
	return nil
}

// distinct refuses a container with the name of the sidecar: it would take its place.
func (e *Engine) distinct(spec engine.Spec) (err error) {
	side := e.rt.Sidecar()
	spec.Containers(func(_ engine.Role, c engine.Container) {
		if side != nil && c.Name == side.Name {
			err = problem.New(problem.Invalid, "field 'containers' has the name "+c.Name+", which is that of Latchkey's sidecar").WithNext("give the container another name")
		}
	})
	return err
}

func (e *Engine) find(ref engine.Ref) (*revision, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.revisions[ref.Key()]; r != nil {
		return r, nil
	}
	return nil, problem.New(problem.NotFound, ref.String()+" is not placed")
}

// Scale implements engine.Engine.
func (e *Engine) Scale(ctx context.Context, ref engine.Ref, replicas int) error {
	if replicas < 0 {
		return problem.New(problem.Invalid, "field 'replicas' must not be negative")
	}
	r, err := e.find(ref)
	if err != nil {
		return err
	}
	r.scale(replicas)
	return nil
}

// Observe implements engine.Engine.
func (e *Engine) Observe(ctx context.Context, ref engine.Ref) (engine.Status, error) {
	r, err := e.find(ref)
	if err != nil {
		return engine.Status{}, err
	}
	return r.status(), nil
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, ref engine.Ref) error {
	if r, err := e.find(ref); err == nil {
		r.end()
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := e.removeAll(ctx, func(o engine.Object) bool { return o.Revision.Key() == ref.Key() })
	return err
}

// List implements engine.Engine.
func (e *Engine) List(ctx context.Context) ([]engine.Object, error) {
	found, err := e.rt.List(ctx)
	out := make([]engine.Object, len(found))
	for i, f := range found {
		out[i] = f.Object
	}
	return out, err
}

// Sweep implements engine.Engine.
func (e *Engine) Sweep(ctx context.Context, keep func(engine.Ref) bool) ([]engine.Object, error) {
	return e.removeAll(ctx, func(o engine.Object) bool {
		r, err := e.find(o.Revision)
		if err == nil {
			return !r.has(o.Replica)
		}
		return keep == nil || !keep(o.Revision)
	})
}

// removeAll removes the replicas whose objects match.
func (e *Engine) removeAll(ctx context.Context, which func(engine.Object) bool) ([]engine.Object, error) {
	found, err := e.rt.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Object
	var replicas []string
	for _, f := range found {
		if which(f.Object) {
			out = append(out, f.Object)
			replicas = append(replicas, f.Replica)
		}
	}
	slices.Sort(replicas)
	var faults []error
	for _, name := range slices.Compact(replicas) {
		faults = append(faults, e.rt.Remove(ctx, name))
	}
	return out, errors.Join(faults...)
}

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, of engine.Target, opts engine.LogOptions, w io.Writer) error {
	id, _, err := e.target(of)
	if err != nil {
		return err
	}
	return e.rt.Logs(ctx, id, opts, w)
}

// Exec implements engine.Engine.
func (e *Engine) Exec(ctx context.Context, in engine.Target, cmd engine.Exec) (int, error) {
	if len(cmd.Command) == 0 {
		return 0, problem.New(problem.Invalid, "field 'command' must not be empty")
	}
	id, running, err := e.target(in)
	if err != nil {
		return 0, err
	}
	if !running {
		return 0, problem.New(problem.Conflict, "the container does not run")
	}
	return e.rt.Exec(ctx, id, cmd)
}

func (e *Engine) target(t engine.Target) (id string, running bool, err error) {
	r, err := e.find(t.Revision)
	if err != nil {
		return "", false, err
	}
	id, running = r.container(t.Replica, t.Container)
	if id == "" {
		return "", false, problem.New(problem.NotFound, "no such container was started in "+t.Revision.String())
	}
	return id, running, nil
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.work.Wait()
	return e.rt.Close()
}

func (e *Engine) forget(ref engine.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.revisions, ref)
}
