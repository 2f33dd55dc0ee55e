package funchost

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/web"
)

// exchange is one request and its answer. Exchanges are pooled: nothing may keep
// one after end.
type exchange struct {
	web.Recorder
	f       *Front
	r       *http.Request
	started time.Time

	body       *pacedBody // nil when there is none to wait for
	endpoint   *endpoint  // nil until a route matched
	decision   keyring.Decision
	token      access.SiteToken
	invocation [36]byte // GUID text; zero until the function was invoked
	request    string   // what a refused caller was told to ask with; "" for others
	params     [8]route.Param
	reason     string // for the operator
}

func (x *exchange) begin(f *Front, w http.ResponseWriter, r *http.Request) {
	x.Reset(w)
	x.f, x.r, x.started = f, r, f.cfg.Clock.Now()
	f.cfg.Metrics.Enter()
	x.pace()
}

// WriteHeader writes the head; a refusal that leaves the body unread ends the
// connection.
func (x *exchange) WriteHeader(status int) {
	if status >= 400 && x.unread() {
		x.Header()["Connection"] = []string{"close"}
	}
	if x.refused(status) && x.reason != "" && x.invocation[0] == 0 {
		var id [36]byte
		x.request = newGUID(&id)
		x.Header()["X-Ms-Request-Id"] = []string{x.request}
	}
	x.Recorder.WriteHeader(status)
}

// end writes the request's line and counts it. It also runs when the handler
// panics, which it lets the server see.
func (x *exchange) end() {
	f := x.f
	f.cfg.Metrics.Leave()
	took := f.cfg.Clock.Now().Sub(x.started)
	if x.endpoint != nil {
		x.endpoint.metrics.Observe(x.Status(), took)
	} else {
		f.cfg.Metrics.Function("").Observe(x.Status(), took)
	}
	if f.cfg.Requests != nil {
		f.cfg.Requests.Log(x.event(took))
	}
	if s := x.Status(); x.refused(s) && (x.reason != "" || x.invocation[0] != 0) {
		f.cfg.Denied(x.denial(s))
	}
	*x = exchange{}
	f.pool.Put(x)
}

// refused reports whether a status is one that somebody is told of.
func (x *exchange) refused(status int) bool {
	return x.f.cfg.Denied != nil && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests)
}

func (x *exchange) denial(status int) Denial {
	d := Denial{ID: x.request, Method: x.r.Method, Path: x.r.URL.Path, Reason: x.reason, Remote: x.r.RemoteAddr, Status: status}
	if x.invocation[0] != 0 {
		d.ID, d.Invocation = string(x.invocation[:]), true
	}
	if x.endpoint != nil {
		d.Function = x.endpoint.function.Name
	}
	if x.decision.Name != "" {
		d.Key = x.decision.Kind.String() + "/" + x.decision.Name
	}
	return d
}

func (x *exchange) event(took time.Duration) telemetry.RequestEvent {
	e := telemetry.RequestEvent{
		Time: x.started, Status: x.Status(), Method: x.r.Method, Path: x.r.URL.Path, Query: x.r.URL.RawQuery,
		App: x.f.cfg.App, Duration: took, Bytes: x.Bytes(), Remote: x.r.RemoteAddr, Reason: x.reason,
	}
	if x.endpoint != nil {
		e.Function = x.endpoint.function.Name
	}
	if x.decision.Name != "" {
		e.KeyName, e.KeyKind = x.decision.Name, x.decision.Kind.String()
	}
	if x.invocation[0] != 0 {
		e.InvocationID = string(x.invocation[:])
	}
	return e
}

// Decided takes down how the runtime API or a webhook decided about the caller.
func (x *exchange) Decided(v access.Verdict, d keyring.Decision) {
	x.decision = d
	switch v {
	case access.Allowed:
		x.count(telemetry.KeyAccepted)
		return
	case access.Unknown:
		x.count(refusal(d))
	case access.Insufficient:
		x.count(telemetry.KeyInsufficient)
	case access.Throttled:
		x.count(telemetry.KeyThrottled)
		x.reason = throttleText(d)
		return
	default:
		x.count(telemetry.KeyStoreFailed)
	}
	x.reason = refusalText(d)
}

// refuse answers without a body and remembers why, for the operator.
func (x *exchange) refuse(status int, reason string) {
	x.reason = reason
	x.WriteHeader(status)
}

// newInvocation makes the id of an invocation.
func (x *exchange) newInvocation() string { return newGUID(&x.invocation) }

// newGUID makes a random (version 4) GUID. It identifies, it does not protect, so
// the runtime's fast generator serves.
func newGUID(text *[36]byte) string {
	hi, lo := rand.Uint64(), rand.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(0xc<<60) | 0x8<<60
	b := text[:0]
	b = appendHex(b, hi>>32, 8)
	b = append(b, '-')
	b = appendHex(b, hi>>16&0xffff, 4)
	b = append(b, '-')
	b = appendHex(b, hi&0xffff, 4)
	b = append(b, '-')
	b = appendHex(b, lo>>48, 4)
	b = append(b, '-')
	appendHex(b, lo&(1<<48-1), 12)
	return string(text[:])
}

func appendHex(b []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}
