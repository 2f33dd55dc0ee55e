package funchost

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/worker"
)

// serveFunction serves everything that is not the runtime API: it finds the
// function, lets the caller in or not, and invokes it.
func (x *exchange) serveFunction() {
	live, err := x.f.cfg.Instance.Enter(x.r.Context(), patience)
	if err != nil {
		x.notServing(err)
		return
	}
	defer live.Leave()
	s := x.f.current(live.Model)
	x.decorate(s)
	entry, params := s.model.Routes.Match(x.r.Method, x.r.URL.EscapedPath(), x.params[:0])
	if entry == nil || s.model.Routes.Ambiguous(x.r.Method, x.r.URL.EscapedPath(), entry) {
		x.noRoute()
		return
	}
	x.endpoint = s.endpoints[entry.Function]
	if !x.admit() {
		return
	}
	if err := x.invoke(live, s, params); err != nil {
		x.fail(err)
	}
}

// decorate arranges for the headers host.json adds to every answer.
func (x *exchange) decorate(s *site) {
	x.BeforeHead = s.onHead
	if s.hsts != nil && x.r.TLS != nil && !s.hsts.excluded[hostOnly(x.r.Host)] {
		x.Header().Set("Strict-Transport-Security", s.hsts.value)
	}
}

// decorateRuntime does the same for the answers of the runtime API, which also
// come when nothing is being served.
func (x *exchange) decorateRuntime() {
	if m := x.f.cfg.Instance.Model(); m != nil {
		x.decorate(&site{onHead: customHeaders(m.App.Host.HTTP.CustomHeaders), hsts: newHSTS(m.App.Host.HTTP.HSTS)})
	}
}

func (x *exchange) notServing(err error) {
	x.reason = err.Error()
	if errors.Is(err, worker.ErrClientGone) {
		x.WriteHeader(statusClientGone)
		return
	}
	if x.f.cfg.Instance.Status().State == instance.Offline {
		x.offlinePage()
		return
	}
	web.WriteProblem(x, err)
}

func (x *exchange) offlinePage() {
	x.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.Header().Set("Cache-Control", "no-store")
	x.WriteHeader(http.StatusServiceUnavailable)
	_, _ = x.Write(x.f.cfg.Instance.OfflinePage())
}

func (x *exchange) noRoute() {
	if x.r.URL.Path != "/" || (x.r.Method != http.MethodGet && x.r.Method != http.MethodHead) {
		x.refuse(http.StatusNotFound, "no function has this route and method")
		return
	}
	if !x.f.cfg.HomePage {
		x.WriteHeader(http.StatusNoContent)
		return
	}
	x.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = x.Write(homePage)
}

var homePage = []byte("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Your function app is running</title>\n" +
	"<h1>Your function app is up and running</h1>\n")

// admit decides whether the caller may have the function, and answers if not.
// The order of the checks is the stock host's: a disabled function is only told
// from an enabled one to those who hold a key to it.
func (x *exchange) admit() bool {
	e := x.endpoint
	presented := access.Presented(x.r)
	if presented != "" {
		x.decision = x.f.cfg.Gate.Evaluate(x.r, presented, e.scope)
	}
	if x.f.cfg.Gate.Tokens != nil {
		x.readToken()
	}
	d := x.decision
	if e.level != keyring.Anonymous && !x.token.Invoke {
		switch {
		case d.Unavailable():
			x.undecided()
			return false
		case d.Throttled:
			x.count(telemetry.KeyThrottled)
			x.reason = throttleText(d)
			access.TooMany(x, d)
			return false
		case !satisfied(e.level, d):
			x.count(refusal(d))
			x.refuse(http.StatusUnauthorized, refusalText(d))
			return false
		}
	}
	if e.function.Disabled && d.Level != keyring.AdminLevel && !x.token.Invoke {
		x.refuse(http.StatusNotFound, "the function is disabled")
		return false
	}
	x.count(acceptance(e))
	return true
}

// readToken looks for a site token. Its bearer may manage the app, so the
// function must not see it.
func (x *exchange) readToken() {
	if x.token = x.f.cfg.Gate.Tokens.Of(x.r); x.token.Valid {
		x.reason = "site token"
		access.DropToken(x.r)
	}
}

// undecided answers when the keys cannot be read, unless the caller did not wait
// for them to be.
func (x *exchange) undecided() {
	if x.r.Context().Err() != nil {
		x.refuse(statusClientGone, worker.ErrClientGone.Error())
		return
	}
	x.count(telemetry.KeyStoreFailed)
	x.refuse(http.StatusInternalServerError, "the keys cannot be read")
}

// throttleText tells the operator what there was too much of.
func throttleText(d keyring.Decision) string {
	switch d.Reason {
	case keyring.RateExceeded:
		return "the key is used more often than its rate allows"
	case keyring.QuotaExceeded:
		return "the key has used up its quota of this period"
	}
	return "too many wrong keys from this address"
}

// refusalText tells the operator why a key does not open a function.
func refusalText(d keyring.Decision) string {
	if d.Reason == keyring.Matched {
		return "key: a key of level " + d.Level.String() + " is not enough"
	}
	return "key: " + d.Reason.String()
}

