package keyring

import (
	"context"

	"github.com/latchkey/latchkey/internal/problem"
)

// flight is a read under way that any number of callers may wait for. It
// belongs to the ring, not to the caller that began it: a client that hangs up
// must not undo the work for the others.
type flight struct {
	done chan struct{}
	err  error // valid once done is closed
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return problem.Wrap(problem.Timeout, "the keys were not read in time", context.Cause(ctx))
	}
}

// begin joins the read of a document that is under way, or begins one. It gives
// nil once the ring is closed.
func (r *Ring) begin(s *Scope, cause Cause) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.beginLocked(s, cause)
}

// beginFirst is begin for a document that is not known yet; it gives nil if it
// is known by now or failed so recently that it is not yet to be tried again.
func (r *Ring) beginFirst(s *Scope) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.known || s.flight == nil && s.fault != nil && r.cfg.Clock.Now().Before(s.fault.retry) {
		return nil
	}
	return r.beginLocked(s, FirstNeed)
}

func (r *Ring) beginLocked(s *Scope, cause Cause) *flight {
	if s.flight != nil || r.closed {
		return s.flight
	}
	f := &flight{done: make(chan struct{})}
	s.flight = f
	r.tasks.Go(func() {
		f.err = r.read(r.life, s, cause)
		r.mu.Lock()
		s.flight = nil
		r.mu.Unlock()
		close(f.done)
	})
	return f
}

// obtain makes sure that a document is known, asking the store whatever
// happened when it was last asked.
func (r *Ring) obtain(ctx context.Context, s *Scope) error {
	r.mu.Lock()
	known := s.known
	r.mu.Unlock()
	if known {
		return nil
	}
	return r.await(ctx, r.begin(s, FirstNeed))
}

func (r *Ring) await(ctx context.Context, f *flight) error {
	if f == nil {
		return problem.New(problem.Unavailable, "the keyring is closed")
	}
	return f.wait(ctx)
}
