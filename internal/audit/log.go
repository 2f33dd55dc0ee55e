package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	batchEvents = 50
	batchBytes  = state.MaxValue / 4 // the largest event fits into what is left of a write
	queueLength = 256                // events that Append may have waiting
	mergeWithin = time.Minute        // repeated events are merged for as long
	maxPending  = 1000               // events that are waiting, and kinds being merged, of denials and of others
	writeWithin = 15 * time.Second   // one write to the store
	retryAfter  = time.Second        // recorded events that could not be written are tried again
)

// Log appends events to the chain. It is safe for concurrent use; several Logs, in
// several processes, can append to one chain. Close it.
type Log struct {
	// Node is put into events that name none. Set it before use.
	Node string

	store state.Store
	clock clock.Clock
	log   *slog.Logger
	queue chan request
	wake  chan struct{} // there are recorded events to write
	ctx   context.Context
	stop  context.CancelFunc // ends the store's calls
	quit  chan struct{}      // closed when no more is taken in
	done  chan struct{}      // closed when the owner has ended
	once  sync.Once
	tail  tail // the owner's

	recent recent

	mu             sync.Mutex
	denied, others *pending
	retryNot       time.Time // before it, they are not tried again
}

// request is an event whose sender waits.
type request struct {
	event Event
	done  chan error // buffered by one
}

// New gives a log on a store, and starts what appends to it.
func New(store state.Store, c clock.Clock, log *slog.Logger) *Log {
	ctx, stop := context.WithCancel(context.Background())
	l := &Log{
		store: store, clock: c, log: log, ctx: ctx, stop: stop,
		queue: make(chan request, queueLength), wake: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
		denied: newPending(), others: newPending(),
	}
	go l.own()
	return l
}

// Append adds an event and returns when it is durable. Errors:
// problem.Unavailable when the store cannot be reached or the log is closed, ctx's
// when that ends; the event may have been added all the same.
func (l *Log) Append(ctx context.Context, e Event) error {
	req := request{l.complete(e).detailed(), make(chan error, 1)}
	select {
	case <-l.quit:
		return errClosed()
	default:
	}
	select {
	case l.queue <- req:
	case <-l.quit:
		return errClosed()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		select {
		case err := <-req.done:
			return err
		default:
			return errClosed()
		}
	}
}

func (l *Log) complete(e Event) Event {
	if e.Time.IsZero() {
		e.Time = l.clock.Now()
	}
	if e.Node == "" {
		e.Node = l.Node
	}
	e.Source = address(e.Source)
	return e.fit()
}

func errClosed() error { return problem.New(problem.Unavailable, "the audit log is closed") }

// Close takes no more events, writes those it has and ends, at the latest when ctx
// does, whose error it returns then.
func (l *Log) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.quit) })
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		l.stop()
		<-l.done
		return ctx.Err()
	}
}

// own is the one goroutine that appends.
func (l *Log) own() {
	defer close(l.done)
	defer l.stop()
	for {
		timer := l.clock.NewTimer(l.nextDue())
		select {
		case req := <-l.queue:
			l.write(l.gather(req))
		case <-l.wake:
			l.write(l.gather())
		case <-timer.C():
			l.write(l.gather())
		case <-l.quit:
			timer.Stop()
			l.drain()
			return
		}
		timer.Stop()
	}
}

// drain writes what was taken in before the log was closed; what cannot be
// written is given up.
func (l *Log) drain() {
	l.mergeAll()
	for l.ctx.Err() == nil {
		batch := l.gather()
		if len(batch) == 0 || !l.write(batch) {
			break
		}
	}
	for {
		select {
		case req := <-l.queue:
			req.done <- errClosed()
		default:
			return
		}
	}
}

// gather makes a batch of what is waiting, beginning with first: senders that
// wait, then recorded events that are due.
func (l *Log) gather(first ...request) []request {
	batch, size := first, 0
	for _, req := range first {
		size += req.event.size()
	}
	for len(batch) < batchEvents && size < batchBytes {
		select {
		case req := <-l.queue:
			batch, size = append(batch, req), size+req.event.size()
			continue
		default:
		}
		e, more := l.takeRecorded()
		if !more {
			break
		}
		batch, size = append(batch, request{event: e}), size+e.size()
	}
	return batch
}

// size is the most that the event can take when it is stored, where a byte can
// become six.
func (e Event) size() int {
	n := len(e.Category) + len(e.Action) + len(e.Scope) + len(e.Principal.ObjectID) + len(e.Principal.AppID) + len(e.Principal.Name) +
		len(e.Source) + len(e.Outcome) + len(e.Reason) + len(e.CorrelationID) + len(e.Node)
	for name, value := range e.Details {
		n += len(name) + len(value) + 1
	}
	return 600 + 6*n
}

// write appends a batch and answers its senders; recorded events that could not
// be written are put back.
func (l *Log) write(batch []request) bool {
	if len(batch) == 0 {
		return true
	}
	events := make([]Event, len(batch))
	for i, req := range batch {
		events[i] = req.event
	}
	err := l.append(events)
	if err != nil {
		l.log.Error("audit events could not be written", "events", len(events), "error", err)
	}
	for i := len(batch) - 1; i >= 0; i-- {
		if batch[i].done != nil {
			batch[i].done <- err
		} else if err != nil {
			l.putBack(batch[i].event)
		}
	}
	return err == nil
}
