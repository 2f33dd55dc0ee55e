package rpc

import (
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// failure gives the error of a result; nil for a success. A result that is
// missing is a success, one that says nothing is a failure: that is how failures
// look on the wire.
func failure(kind problem.Kind, what string, r *wire.StatusResult) error {
	if r == nil || r.GetStatus() != wire.StatusResult_Failure {
		return nil
	}
	text := what
	if m := r.GetException().GetMessage(); m != "" {
		text += ": " + m
	} else if m := r.GetResult(); m != "" {
		text += ": " + m
	}
	return problem.New(kind, text)
}

// typed gives a result whose exception, if it is of the function's own code, has
// its type before the message: only some workers tell it apart.
func typed(r *wire.StatusResult) *wire.StatusResult {
	e := r.GetException()
	if !e.GetIsUserException() || e.GetType() == "" || strings.HasPrefix(e.GetMessage(), e.GetType()) {
		return r
	}
	named := &wire.RpcException{Message: e.GetType() + ": " + e.GetMessage(), StackTrace: e.GetStackTrace(), Source: e.GetSource(), Type: e.GetType(), IsUserException: true}
	return &wire.StatusResult{Status: r.GetStatus(), Result: r.GetResult(), Exception: named, Logs: r.GetLogs()}
}

// exceptionText gives an exception with its stack for logs; "" for none.
func exceptionText(e *wire.RpcException) string {
	switch {
	case e == nil:
		return ""
	case e.GetStackTrace() == "":
		return e.GetMessage()
	case e.GetMessage() == "":
		return e.GetStackTrace()
	}
	return e.GetMessage() + "\n" + e.GetStackTrace()
}
