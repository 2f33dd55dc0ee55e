package reference

import (
	"context"
	"sync/atomic"
)

// gate lets one piece of work at a time onto the references of an app, so that
// copies that open together do not fetch the same twice.
type gate struct {
	place chan struct{}
	users int // guarded by Resolver.mu
	// served says that somebody did not wait and took the values as they were.
	served atomic.Bool
}

// enter waits for an app's gate; leave must be called. When ctx ends first, the
// error is ctx's; the gate is then marked as served, and leave must be called too.
func (r *Resolver) enter(ctx context.Context, uid string) (g *gate, leave func(), err error) {
	r.mu.Lock()
	g = r.gates[uid]
	if g == nil {
		g = &gate{place: make(chan struct{}, 1)}
		r.gates[uid] = g
	}
	g.users++
	r.mu.Unlock()
	select {
	case g.place <- struct{}{}:
		return g, func() { <-g.place; r.drop(uid, g) }, nil
	case <-ctx.Done():
		g.served.Store(true)
		return g, func() { r.drop(uid, g) }, ctx.Err()
	}
}

func (r *Resolver) drop(uid string, g *gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(r.gates, uid)
	}
}
