// Package trigger owns what starts functions other than HTTP requests: the
// contracts between an app that runs and the listeners of its triggers, and the
// outputs that functions send values to. Implementations live below it: timer,
// queue, eventgrid. It does not know workers' protocols, HTTP, or where leases
// and documents are kept.
package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
)

// Call is one invocation of a function with data.
type Call struct {
	// ID is the invocation's id, GUID text; "" makes one. All attempts of a retry
	// policy have the same.
	ID       string
	Input    any            // the trigger's value, see [worker.Invocation]
	Metadata map[string]any // binding data, for example DequeueCount
	Trace    worker.Trace
	// NewIDs gives each attempt of a retry policy an id of its own, as HTTP and
	// administrators' calls do.
	NewIDs bool
	// NoRetry leaves out the function's retry policy: the trigger has its own.
	NoRetry bool
	// Level is the access level of whoever asked for the call, "" for a listener.
	Level string
}

// Invoker invokes functions of one app. Its method may be called from any
// goroutine.
type Invoker interface {
	// Invoke runs a function, found by name ignoring case, again as its retry
	// policy says, and hands what it returned to its output bindings. It waits for
	// the app while its worker is being replaced. The function's time limit is
	// applied, and the run is logged and counted; the caller need not log the
	// error. Errors: one that wraps [ErrNotRun] when no attempt reached the
	// function; problem.Timeout, problem.Unavailable and problem.Internal as
	// [worker.Worker.Invoke] has them; those of outputs.
	Invoke(ctx context.Context, function string, call Call) (*worker.Result, error)
}

// ErrNotRun says that the function was not started: the app stops, is in error or
// has no such function. Whatever started it keeps its message or occurrence.
var ErrNotRun = errors.New("the function was not started")

// Listener starts one function whenever something happens.
type Listener interface {
	// Start begins to listen and returns; it may reach out to make sure that it
	// can. After an error the listener is dropped, Stop is not called, and the
	// function shows the error. ctx bounds only the call.
	Start(ctx context.Context) error
	// Stop takes no more work, at once, and waits for the work in progress until
	// ctx ends; then it cancels it and returns soon. No goroutine is left behind.
	// It is called once, after Start returned nil.
	Stop(ctx context.Context)
}

// Source makes the listeners of one type of trigger.
type Source interface {
	// Type is the binding type as documents spell it, for example "timerTrigger".
	Type() string
	// Check finds what is wrong with the binding of a function, without reaching
	// out: a function with faults does not run. Messages as [funcapp.Fault] has them.
	Check(s *Setup) []funcapp.Fault
	// Listener makes a listener that has not been started; nil for a trigger that
	// needs none. It is called only for functions without faults that are enabled.
	Listener(s *Setup) (Listener, error)
}

// Asker is the optional power of a source to make the call of a function that an
// administrator asked for out of the text that came with it. Without it the text
// is the input as it is.
type Asker interface {
	Asked(ctx context.Context, s *Setup, input string) Call
}

// Output sends values to one output binding of one function.
type Output interface {
	// Send delivers a value: JSON, or bytes when b is not nil. inv is the
	// invocation it comes from, whose data binding expressions such as {queueTrigger}
	// refer to; it is not changed. A failure fails the invocation. It is called
	// concurrently.
	Send(ctx context.Context, inv *worker.Invocation, value json.RawMessage, b []byte) error
}

// Sink makes the outputs of one type of output binding.
type Sink interface {
	// Type is the binding type as documents spell it, for example "queue".
	Type() string
	// Check is [Source.Check] for an output binding.
	Check(s *Setup) []funcapp.Fault
	// Output makes an output; it is called once per binding and start of the app.
	Output(s *Setup) (Output, error)
}

// Setup is everything a listener or an output may use. Those of Check have no
// Invoke, Leases, Memory and Metrics.
type Setup struct {
	App      string // its name in logs and metrics
	HostID   string
	Function *funcapp.Function
	Binding  *funcapp.Binding // the trigger, or the output binding
	Host     *funcapp.HostConfig
	// Setting gives an app setting, looked up exactly, then ignoring case; "" when
	// it is not given.
	Setting func(name string) string
	// Invoke runs Function, see [Invoker].
	Invoke  func(ctx context.Context, call Call) (*worker.Result, error)
	Clock   clock.Clock
	Log     *slog.Logger // names the function already
	Leases  Leases
	Memory  Memory
	Metrics Metrics
}

// Leases hands out the right to be the only one, among all hosts of an app, that
// does something. Safe for concurrent use.
type Leases interface {
	// Acquire waits until the caller alone holds the lease of a name, or ctx ends
	// (its error). Names are the app's own; any text without a slash will do.
	Acquire(ctx context.Context, name string) (Lease, error)
}

// Lease is renewed by whoever gave it, until it is released or lost.
type Lease interface {
	// Lost is closed when the lease has ended, for whatever reason.
	Lost() <-chan struct{}
	// Release ends the lease. It does nothing the second time.
	Release(ctx context.Context) error
}

// Assured is the optional power of a lease to tell at any moment whether it still
// stands. Lost may be closed a little late: where the process stood still it can be
// that nobody has looked at the time yet.
type Assured interface {
	// Held reports whether the lease surely stands, without asking anybody.
	Held() bool
}

// Held reports whether a lease stands, as well as that can be known at once.
func Held(l Lease) bool {
	select {
	case <-l.Lost():
		return false
	default:
	}
	a, ok := l.(Assured)
	return !ok || a.Held()
}

// Memory keeps small JSON documents of an app's listeners over restarts. Safe
// for concurrent use.
type Memory interface {
	// Get reads a document; nil when there is none.
	Get(ctx context.Context, name string) (json.RawMessage, error)
	// Put writes a document, at most [MaxDocument] bytes. Names are the app's own;
	// any text without a slash will do.
	Put(ctx context.Context, name string, document json.RawMessage) error
}

// MaxDocument bounds a document of [Memory], in bytes.
const MaxDocument = 64 << 10

// Metrics takes the figures by which apps are scaled; one per listener. Safe for
// concurrent use.
type Metrics interface {
	// Backlog shows how much waits to be worked on, for example the messages of a
	// queue; a negative number says that it is not known.
	Backlog(n int64)
}
