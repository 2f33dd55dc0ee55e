package state

import (
	"context"

	"github.com/latchkey/latchkey/internal/problem"
)

// Held gives a context for work under a lease: it ends when the lease does, with
// an ErrUnavailable as cause. Call cancel when the work is done.
func Held(ctx context.Context, l Lease) (held context.Context, cancel context.CancelFunc) {
	held, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-l.Lost():
			end(problem.New(ErrUnavailable, "the lease was lost"))
		case <-held.Done():
		}
	}()
	return held, func() { end(context.Canceled) }
}
