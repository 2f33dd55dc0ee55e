package vaultapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
)

// fault is an error with exactly this answer.
type fault struct {
	status  int
	code    string
	inner   string // code of the inner error; "" for none
	message string // as answered; never a secret
	reason  string // for the record; "" is inner, else code
	allow   string // methods, with 405
	wait    time.Duration
	renew   bool // the client is to get another token although the one it has is not over
}

// Error gives the message.
func (f *fault) Error() string { return f.message }

// Codes of answers.
const (
	codeUnauthorized = "Unauthorized"
	codeForbidden    = "Forbidden"
	codeConflict     = "Conflict"
	codeBadParameter = "BadParameter"
	codeThrottled    = "Throttled"
	codeNotSupported = "NotSupported"
)

func badParameter(message string) *fault {
	return &fault{status: http.StatusBadRequest, code: codeBadParameter, message: message}
}

func wrongProperty(name, want string) *fault {
	if name == "" {
		return badParameter("The request body must be " + want + ".")
	}
	return badParameter("Property " + name + " has an invalid value: it must be " + want + ".")
}

func notServed() *fault {
	return &fault{status: http.StatusNotFound, code: "NotFound", message: "There is no such path. This vault serves /secrets and /deletedsecrets."}
}

func wrongMethod(method string, choices []choice) *fault {
	var allowed []string
	for _, c := range choices {
		allowed = append(allowed, c.method)
	}
	list := strings.Join(allowed, ", ")
	return &fault{status: http.StatusMethodNotAllowed, code: "MethodNotAllowed", allow: list,
		message: "Method " + clip(method) + " is not allowed here, only " + list + "."}
}

func notSupported() *fault {
	return &fault{status: http.StatusNotImplemented, code: codeNotSupported,
		message: "This vault keeps secrets only: keys, certificates, storage accounts and whole-vault backups are not supported."}
}

func noContacts() *fault {
	return &fault{status: http.StatusNotFound, code: "ContactsNotFound", message: "Certificate contacts were not found: this vault keeps secrets only."}
}

func noVault(name string) *fault {
	return &fault{status: http.StatusNotFound, code: "VaultNotFound", message: "There is no vault named " + clip(name) + ". It may have been deleted, or its name misspelt."}
}

// wrongToken is the answer to a token that does not count. code begins the
// message where the cloud has one.
func wrongToken(reason, message string) *fault {
	return &fault{status: http.StatusUnauthorized, code: codeUnauthorized, message: message, reason: reason}
}

func noToken() *fault {
	return wrongToken("AKV10000", "AKV10000: Request is missing a Bearer or PoP token.")
}

// refusal words why a token was refused, for clients that want it for resource. Who
// offers one that is out of its time goes by a clock that a drill has left behind,
// say, and would offer it again and again: it is to get another.
func refusal(err error, resource, tenant string) *fault {
	var r *token.Refused
	if !errors.As(err, &r) {
		return wrongToken("InvalidToken", "[InvalidToken] Error validating token: "+messageOf(err))
	}
	switch r.Reason {
	case token.WrongAudience:
		found := strings.TrimPrefix(r.Detail, "it is for ")
		if plain, err := strconv.Unquote(found); err == nil {
			found = plain
		}
		return wrongToken("AKV10022", "AKV10022: Invalid audience. Expected "+resource+", found: "+clip(found)+".")
	case token.WrongIssuer:
		return wrongToken("AKV10032", "AKV10032: Invalid issuer. Expected one of "+token.IssuerV1(tenant)+", "+token.IssuerV2(tenant)+", found another one.")
	case token.Expired:
		f := wrongToken("TokenExpired", "[TokenExpired] Error validating token: 'S2S12086'.")
		f.renew = true
		return f
	}
	f := wrongToken(r.Reason.String(), "[InvalidToken] Error validating token: "+r.Detail+".")
	f.renew = r.Reason == token.NotYet || token.IsRevoked(err)
	return f
}

func tooMany(wait time.Duration) *fault {
	return &fault{status: http.StatusTooManyRequests, code: codeThrottled, wait: wait,
		message: "Request was not processed because too many requests were received for this vault. Try again later."}
}

