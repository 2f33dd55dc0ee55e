// Package worker owns what an instance needs of the process that executes
// functions, whatever it speaks. Implementations live below it: custom for
// handlers that speak HTTP, rpc for language workers. It does not know routes, keys or who calls.
package worker

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// Worker executes the functions of one app, in one process or several that act
// as one. After Start returned nil the other methods may be called from any goroutine until Stop.
// A Worker is started once; a restart makes a new one.
type Worker interface {
	// Start starts the process and waits until it takes work or ctx ends. Errors
	// are problem.Unavailable and carry the process's last output lines.
	Start(ctx context.Context) error

	// Invoke runs a function that is not served by [HTTPServer] and waits for
	// its result. Errors: problem.Timeout when inv's deadline (ctx) passed,
	// problem.Unavailable when the process is gone, problem.Internal when the
	// function failed or its answer could not be understood.
	Invoke(ctx context.Context, inv *Invocation) (*Result, error)

	// Stop asks the process to end, waits until ctx ends, then kills the whole
	// process group. It always leaves no process behind. Idempotent.
	Stop(ctx context.Context) error

	// Exited is closed when the process has ended for whatever reason.
	Exited() <-chan struct{}

	// Exit says how the process ended; valid after Exited is closed.
	Exit() Exit

	// PID gives the id of the (first) process, for status pages.
	PID() int
}

// HTTPServer is the optional power of a worker to take an HTTP request as it is.
type HTTPServer interface {
	// Forwards reports whether requests to f go through ServeInvocation.
	Forwards(f *funcapp.Function) bool

	// ServeInvocation relays r to the worker and its answer to w. If nothing has
	// been written to w yet when it fails, it returns the error (kinds as for
	// Invoke) and the caller answers; after that it returns a [*CommittedError]
	// and the caller must abort the client's connection. A client that went away
	// is [ErrClientGone], which is nobody's failure.
	ServeInvocation(w http.ResponseWriter, r *http.Request, inv *Invocation) error
}

// Indexer is the optional power of a worker to find the functions of its app.
type Indexer interface {
	// Indexed gives the functions that the worker found, checked like those of
	// function.json files, with what is wrong in their faults, ordered by name. ok
	// is false when the worker leaves it to those files. Valid after Start
	// returned nil; the caller may add faults to them before the first Invoke.
	// Those with faults are not invoked.
	Indexed() (functions []funcapp.Function, ok bool)
}

// Patient is the optional power of a worker to say how long its start may take;
// for others whoever starts them decides.
type Patient interface {
	StartTimeout() time.Duration
}

// Drainer is the optional power of a worker to say how long work in progress may
// take to end before the worker is stopped; whoever stops it may allow less.
type Drainer interface {
	DrainTimeout() time.Duration
}

// Scripted is the optional power of a worker to name the extensions, with the dot,
// of files whose change calls for a restart.
type Scripted interface {
	Extensions() []string
}

// Group is the optional power of a worker made of several processes to name them.
type Group interface {
	// PIDs gives the ids of the processes that run now.
	PIDs() []int
}

// ErrClientGone says that the caller hung up before the answer was complete.
var ErrClientGone = problem.New(problem.Unavailable, "the client went away")

// CommittedError is a failure after part of the answer had been sent: no status
// can be given any more.
type CommittedError struct{ Err error }

// Error gives the cause's text.
func (e *CommittedError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *CommittedError) Unwrap() error { return e.Err }

