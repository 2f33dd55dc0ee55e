// Package problem owns the one error type that crosses package boundaries
// and the kinds it comes in. A kind says what a caller may do about an error;
// each wire dialect maps kinds to status codes in exactly one place (see
// [HostStatus] for the functions host).
//
// It deliberately knows nothing of HTTP, stores or functions.
package problem

import (
	"errors"
	"strings"
)

// Kind classifies an error. A Kind is itself an error, so it serves as the
// sentinel of its class: errors.Is(err, problem.NotFound). Kinds are
// append-only because they end up in audit records and metrics.
type Kind uint8

const (
	Internal        Kind = iota // a fault of ours; its text is never shown to a remote caller
	Invalid                     // the caller sent something that breaks a rule
	NotFound                    // the named thing does not exist
	Exists                      // the named thing exists already
	Unauthenticated             // no credential, or an unknown one
	Denied                      // a known credential that does not reach this far
	Conflict                    // somebody else changed it first, or the state forbids it
	ReadOnly                    // the store cannot be written
	Undecryptable               // stored data is there but cannot be decrypted or understood
	Unavailable                 // a dependency cannot be reached right now
	TooLarge                    // a size limit was exceeded
	Throttled                   // a rate or concurrency limit was exceeded
	Timeout                     // the work took longer than allowed
	Unsupported                 // this backend or version cannot do it
)

var kindText = [...]string{
	"internal error", "invalid", "not found", "already exists", "not authenticated",
	"denied", "conflict", "read-only", "undecryptable", "unavailable", "too large",
	"throttled", "timed out", "not supported",
}

// Error gives the kind in words, so that a bare Kind can be returned or matched.
func (k Kind) Error() string {
	if int(k) < len(kindText) {
		return kindText[k]
	}
	return "unknown kind"
}

// Error is an error with a kind, a message for people and, where there is one,
// the next thing to do. Message and Next never contain a secret.
type Error struct {
	Kind    Kind
	Message string // what is wrong and with which setting, file or resource; lower case, no full stop
	Next    string // what to do about it; may be empty
	Err     error  // the cause; may be nil
}

// New returns an error of a kind with a message.
func New(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Wrap returns an error of a kind with a message and a cause.
func Wrap(kind Kind, message string, cause error) *Error {
	return &Error{Kind: kind, Message: message, Err: cause}
}

// WithNext returns a copy that also says what to do next.
func (e *Error) WithNext(next string) *Error {
	c := *e
	c.Next = next
	return &c
}

// Error gives the message followed by its cause. A cause that is a bare Kind
// equal to the error's own adds nothing and is left out.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Message == "" {
		b.WriteString(e.Kind.Error())
	}
	if e.Err != nil && e.Err != error(e.Kind) {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, kind) true for an Error of that kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf gives the kind of the outermost Error or Kind in the chain, Internal
// when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// NextOf gives the first piece of advice found in the chain, or "".
func NextOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Next != "" {
			return e.Next
		}
		err = e.Err
	}
	return ""
}
