package supervise

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Meter is a Runtime that can tell what containers use.
type Meter interface {
	// Usage gives what a running container has used, without its names.
	// problem.NotFound when it does not run, problem.Unsupported where this machine
	// cannot tell.
	Usage(ctx context.Context, id string) (engine.Usage, error)
}

var _ engine.Meter = (*Engine)(nil)

// mostMeters bounds how many containers are asked at a time.
const mostMeters = 4

// Usage implements engine.Meter.
func (e *Engine) Usage(ctx context.Context, ref engine.Ref) ([]engine.Usage, error) {
	m, ok := e.rt.(Meter)
	if !ok {
		return nil, problem.New(problem.Unsupported, e.String()+" does not tell what containers use")
	}
	r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	running := r.running()
	used, found := make([]engine.Usage, len(running)), make([]bool, len(running))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(mostMeters)
	for i, c := range running {
		g.Go(func() error {
			u, err := m.Usage(ctx, c.id)
			if errors.Is(err, problem.NotFound) {
				return nil // it ended meanwhile
			}
			u.Replica, u.Container = c.replica, c.name
			used[i], found[i] = u, true
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []engine.Usage
	for i, u := range used {
		if found[i] {
			out = append(out, u)
		}
	}
	return out, nil
}

// started is a container that runs.
type started struct{ replica, name, id string }

// running gives the main containers that run.
func (r *revision) running() []started {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []started
	for _, p := range r.replicas {
		if p.leaving() {
			continue
		}
		for _, c := range p.mains {
			if id, running := c.current(); running {
				out = append(out, started{p.name, c.spec.Name, id})
			}
		}
	}
	return out
}
