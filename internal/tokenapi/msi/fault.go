package msi

import (
	"errors"
	"net/http"

	"github.com/latchkey/latchkey/internal/problem"
)

// fault is an error as the endpoint words it.
type fault struct {
	status int
	code   string // IMDS has one, App Service has none
	text   string // for the client
	reason string // for operators; "" is the text
}

// Error gives the text.
func (f *fault) Error() string { return f.text }

// bad is a request that breaks a rule.
func bad(text string) *fault {
	return &fault{status: http.StatusBadRequest, code: "invalid_request", text: text}
}

// Texts of the platform. The misspelling is its own.
const (
	textFailed    = "An unexpected error occured while fetching the AAD Token."
	textThrottled = "Too many requests. Try again later."
)

// retryAfter is what clients are told to wait for, in seconds, when it is too much.
const retryAfter = "5"

// faultFor finds the fault for any error; missing words that there is no such
// identity. What will fail again is the client's fault, with a status that
// libraries do not repeat.
func (s *service) faultFor(x *exchange, err error, missing string) *fault {
	var f *fault
	if !errors.As(err, &f) {
		f = faultOf(err, missing)
	}
	if f.status == http.StatusInternalServerError && x.r.Context().Err() == nil {
		s.Log.Error("a token of a managed identity could not be had",
			"reason", f.reason, "identity", x.event.Identity.ResourceID, "correlationId", x.correlate())
	}
	return f
}

func faultOf(err error, missing string) *fault {
	reason := err.Error()
	if next := problem.NextOf(err); next != "" {
		reason += "; " + next
	}
	switch problem.KindOf(err) {
	case problem.Invalid:
		return bad(sentence(err))
	case problem.NotFound, problem.Unauthenticated:
		return &fault{status: http.StatusBadRequest, code: "invalid_request", text: missing, reason: reason}
	case problem.Denied:
		return &fault{status: http.StatusBadRequest, code: "unauthorized_client", text: textFailed, reason: reason}
	case problem.Throttled:
		return &fault{status: http.StatusTooManyRequests, code: "too_many_requests", text: textThrottled, reason: reason}
	}
	return &fault{status: http.StatusInternalServerError, code: "server_error", text: textFailed, reason: reason}
}

// sentence gives the message of a problem about what the client sent.
func sentence(err error) string {
	var p *problem.Error
	if !errors.As(err, &p) || p.Message == "" {
		return "The request is not valid."
	}
	text := "The " + p.Message + "."
	if p.Next != "" {
		text += " Next: " + p.Next + "."
	}
	return text
}

// record completes the event of a request that failed.
func (x *exchange) record(f *fault) {
	x.event.Status, x.event.Reason = f.status, f.reason
	if f.reason == "" {
		x.event.Reason = f.text
	}
	if f.status == http.StatusTooManyRequests {
		x.w.Header().Set("Retry-After", retryAfter)
	}
}

// missing says that there is no such identity.
type missing struct{ reason string }

// Error gives the reason, for operators.
func (m *missing) Error() string { return m.reason }

// Unwrap makes the error problem.NotFound.
func (m *missing) Unwrap() error { return problem.NotFound }