// Invocation is one run of a function. There are two kinds:
//
//   - HTTP: Request is set; Body, RouteParams and Identities belong to it.
//   - data: Request is nil. Input is the trigger's value and Metadata what is
//     known about it. Timers, queues, events and manual runs are of this kind.
//
// Values of a data invocation are (see [Result] for what comes back):
//
//	nil                                   nothing
//	string                                text as it is, also when it looks like JSON
//	[]byte                                bytes
//	json.RawMessage                       a JSON document as it is
//	float64                               a number
//	[]string, [][]byte, []float64, []int64  collections
//	anything else                         what encoding/json makes of it
//
// so the text of a queue message is a string, the state of a timer or an event a
// json.RawMessage, a dequeue count an int.
type Invocation struct {
	ID          string // GUID text
	Function    *funcapp.Function
	Request     *http.Request     // the HTTP request for HTTP triggers, else nil
	Body        []byte            // its body, read already (nil with ServeInvocation)
	RouteParams map[string]string // matched route parameters, decoded; nil when there are none
	Input       any               // trigger value of a data invocation
	Metadata    map[string]any    // binding data of a data invocation, for example DequeueCount
	// Inputs are the values of the function's other input bindings, by binding
	// name, for both kinds. Bindings that are not in it get no value.
	Inputs     map[string]any
	Identities []Identity // the caller as far as known
	// StripKey says that the request carried an access key that was evaluated:
	// header x-functions-key when present, else query parameter code. The worker
	// must take it out before the function sees the request.
	StripKey   bool
	KeyName    string // name of the key that opened the function, "" for none
	KeyLevel   string // its level as claims spell it: "Function", "System" or "Admin"
	RetryCount int
	MaxRetries int
	HasRetry   bool   // the function has a retry policy
	LastError  string // message of the failed attempt before this one
	// Trace is the trace the invocation belongs to. The zero value is none; for
	// the HTTP kind a worker then reads the request's traceparent and tracestate.
	Trace Trace
	// Timeout bounds ServeInvocation, from its call to the end of the answer; 0 is
	// no bound. Invoke is bounded by its context.
	Timeout time.Duration
	Started time.Time
	// Finished, if not nil, is called by ServeInvocation, at most once, with what a
	// function returned besides its answer, which may have been sent long before.
	// It is not called for functions that failed. The context ends with the
	// invocation's time.
	Finished func(context.Context, *Result)
}

// Trace is a W3C trace context.
type Trace struct {
	Parent     string // the value of traceparent
	State      string // the value of tracestate
	Attributes map[string]string
}

// Identity is an authenticated caller as functions see it (fact sheet keys §1.5).
type Identity struct {
	AuthenticationType string
	NameClaimType      string
	RoleClaimType      string
	Claims             []Claim
}

// Claim is one statement about a caller.
type Claim struct{ Type, Value string }

// Return is the name of the binding that a function's return value goes to.
const Return = "$return"

// Result is what a function returned. A value is either in Outputs, as JSON, or
// in Binary, as bytes, never in both: text is a JSON string in Outputs. The
// return value is kept apart in Return; it is also the value of the output
// binding "$return" where the function has one, see [Result.Output].
type Result struct {
	Outputs map[string]json.RawMessage // by binding name
	Return  json.RawMessage            // the return value; nil when there is none
	// Binary has the values that are bytes, by binding name, with "$return" for
	// the return value; nil when there are none.
	Binary map[string][]byte
	// HTTP is the answer for HTTP-triggered functions, nil when the function gave
	// none (204).
	HTTP *HTTPResult
}

// Output gives the value for an output binding: JSON or bytes. ok is false when
// the function gave it none.
func (r *Result) Output(binding string) (value json.RawMessage, bytes []byte, ok bool) {
	if b, ok := r.Binary[binding]; ok {
		return nil, b, true
	}
	if binding == Return && r.Return != nil {
		return r.Return, nil, true
	}
	v, ok := r.Outputs[binding]
	return v, nil, ok
}

// HTTPResult is an HTTP answer made by a function.
type HTTPResult struct {
	Status int
	Header http.Header
	Body   []byte
}

// Exit says how a process ended.
type Exit struct {
	Code     int // -1 when killed by a signal
	Signal   string
	LastLogs []string // last lines of its standard error, newest last, at most 10
}

// Failed reports whether the exit counts as a crash: anything but 0 and 200
// (intentional restart; runtime fact sheet §5).
func (e Exit) Failed() bool { return e.Code != 0 && e.Code != 200 }

// Restart reports whether the process ended to be started anew (runtime fact sheet
// §5): that is no crash, and does not bring it closer to being given up.
func (e Exit) Restart() bool { return e.Code == 200 }

// LogLine is one line of worker output or one log a function wrote. The lines of
// an invocation come before its result.
type LogLine struct {
	Level        string // "debug", "info", "warn" or "error"
	Message      string
	Function     string // "" when not attributable
	InvocationID string
	// Source says who speaks: "console" for the process's outputs, "function" for
	// the function itself, "worker" for the language worker, "metric" for a value
	// that a function reported, which is in Properties.
	Source     string
	Category   string // the worker's name for where it comes from; may be empty
	Exception  string // text of the error that comes with it, with its stack; may be empty
	Properties map[string]string
}

// LogSink receives log lines. It must not block; it is called concurrently.
type LogSink func(LogLine)
