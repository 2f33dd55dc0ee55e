package funchost

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// run invokes a function that gets its request as data, again as its retry
// policy says, once a place is free.
func (x *exchange) run(live *instance.Live, s *site, inv *worker.Invocation) (*worker.Result, error) {
	if err := s.throttle.take(x.r.Context()); err != nil {
		return nil, err
	}
	defer s.throttle.give()
	inv.Identities = x.f.cfg.Gate.Identities(x.r, x.decision, x.token)
	retry := inv.Function.Retry
	inv.HasRetry = retry != nil
	if retry != nil {
		inv.MaxRetries = retry.MaxRetryCount
	}
	for {
		res, err := x.attempt(live, inv)
		if err == nil {
			return res, nil
		}
		if !mayRetry(retry, inv, err) {
			return nil, err
		}
		x.f.cfg.Log.Warn("retrying", "function", inv.Function.Name, "invocation", inv.ID, "attempt", inv.RetryCount+1, "reason", err)
		if err := clock.Sleep(x.r.Context(), x.f.cfg.Clock, trigger.RetryDelay(retry, inv.RetryCount)); err != nil {
			return nil, worker.ErrClientGone
		}
		inv.RetryCount++
		inv.LastError = err.Error()
		inv.ID = x.newInvocation()
	}
}

func (x *exchange) attempt(live *instance.Live, inv *worker.Invocation) (*worker.Result, error) {
	ctx := x.r.Context()
	if inv.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, inv.Timeout)
		defer cancel()
	}
	res, err := live.Worker.Invoke(ctx, inv)
	if err == nil {
		err = live.Deliver(ctx, inv, res)
	}
	if err != nil && x.r.Context().Err() != nil {
		return nil, worker.ErrClientGone
	}
	return res, err
}

func mayRetry(p *funcapp.Retry, inv *worker.Invocation, err error) bool {
	if p == nil || errors.Is(err, worker.ErrClientGone) || errors.Is(err, problem.Invalid) {
		return false
	}
	return p.MaxRetryCount < 0 || inv.RetryCount < p.MaxRetryCount
}

// writeResult answers with what the function returned; 204 when it gave nothing.
func (x *exchange) writeResult(res *worker.Result) {
	if res == nil || res.HTTP == nil {
		x.WriteHeader(http.StatusNoContent)
		return
	}
	h := x.Header()
	for name, values := range res.HTTP.Header {
		h[name] = values
	}
	if bodyAllowed(res.HTTP.Status) {
		h["Content-Length"] = []string{strconv.Itoa(len(res.HTTP.Body))}
	}
	x.WriteHeader(res.HTTP.Status)
	if x.r.Method != http.MethodHead && bodyAllowed(res.HTTP.Status) {
		_, _ = x.Write(res.HTTP.Body)
	}
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// hostOnly gives a host without port and brackets, in lower case.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
