// Package worker owns what an instance needs of the process that executes
// functions, whatever it speaks. Implementations live below it (custom; later
// rpc). It does not know routes, keys or who calls.
package worker

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// Worker is one process that executes the functions of one app. After Start
// returned nil the other methods may be called from any goroutine until Stop.
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

	// PID gives the process id, for status pages.
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

// ErrClientGone says that the caller hung up before the answer was complete.
var ErrClientGone = problem.New(problem.Unavailable, "the client went away")

// CommittedError is a failure after part of the answer had been sent: no status
// can be given any more.
type CommittedError struct{ Err error }

// Error gives the cause's text.
func (e *CommittedError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *CommittedError) Unwrap() error { return e.Err }

// Invocation is one run of a function.
type Invocation struct {
	ID          string // GUID text
	Function    *funcapp.Function
	Request     *http.Request     // the HTTP request for HTTP triggers, else nil
	Body        []byte            // its body, read already (nil with ServeInvocation)
	RouteParams map[string]string // matched route parameters, decoded
	Input       any               // trigger value for other triggers: string, []byte or JSON value
	Metadata    map[string]any    // binding data for other triggers
	Identities  []Identity        // the caller as far as known
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
	// Timeout bounds ServeInvocation, from its call to the end of the answer; 0 is
	// no bound. Invoke is bounded by its context.
	Timeout time.Duration
	Started time.Time
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

// Result is what a function returned.
type Result struct {
	Outputs map[string]json.RawMessage // by binding name
	Return  json.RawMessage            // the return value; nil when there is none
	// HTTP is the answer for HTTP-triggered functions, nil when the function gave
	// none (204).
	HTTP *HTTPResult
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

// LogLine is one line of worker output or one log a function wrote.
type LogLine struct {
	Level        string // "debug", "info", "warn" or "error"
	Message      string
	Function     string // "" when not attributable
	InvocationID string
	Source       string // "console" or "function"
}

// LogSink receives log lines. It must not block; it is called concurrently.
type LogSink func(LogLine)
