package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// exchange is one request on its way to its answer.
type exchange struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	ids   ids
	time  time.Time
	web   bool   // errors have the form that clients of Microsoft.Web read too
	route *route // nil until one is found
	call  *Call  // nil until a route is found
	code  string // of the error that is answered
	deny  string // why the call was refused

	handled bool    // the handler was called
	as      *Caller // who calls, of inner calls
}

// ids are what a request is found again by.
type ids struct{ request, correlation, client string }

func newIDs(r *http.Request) ids {
	n := ids{request: uuid.NewString(), correlation: plainID(r.Header.Get("X-Ms-Correlation-Request-Id"))}
	if n.correlation == "" {
		n.correlation = n.request
	}
	if strings.EqualFold(r.Header.Get("X-Ms-Return-Client-Request-Id"), "true") {
		n.client = plainID(r.Header.Get("X-Ms-Client-Request-Id"))
	}
	return n
}

// plainID gives an id that a client made up, or "" for text that is none and could
// confuse who reads it in a log.
func plainID(text string) string {
	if len(text) > 64 {
		return ""
	}
	for _, c := range []byte(text) {
		if !(c == '-' || c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return ""
		}
	}
	return text
}

// skipDelay has the azurerm provider follow what goes on without its own pauses of
// many seconds.
const skipDelay = "X-Go-Azure-Sdk-Skip-Polling-Delay"

func (x *exchange) setHeaders() {
	h := x.w.Header()
	h.Set("X-Ms-Request-Id", x.ids.request)
	h.Set("X-Ms-Correlation-Request-Id", x.ids.correlation)
	h.Set("X-Ms-Routing-Request-Id", x.api.cfg.Region+":"+x.time.UTC().Format("20060102T150405Z")+":"+x.ids.request)
	if x.ids.client != "" {
		h.Set("X-Ms-Client-Request-Id", x.ids.client)
	}
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("X-Content-Type-Options", "nosniff")
	if x.api.cfg.StrictTransport {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if !x.api.cfg.SlowPolling {
		h.Set(skipDelay, "true")
	}
}

// newCall makes the call of a route that was found.
func (x *exchange) newCall(m match) error {
	c := &Call{
		HTTP: x.r, writer: x.w, BaseURL: baseURL(x.r), Query: url.Values{},
		Pattern: m.route.Pattern, CorrelationID: x.ids.correlation, bodyTime: x.api.cfg.BodyTime, recheck: x.recheck,
	}
	var err error
	if c.Params, c.Scope, err = m.route.bind(m.base, m.segs); err != nil {
		return err
	}
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return Faultf(http.StatusBadRequest, "InvalidRequestUri", "The query cannot be read.")
	}
	for name, values := range query {
		c.Query[strings.ToLower(name)] = append(c.Query[strings.ToLower(name)], values...)
	}
	c.APIVersion = c.Query.Get("api-version")
	x.call = c
	return nil
}

func baseURL(r *http.Request) string {
	scheme, host := "https", r.Host
	if r.TLS == nil {
		scheme = "http"
	}
	if host == "" {
		host = "localhost"
	}
	return scheme + "://" + host
}

// gateway marks an error as one of this package's, not of a provider's.
func (x *exchange) gateway(err error) error {
	x.w.Header().Set("X-Ms-Failure-Cause", "gateway")
	return err
}

// failure makes the answer for an error.
func (x *exchange) failure(err error) Reply {
	f, hidden := faultOf(err, x.ids.correlation)
	if hidden && err != error(errPanic) {
		x.api.cfg.Log.ErrorContext(x.r.Context(), "management API: a call failed",
			"method", x.r.Method, "path", clip(x.r.URL.EscapedPath()), "correlation", x.ids.correlation, "error", err)
	}
	x.code = f.Code
	if f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden {
		x.deny = f.Message
	}
	reply := Reply{Status: f.Status, Body: f.envelope(x.web), Header: http.Header{}}
	switch f.Status {
	case http.StatusUnauthorized:
		reply.Header.Set("WWW-Authenticate", x.challenge(f))
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		reply.Header.Set("Retry-After", "1")
	}
	if x.r.Method == http.MethodHead { // which has no body to tell the code in
		reply.Header.Set("X-Ms-Error-Code", f.Code)
	}
	return reply
}