func tooLarge(limit int64) *fault {
	return &fault{status: http.StatusRequestEntityTooLarge, code: "RequestEntityTooLarge",
		message: "The request body has more than " + strconv.FormatInt(limit, 10) + " bytes."}
}

// answers has the status and code of each kind of problem that has no code of its
// own. Clients try again for minutes what is 5xx, so only what can pass by itself is.
var answers = map[problem.Kind]fault{
	problem.Invalid:       {status: http.StatusBadRequest, code: codeBadParameter},
	problem.TooLarge:      {status: http.StatusBadRequest, code: codeBadParameter},
	problem.NotFound:      {status: http.StatusNotFound, code: "NotFound"},
	problem.Exists:        {status: http.StatusConflict, code: codeConflict},
	problem.Conflict:      {status: http.StatusConflict, code: codeConflict},
	problem.ReadOnly:      {status: http.StatusConflict, code: codeConflict},
	problem.Denied:        {status: http.StatusForbidden, code: codeForbidden},
	problem.Undecryptable: {status: http.StatusConflict, code: "StoredDataUnreadable"},
	problem.Throttled:     {status: http.StatusTooManyRequests, code: codeThrottled, wait: time.Second},
	problem.Unavailable:   {status: http.StatusServiceUnavailable, code: "ServiceUnavailable", wait: time.Second},
	problem.Timeout:       {status: http.StatusGatewayTimeout, code: "GatewayTimeout"},
	problem.Unsupported:   {status: http.StatusBadRequest, code: codeNotSupported},
	problem.Internal:      {status: http.StatusInternalServerError, code: "InternalServerError"},
}

// statusGone is for clients that do not wait for the answer; nobody reads it.
const statusGone = 499

// faultOf gives what is answered for an error. hidden says that the error's own
// text is for the log only.
func faultOf(err error) (f *fault, hidden bool) {
	if errors.As(err, &f) {
		return f, false
	}
	kind := problem.KindOf(err)
	switch {
	case kind != problem.Internal:
	case errors.Is(err, context.Canceled):
		return &fault{status: statusGone, code: "ClientClosedRequest", message: "The client is gone."}, false
	case errors.Is(err, context.DeadlineExceeded):
		kind = problem.Timeout
	}
	answer, ok := answers[kind]
	if !ok {
		answer, kind = answers[problem.Internal], problem.Internal
	}
	f = &answer
	if kind == problem.Internal || kind == problem.Undecryptable {
		return f, true
	}
	f.message = messageOf(err)
	f.setCode(err)
	return f, false
}

// setCode puts the error's own code where clients look for it: not found is a code
// of its own, the others are inner codes.
func (f *fault) setCode(err error) {
	var code vault.Code
	switch {
	case !errors.As(err, &code), string(code) == f.code:
	case f.status == http.StatusNotFound:
		f.code = string(code)
	default:
		f.inner = string(code)
	}
}

// messageOf gives the outermost message and the advice. Causes can name files and
// hosts that are none of a remote caller's business. The messages of errors with a
// code are the cloud's own and stay as they are, but for that of every wrong field.
func messageOf(err error) string {
	var p *problem.Error
	if !errors.As(err, &p) || p.Message == "" {
		return sentence(problem.KindOf(err).Error())
	}
	var code vault.Code
	if errors.As(err, &code) && code != vault.BadParameter {
		return p.Message
	}
	text := sentence(p.Message)
	if p.Next != "" {
		text += " " + sentence(p.Next)
	}
	return text
}

// sentence makes a sentence of one of our messages, which begin in lower case and
// end without a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if !strings.ContainsRune(".!?", rune(text[len(text)-1])) {
		text += "."
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// envelope appends the body of an error.
func (f *fault) envelope(b []byte) []byte {
	b = append(b, `{"error":{`...)
	b = appendMember(b, "code", f.code)
	b = appendMember(b, "message", f.message)
	if f.inner != "" {
		b = append(appendName(b, "innererror"), '{')
		b = append(appendMember(b, "code", f.inner), '}')
	}
	return append(b, "}}"...)
}
