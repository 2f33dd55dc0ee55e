package kubernetes

import (
	"context"
	"errors"
	"sync"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// reads lets loads of different documents that come at the same time share one
// read of the object, which has them all. Nobody is given what was read before
// they asked.
type reads struct {
	one  chan struct{} // held while a read goes on
	mu   sync.Mutex
	next *shared // not begun yet; nil if nobody waits
}

// shared is one read and who waits for it.
type shared struct {
	done  chan struct{} // closed when state and err are set
	state state
	err   error
}

func newReads() *reads { return &reads{one: make(chan struct{}, 1)} }

// get gives what the object has now, read by get. What it gives must not be changed.
func (r *reads) get(ctx context.Context, get func(context.Context) (state, error)) (state, error) {
	for {
		r.mu.Lock()
		s, first := r.next, r.next == nil
		if first {
			s = &shared{done: make(chan struct{})}
			r.next = s
		}
		r.mu.Unlock()
		if first {
			r.lead(ctx, s, get)
			return s.state, s.err
		}
		select {
		case <-s.done:
		case <-ctx.Done():
			return state{}, keystore.Alive(ctx)
		}
		if !errors.Is(s.err, problem.Timeout) { // otherwise it was who read that had no more time
			return s.state, s.err
		}
	}
}

// lead reads once no other read goes on.
func (r *reads) lead(ctx context.Context, s *shared, get func(context.Context) (state, error)) {
	defer close(s.done)
	select {
	case r.one <- struct{}{}:
		defer func() { <-r.one }()
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.next = nil // who comes now is too late for this read
	r.mu.Unlock()
	if s.err = keystore.Alive(ctx); s.err == nil {
		s.state, s.err = get(ctx)
	}
}
