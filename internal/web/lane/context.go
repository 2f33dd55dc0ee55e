package lane

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"time"
)

// requestContext is a request's context. It ends when the request does, or when
// the client hangs up; but the client is watched only once somebody asks for
// Done, because most requests are answered before anybody does.
type requestContext struct {
	conn *conn

	mu      sync.Mutex
	done    chan struct{} // nil until asked for
	err     error
	watched chan struct{} // closed when the watching goroutine has ended; nil if there is none
}

var _ context.Context = (*requestContext)(nil)

// Deadline reports that there is none.
func (r *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value has none.
func (r *requestContext) Value(any) any { return nil }

// Err gives context.Canceled once the context has ended.
func (r *requestContext) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Done gives the channel that is closed at the end, and starts watching the
// client the first time it is asked for.
func (r *requestContext) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
		if r.err != nil {
			close(r.done)
		} else {
			r.watched = make(chan struct{})
			go r.watch()
		}
	}
	return r.done
}

// watch waits for the client to hang up. The handler does not read from the
// connection (the body was read before), so the watcher may. A client that sends
// its next request early can't be watched further, as with net/http.
func (r *requestContext) watch() {
	defer close(r.watched)
	_ = r.conn.nc.SetReadDeadline(time.Time{})
	if r.ended() {
		return
	}
	if _, err := r.conn.br.Peek(r.conn.br.Buffered() + 1); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		r.cancel()
	}
}

func (r *requestContext) ended() bool { return r.Err() != nil }

func (r *requestContext) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = context.Canceled
		if r.done != nil {
			close(r.done)
		}
	}
}

// finish ends the context and the watching goroutine. The connection can be read
// again after it.
func (r *requestContext) finish() {
	r.cancel()
	r.mu.Lock()
	watched := r.watched
	r.mu.Unlock()
	if watched == nil {
		return
	}
	// The watcher clears the deadline before it looks whether the context has
	// ended, and that was set above: it can't miss this.
	_ = r.conn.nc.SetReadDeadline(time.Unix(1, 0))
	<-watched
	r.conn.deadlineSet = time.Time{}
}
