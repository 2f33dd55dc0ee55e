package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// outgoing bounds the messages that wait for a worker to take them.
const outgoing = 256

// channel is one process and its stream, from its start to its end. It is gone
// when either ends or when a message breaks the protocol beyond use.
type channel struct {
	w    *Worker
	id   string
	said child.Tail // last lines of both outputs
	errs child.Tail // last lines of standard error
	proc *child.Process

	out      chan *wire.StreamingMessage
	arrived  chan struct{} // closed when the stream is there
	finished chan struct{} // closed when the stream, once there, has ended
	gone     chan struct{} // closed when the channel takes no more work
	reaped   chan struct{} // closed when the process has ended and its output was read
	once     sync.Once
	err      error        // why; written before gone is closed
	replaced atomic.Bool  // it is ended on purpose, for another one to take its place
	busy     atomic.Int64 // invocations it was chosen for

	talk sync.Mutex // held by the one exchange of control messages at a time

	mu       sync.Mutex
	calls    map[string]*call
	listener func(*wire.StreamingMessage) bool // takes control messages until it gives true
	heard    chan struct{}
	caps     capabilities
	failures map[string]error // of loads, by function id
	proxy    *proxy           // nil when the worker takes no requests as they are
}

func newChannel(w *Worker) *channel {
	return &channel{
		w: w, id: newID(), out: make(chan *wire.StreamingMessage, outgoing), arrived: make(chan struct{}),
		finished: make(chan struct{}), gone: make(chan struct{}), reaped: make(chan struct{}), calls: map[string]*call{}, failures: map[string]error{},
	}
}

// serve runs the stream in the goroutine of its handler: it reads, another
// goroutine writes, and the end of either is the end of both.
func (c *channel) serve(stream link) {
	close(c.arrived)
	defer close(c.finished)
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(stream)
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(stream)
	}()
	// Returning ends the stream's context, and with it a read in progress. What
	// a process said before it ended is read first.
	select {
	case <-read:
	case <-c.gone:
	}
	<-written
}

// write sends what is in out until the channel is gone.
func (c *channel) write(stream link) {
	for {
		select {
		case m := <-c.out:
			err := stream.Send(m)
			if err == nil && len(c.out) == 0 {
				err = stream.Flush()
			}
			if err != nil {
				// A broken stream shows in read too, after what came before.
				if !stream.broken(err) {
					c.fail(problem.Wrap(problem.Unavailable, "a message cannot be sent to the worker", err))
				}
				return
			}
		case <-c.gone:
			return
		}
	}
}

// read handles what comes in, in its order, until the stream ends.
func (c *channel) read(stream link) {
	for {
		m, err := stream.Recv()
		if err != nil {
			c.fail(streamError(err))
			return
		}
		c.handle(m)
	}
}

func streamError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return problem.New(problem.Unavailable, "the worker closed its stream")
	case status.Code(err) == codes.ResourceExhausted, errors.Is(err, problem.TooLarge):
		return problem.Wrap(problem.Unavailable, "the worker sent a message that is too large", err)
	}
	return problem.Wrap(problem.Unavailable, "the worker's stream broke", err)
}

// handle takes one message. Logs are handed on before the next message is read,
// so those of an invocation come before its result.
func (c *channel) handle(m *wire.StreamingMessage) {
	switch content := m.Content.(type) {
	case *wire.StreamingMessage_InvocationResponse:
		c.answer(content.InvocationResponse)
	case *wire.StreamingMessage_RpcLog:
		c.log(content.RpcLog)
	default:
		c.hear(m)
	}
}

// fail ends the channel and all its invocations; the first reason stays.
func (c *channel) fail(reason error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.err = reason
		calls := c.calls
		c.calls = nil
		close(c.gone)
		c.mu.Unlock()
		for _, one := range calls {
			one.finish(nil, reason)
		}
	})
}

// send queues a message; it waits while the worker takes none.
func (c *channel) send(ctx context.Context, m *wire.StreamingMessage) error {
	select { // the one further down chooses at random
	case <-c.gone:
		return c.err
	default:
	}
	select { // also when ctx has ended: see isMoot
	case c.out <- m:
		return nil
	default:
	}
	select {
	case c.out <- m:
		return nil
	case <-c.gone:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call is an invocation in progress.
type call struct {
	inv    *worker.Invocation
	result chan answer // of capacity one
}

type answer struct {
	response *wire.InvocationResponse
	err      error
}

// finish gives the result; it is called once, by whoever took the call out of
// the channel's table.
func (o *call) finish(r *wire.InvocationResponse, err error) { o.result <- answer{r, err} }

// start counts an invocation in.
func (c *channel) start(inv *worker.Invocation) (*call, error) {
	o := &call{inv: inv, result: make(chan answer, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		return nil, c.err
	}
	if _, twice := c.calls[inv.ID]; twice {
		return nil, problem.New(problem.Conflict, "invocation "+inv.ID+" is in progress already")
	}
	c.calls[inv.ID] = o
	return o, nil
}

// take takes an invocation out of the table; nil when it is not in there.
func (c *channel) take(id string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.calls[id]
	delete(c.calls, id)
	return o
}

func (c *channel) find(id string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[id]
}

func (c *channel) answer(r *wire.InvocationResponse) {
	if o := c.take(r.GetInvocationId()); o != nil {
		o.finish(r, nil)
		return
	}
	c.w.say("debug", "an answer to no invocation in progress was dropped")
}

// abandon drops an invocation whose caller does not wait any more, and tells the
// worker if it wants to know.
func (c *channel) abandon(o *call) {
	if c.take(o.inv.ID) == nil || !c.capabilities().cancel {
		return
	}
	m := &wire.StreamingMessage{Content: &wire.StreamingMessage_InvocationCancel{
		InvocationCancel: &wire.InvocationCancel{InvocationId: o.inv.ID}}}
	select {
	case c.out <- m:
	default: // a worker that takes no messages won't stop for one
	}
}

func (c *channel) capabilities() capabilities {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caps
}

// exchange sends messages and waits until accept, which sees every control
// message from then on, gives true. There is one exchange at a time.
func (c *channel) exchange(ctx context.Context, accept func(*wire.StreamingMessage) bool, messages ...*wire.StreamingMessage) error {
	c.talk.Lock()
	defer c.talk.Unlock()
	heard := make(chan struct{})
	c.mu.Lock()
	c.listener, c.heard = accept, heard
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.listener = nil
		c.mu.Unlock()
	}()
	for _, m := range messages {
		if err := c.send(ctx, m); err != nil {
			return err
		}
	}
	select {
	case <-heard:
		return nil
	case <-c.gone:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hear hands a control message to the exchange in progress; without one it is
// dropped: nobody has asked.
func (c *channel) hear(m *wire.StreamingMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener != nil && c.listener(m) {
		c.listener = nil
		close(c.heard)
	}
}

func (c *channel) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}
