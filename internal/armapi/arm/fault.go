package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// Fault is an error with exactly this answer.
type Fault struct {
	Status  int
	Code    string // such as "ResourceGroupNotFound"
	Message string // for people, a sentence; never a secret
	Target  string
	Details []Detail
	renew   bool // the client is to get another token although the one it has is not over
}

// Detail is a part of a [Fault].
type Detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
}

// Error gives the message.
func (f Fault) Error() string { return f.Message }

// Faultf makes a [Fault].
func Faultf(status int, code, format string, args ...any) Fault {
	return Fault{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidToken is what authentication fails with for a token that is not good;
// why is told to the client.
func InvalidToken(why string) Fault {
	return Fault{Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken", Message: sentence(why)}
}

// ExpiredToken is what authentication fails with for a token that was good.
func ExpiredToken(why string) Fault {
	return Fault{Status: http.StatusUnauthorized, Code: "ExpiredAuthenticationToken", Message: sentence(why)}
}

// RevokedToken is what authentication fails with for a token that would be good had
// it not been revoked. Clients get another one at once and try again.
func RevokedToken(why string) Fault {
	f := InvalidToken(why)
	f.renew = true
	return f
}

// GroupNotFound is the answer for a resource group that does not exist.
func GroupNotFound(group string) Fault {
	return Faultf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group)
}

// answers has the status and code of each kind of problem. Clients retry what is
// 5xx for minutes, so only what can pass by itself is.
var answers = map[problem.Kind]struct {
	status int
	code   string
}{
	problem.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	problem.Invalid:         {http.StatusBadRequest, "BadRequest"},
	problem.NotFound:        {http.StatusNotFound, "ResourceNotFound"},
	problem.Exists:          {http.StatusConflict, "Conflict"},
	problem.Unauthenticated: {http.StatusUnauthorized, "InvalidAuthenticationToken"},
	problem.Denied:          {http.StatusForbidden, "AuthorizationFailed"},
	problem.Conflict:        {http.StatusConflict, "Conflict"},
	problem.ReadOnly:        {http.StatusConflict, "Conflict"},
	problem.Undecryptable:   {http.StatusConflict, "StoredDataUnreadable"},
	problem.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	problem.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestEntityTooLarge"},
	problem.Throttled:       {http.StatusTooManyRequests, "TooManyRequests"},
	problem.Timeout:         {http.StatusGatewayTimeout, "GatewayTimeout"},
	problem.Unsupported:     {http.StatusBadRequest, "NotSupported"},
}

// statusGone is for clients that do not wait for the answer; nobody reads it.
const statusGone = 499

// faultOf gives what is answered for an error. hidden says that the error's own
// text is for the log only.
func faultOf(err error, correlation string) (f Fault, hidden bool) {
	if errors.As(err, &f) {
		return f, false
	}
	kind := problem.KindOf(err)
	switch {
	case kind != problem.Internal:
	case errors.Is(err, context.Canceled):
		return Fault{Status: statusGone, Code: "ClientClosedRequest", Message: "The client is gone."}, false
	case errors.Is(err, context.DeadlineExceeded):
		kind = problem.Timeout
	}
	a, known := answers[kind]
	if !known {
		a, kind = answers[problem.Internal], problem.Internal
	}
	f = Fault{Status: a.status, Code: a.code}
	switch kind {
	case problem.Internal:
		f.Message = "The server failed; its log has the reason under correlation id " + correlation + "."
		return f, true
	case problem.Undecryptable:
		f.Message = "What is stored of this cannot be read; the server's log has the reason under correlation id " + correlation + "."
		return f, true
	}
	f.Message = messageOf(err, kind)
	return f, false
}

// messageOf gives the outermost message and the advice. Causes can name files and
// hosts that are none of a remote caller's business.
func messageOf(err error, kind problem.Kind) string {
	text := kind.Error()
	var p *problem.Error
	if errors.As(err, &p) && p.Message != "" {
		text = p.Message
	}
	text = sentence(text)
	if next := problem.NextOf(err); next != "" {
		text += " " + sentence(next)
	}
	return text
}

// sentence makes a sentence of one of our messages, which begin in lower case and
// end without a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	if word, _, _ := strings.Cut(text, " "); strings.IndexFunc(word[size:], unicode.IsUpper) < 0 {
		text = string(unicode.ToUpper(first)) + text[size:] // not "appSettings has …"
	}
	if !strings.ContainsRune(".!?", rune(text[len(text)-1])) {
		text += "."
	}
	return text
}

// envelope gives the body of an error. Clients of Microsoft.Web read another form
// than all others; it gets both in one object.
func (f Fault) envelope(web bool) map[string]any {
	inner := map[string]any{"code": f.Code, "message": f.Message}
	if f.Target != "" {
		inner["target"] = f.Target
	}
	if len(f.Details) > 0 {
		inner["details"] = f.Details
	}
	body := map[string]any{"error": inner}
	if !web {
		return body
	}
	body["Code"], body["Message"], body["Target"], body["Innererror"] = f.Code, f.Message, nil, nil
	if f.Target != "" {
		body["Target"] = f.Target
	}
	body["Details"] = []any{
		map[string]any{"Message": f.Message},
		map[string]any{"Code": f.Code},
		map[string]any{"ErrorEntity": map[string]any{
			"ExtendedCode": nil, "MessageTemplate": nil, "Parameters": []any{}, "Code": f.Code, "Message": f.Message,
		}},
	}
	return body
}