func (x *exchange) count(r telemetry.KeyResult) { x.f.cfg.Metrics.KeyDecision(r) }

func acceptance(e *endpoint) telemetry.KeyResult {
	if e.level == keyring.Anonymous {
		return telemetry.KeyNotNeeded
	}
	return telemetry.KeyAccepted
}

func refusal(d keyring.Decision) telemetry.KeyResult {
	switch {
	case d.Level != keyring.Anonymous || d.Reason == keyring.OtherFunction:
		return telemetry.KeyInsufficient
	case d.Reason == keyring.NoKey:
		return telemetry.KeyMissing
	}
	return telemetry.KeyUnknown
}

// statusClientGone is logged for callers that hung up; nobody receives it.
const statusClientGone = 499

// fail answers an invocation that failed. The stock host says 500 whatever the
// cause; the log says which.
func (x *exchange) fail(err error) {
	x.reason = err.Error()
	var committed *worker.CommittedError
	switch {
	case errors.As(err, &committed):
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	case errors.Is(err, worker.ErrClientGone):
		x.WriteHeader(statusClientGone)
	case errors.Is(err, errTooManyRequests):
		scaleOut(x.Header())
		x.WriteHeader(http.StatusTooManyRequests)
	case errors.Is(err, problem.TooLarge):
		x.Header().Set("Connection", "close")
		x.WriteHeader(http.StatusRequestEntityTooLarge)
	case errors.Is(err, problem.Invalid):
		x.WriteHeader(http.StatusBadRequest)
	case errors.Is(err, errUpgrade):
		web.WriteProblem(x, err)
	default:
		x.WriteHeader(http.StatusInternalServerError)
	}
}

// invoke takes the request in and runs the function once a place is free.
func (x *exchange) invoke(live *instance.Live, s *site, params []route.Param) error {
	if err := s.throttle.queue(); err != nil {
		return err
	}
	defer s.throttle.leave()
	inv := x.newInvocationFor(s)
	forwards := live.HTTP != nil && live.HTTP.Forwards(inv.Function)
	if forwards && isWebSocket(x.r.Header) {
		return errUpgrade
	}
	if err := x.receive(inv, forwards); err != nil {
		return err
	}
	inv.RouteParams = paramMap(params)
	var err error
	if inv.Inputs, err = x.f.cfg.Instance.Inputs(x.r.Context(), inv.Function); err != nil {
		return err
	}
	if forwards {
		return x.forward(live, s, inv)
	}
	res, err := x.run(live, s, inv)
	if err == nil {
		x.writeResult(res)
	}
	return err
}

// forward relays the request. What the function returns besides its answer is
// delivered when it has ended; by then it is too late to tell the caller of a failure.
func (x *exchange) forward(live *instance.Live, s *site, inv *worker.Invocation) error {
	if err := s.throttle.take(x.r.Context()); err != nil {
		return err
	}
	defer s.throttle.give()
	if live.Delivers(inv.Function) {
		log := x.f.cfg.Log // x is somebody else's when the function ends
		inv.Finished = func(ctx context.Context, res *worker.Result) {
			if err := live.Deliver(ctx, inv, res); err != nil {
				log.Error("an output was not delivered; the request was answered already", "function", inv.Function.Name, "invocation", inv.ID, "reason", err)
			}
		}
	}
	return live.HTTP.ServeInvocation(x, x.r, inv)
}

// errUpgrade refuses to relay a WebSocket handshake: the handler would see an
// ordinary request and its caller would wait for a socket that never opens.
var errUpgrade = problem.New(problem.Unsupported, "this host does not relay WebSocket connections")

func isWebSocket(h http.Header) bool {
	values := h["Upgrade"]
	return len(values) > 0 && strings.EqualFold(values[0], "websocket")
}

// newInvocationFor makes the invocation. The request loses what the function
// must not see: the key that opened it and identities nobody vouches for.
func (x *exchange) newInvocationFor(s *site) *worker.Invocation {
	x.f.cfg.Gate.DropForged(x.r)
	inv := &worker.Invocation{
		ID:       x.newInvocation(),
		Function: x.endpoint.function,
		Request:  x.r,
		Timeout:  s.timeout,
		Started:  x.started,
	}
	inv.StripKey = x.carriesKey()
	if x.decision.Level != keyring.Anonymous {
		inv.KeyName, inv.KeyLevel = x.decision.Name, x.decision.Level.String()
	}
	return inv
}

// carriesKey reports whether the request carries something the function must not
// see: whatever is in the key header, and a code that is a key of the app, in force
// here or not. A code that is nobody's key is the function's own data: sign-in
// redirects use that name too.
func (x *exchange) carriesKey() bool {
	return x.decision.Known() || access.InHeader(x.r)
}

func paramMap(params []route.Param) map[string]string {
	if len(params) == 0 {
		return nil
	}
	m := make(map[string]string, len(params))
	for _, p := range params {
		m[p.Name] = p.Value
	}
	return m
}
