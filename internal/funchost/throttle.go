package funchost

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// throttle bounds the requests of an app: outstanding ones (queued and running)
// are refused above a limit, running ones wait for a place (runtime §9.2). A nil
// throttle bounds nothing.
type throttle struct {
	outstanding    atomic.Int64
	maxOutstanding int64 // <= 0 is no limit
	places         chan struct{}
}

func newThrottle(c funcapp.HTTPConfig) *throttle {
	if c.MaxOutstandingRequests <= 0 && c.MaxConcurrentRequests <= 0 {
		return nil
	}
	t := &throttle{maxOutstanding: int64(c.MaxOutstandingRequests)}
	if c.MaxConcurrentRequests > 0 {
		t.places = make(chan struct{}, c.MaxConcurrentRequests)
	}
	return t
}

var errTooManyRequests = problem.New(problem.Throttled, "too many requests in progress")

// queue counts a request in, or refuses it; leave must follow unless it fails.
func (t *throttle) queue() error {
	if t == nil {
		return nil
	}
	if n := t.outstanding.Add(1); t.maxOutstanding > 0 && n > t.maxOutstanding {
		t.outstanding.Add(-1)
		return errTooManyRequests
	}
	return nil
}

func (t *throttle) leave() {
	if t != nil {
		t.outstanding.Add(-1)
	}
}

// take waits for a place to run in; give must follow unless it fails. A place is
// held while the function runs, not while a client sends or reads at its leisure.
func (t *throttle) take(ctx context.Context) error {
	if t == nil || t.places == nil {
		return nil
	}
	select {
	case t.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return worker.ErrClientGone
	}
}

func (t *throttle) give() {
	if t != nil && t.places != nil {
		<-t.places
	}
}

// scaleOut is the header by which the stock host asks for more instances when it
// refuses work.
func scaleOut(h http.Header) { h["X-Function-Scaleout"] = []string{"1"} }
