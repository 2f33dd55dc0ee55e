package eventgrid

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// listener is one function that takes events.
type listener struct {
	endpoint *Endpoint
	name     string
	many     bool
	invoke   func(context.Context, trigger.Call) (*worker.Result, error)
	log      *slog.Logger

	ctx    context.Context // of all its invocations
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	work    sync.WaitGroup
}

// Start implements [trigger.Listener].
func (l *listener) Start(ctx context.Context) error {
	if prepare := l.endpoint.cfg.Prepare; prepare != nil {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.endpoint.replace(l.name, nil, l)
	return nil
}

// Stop implements [trigger.Listener].
func (l *listener) Stop(ctx context.Context) {
	l.endpoint.replace(l.name, l, nil)
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	defer context.AfterFunc(ctx, l.cancel)()
	l.work.Wait()
	l.cancel()
}

// enter counts a delivery in; false when no more is taken.
func (l *listener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	l.work.Add(1)
	return true
}

// deliver invokes the function with events: once with all of them, or for each by
// itself. It waits for all invocations and returns the first error of the first
// event that has one. That the sender hangs up does not break them off: it sends
// the events again, and functions see them twice at most as often as needed.
func (l *listener) deliver(events []event, whole json.RawMessage) error {
	if l.many {
		return l.one(whole, manyData(events), worker.Trace{})
	}
	errs := make([]error, len(events))
	var group sync.WaitGroup
	for i := range events {
		if !l.place() {
			errs[i] = trigger.ErrNotRun
			break
		}
		group.Go(func() {
			defer func() { <-l.endpoint.places }()
			errs[i] = l.run(events[i].raw, events[i].data(), events[i].trace())
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// place waits for the right to invoke; false when the listener has stopped.
func (l *listener) place() bool {
	select {
	case l.endpoint.places <- struct{}{}:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *listener) one(input, data json.RawMessage, t worker.Trace) error {
	if !l.place() {
		return trigger.ErrNotRun
	}
	defer func() { <-l.endpoint.places }()
	return l.run(input, data, t)
}

func (l *listener) run(input, data json.RawMessage, t worker.Trace) error {
	_, err := l.invoke(l.ctx, trigger.Call{Input: input, Metadata: map[string]any{"data": data}, Trace: t})
	return err
}