// encode turns the body into bytes, so that nothing can go wrong once the answer
// has begun.
func encode(reply Reply) (Reply, error) {
	if reply.Status == 0 {
		reply.Status = http.StatusOK
	}
	if reply.Status >= 300 && reply.Status < 400 {
		return reply, fmt.Errorf("a handler wants to answer %d: this API never redirects", reply.Status)
	}
	if reply.Raw != nil || reply.Body == nil {
		return reply, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(reply.Body); err != nil {
		return reply, fmt.Errorf("the answer cannot be encoded: %w", err)
	}
	reply.Raw, reply.RawType = bytes.TrimSuffix(b.Bytes(), []byte("\n")), "application/json; charset=utf-8"
	return reply, nil
}

// send writes an encoded answer.
func (x *exchange) send(reply Reply) {
	h := x.w.Header()
	for name, values := range reply.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	if pause := h.Get("Retry-After"); pause != "" && pause != "0" {
		h.Del(skipDelay) // it would be asked again at once, without an end
	}
	if reply.ETag != "" {
		h.Set("ETag", `"`+reply.ETag+`"`)
	}
	head := x.r.Method == http.MethodHead
	if head && reply.Status == http.StatusOK && x.route.Action != Public {
		reply.Status = http.StatusNoContent // how clients are told that something exists
	}
	if reply.Status == http.StatusNoContent {
		x.w.WriteHeader(reply.Status)
		return
	}
	if reply.RawType == "" {
		reply.RawType = "application/json; charset=utf-8"
	}
	h.Set("Content-Type", reply.RawType)
	if reply.Stream != nil && !head {
		x.stream(reply)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(reply.Raw)))
	x.w.WriteHeader(reply.Status)
	if !head {
		_, _ = x.w.Write(reply.Raw) // the client is gone: nobody is left to tell
	}
}

func (x *exchange) stream(reply Reply) {
	x.w.WriteHeader(reply.Status)
	if err := reply.Stream(x.w); err != nil {
		x.api.cfg.Log.ErrorContext(x.r.Context(), "management API: an answer broke off",
			"path", clip(x.r.URL.EscapedPath()), "correlation", x.ids.correlation, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// auditTime bounds how long recording a call may take once its client is gone.
const auditTime = 10 * time.Second

// audit records the call. Its error says that the answer must be withheld.
func (x *exchange) audit(reply Reply) error {
	if x.route == nil || x.route.Action == Public {
		return nil
	}
	e := AuditEntry{
		Time: x.time, Method: x.r.Method, Path: x.r.URL.EscapedPath(), Remote: x.r.RemoteAddr,
		Status: reply.Status, Code: x.code, CorrelationID: x.ids.correlation, Denied: x.deny,
	}
	if x.route.Action != Open {
		e.Action = x.route.Action
	}
	if x.call != nil {
		e.Scope, e.Caller = x.call.Scope.String(), x.call.Caller
	}
	e.Secret = x.route.Secret && x.code == ""
	// A handler that failed half way may have changed something all the same.
	e.Changed = x.handled && x.changes() && (x.code == "" || reply.Status >= statusGone)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), auditTime)
	defer cancel()
	err := x.api.cfg.Audit(ctx, e)
	if err == nil {
		return nil
	}
	x.api.cfg.Log.ErrorContext(ctx, "management API: a call could not be recorded",
		"method", x.r.Method, "path", clip(e.Path), "correlation", x.ids.correlation, "error", err)
	if e.Secret || e.Changed {
		return problem.New(problem.Unavailable, "the call was carried out but could not be recorded, so its answer is withheld").WithNext("try again later")
	}
	return nil
}

func (x *exchange) changes() bool {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
		return false
	}
	return !x.route.Reads
}
