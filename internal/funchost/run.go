package funchost

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// run invokes a function that gets its request as data, again as its retry
// policy says, once a place is free.
func (x *exchange) run(w worker.Worker, s *site, inv *worker.Invocation) (*worker.Result, error) {
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
		res, err := x.attempt(w, inv)
		if err == nil {
			return res, nil
		}
		if !mayRetry(retry, inv, err) {
			return nil, err
		}
		x.f.cfg.Log.Warn("retrying", "function", inv.Function.Name, "invocation", inv.ID, "attempt", inv.RetryCount+1, "reason", err)
		if err := clock.Sleep(x.r.Context(), x.f.cfg.Clock, retryDelay(retry, inv.RetryCount)); err != nil {
			return nil, worker.ErrClientGone
		}
		inv.RetryCount++
		inv.LastError = err.Error()
		inv.ID = x.newInvocation()
	}
}

func (x *exchange) attempt(w worker.Worker, inv *worker.Invocation) (*worker.Result, error) {
	ctx := x.r.Context()
	if inv.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, inv.Timeout)
		defer cancel()
	}
	res, err := w.Invoke(ctx, inv)
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

// retryDelay is the wait before the next attempt after the given number.
func retryDelay(p *funcapp.Retry, attempt int) time.Duration {
	if p.MinimumInterval == 0 && p.MaximumInterval == 0 {
		return p.DelayInterval
	}
	d := max(p.MinimumInterval, time.Millisecond)
	for range attempt {
		if d >= p.MaximumInterval {
			break
		}
		d *= 2
	}
	return min(d, p.MaximumInterval)
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
