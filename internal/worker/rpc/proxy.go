package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/hop"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// Some workers take HTTP requests as they are, on a port of their own, beside the
// invocation on the stream; both carry the invocation's id. Only then can bodies
// stream.

const (
	dialAttempts = 10
	dialPause    = 50 * time.Millisecond
	longestDial  = 250 * time.Millisecond
	// failGrace is how long a worker whose function failed may take to answer the
	// request all the same.
	failGrace = time.Second
)

// proxy relays requests to one process.
type proxy struct {
	candidates []string // addresses the worker may listen at
	port       int
	as         *child.Credential // the user who must listen there; nil is not asked

	mu     sync.Mutex
	client *hop.Client // nil until one of them has answered
}

func newProxy(uri string, as *child.Credential) (*proxy, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || !isPort(u.Port()) {
		return nil, problem.New(problem.Unavailable, "the worker's HttpUri is not an http address with a port")
	}
	hosts := []string{u.Hostname()}
	if strings.EqualFold(u.Hostname(), "localhost") {
		hosts = []string{loopback, "::1"}
	}
	p := &proxy{as: as}
	p.port, _ = strconv.Atoi(u.Port())
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip == nil || !ip.IsLoopback() {
			return nil, problem.New(problem.Unavailable, "the worker's HttpUri is not on this machine")
		}
		p.candidates = append(p.candidates, net.JoinHostPort(h, u.Port()))
	}
	return p, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		p.client.Close()
	}
}

// connected gives the client, once the worker listens.
func (p *proxy) connected(ctx context.Context, c clock.Clock) (*hop.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := dialPause
	for n := 0; p.client == nil; n++ {
		if n > 0 {
			if err := clock.Sleep(ctx, c, pause); err != nil {
				return nil, err
			}
			pause = min(2*pause, longestDial)
		}
		addr, err := p.dial(ctx)
		if err == nil {
			p.client = hop.New(addr)
		} else if n+1 >= dialAttempts {
			return nil, problem.Wrap(problem.Unavailable, "the worker does not listen at its HttpUri", err)
		}
	}
	return p.client, nil
}

func (p *proxy) dial(ctx context.Context) (addr string, err error) {
	d := net.Dialer{Timeout: time.Second}
	for _, addr = range p.candidates {
		var conn net.Conn
		if conn, err = d.DialContext(ctx, "tcp", addr); err == nil {
			_ = conn.Close()
			return addr, child.CheckListener(p.port, p.as)
		}
	}
	return "", err
}

// Forwards reports whether f's requests are handed to the worker as they are. All
// processes are of one kind, so any of them can tell.
func (w *Worker) Forwards(f *funcapp.Function) bool {
	if f.HTTP() == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live) > 0 && w.live[0].capabilities().httpURI != ""
}

// ServeInvocation relays r to the worker and its answer to rw, and runs the
// invocation beside it.
func (w *Worker) ServeInvocation(rw http.ResponseWriter, r *http.Request, inv *worker.Invocation) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	ctx, stop := bounded(ctx, inv.Timeout)
	defer stop()
	id, err := w.idOf(inv)
	if err != nil {
		return err
	}
	c, err := w.pick(ctx)
	if err != nil {
		return clientError(r, callError(ctx, err))
	}
	p, err := c.ready(ctx, id)
	if err != nil {
		c.busy.Add(-1)
		return clientError(r, callError(ctx, err))
	}
	return w.relay(ctx, cancel, rw, r, inv, relayed{c: c, client: p, id: id})
}

// ready gives the way to a process's HTTP side, for a function it has loaded.
func (c *channel) ready(ctx context.Context, id string) (*hop.Client, error) {
	if err := c.loadFailure(id); err != nil {
		return nil, err
	}
	c.mu.Lock()
	p := c.proxy
	c.mu.Unlock()
	if p == nil {
		return nil, problem.New(problem.Unavailable, "the worker takes no HTTP requests any more")
	}
	return p.connected(ctx, c.w.cfg.Clock)
}

// relayed is where a request goes.
type relayed struct {
	c      *channel
	client *hop.Client
	id     string
}

// relay sends the request and the invocation. The answer is complete when the
// request's is; what becomes of the invocation after that is only logged.
func (w *Worker) relay(ctx context.Context, cancel context.CancelCauseFunc, rw http.ResponseWriter, r *http.Request, inv *worker.Invocation, to relayed) error {
	caps := to.c.capabilities()
	request, err := newRequest(to.id, inv, &caps, true)
	if err != nil {
		to.c.busy.Add(-1)
		return err
	}
	// The invocation outlives the request: the worker ends it after its answer.
	beside, end := bounded(context.WithoutCancel(ctx), inv.Timeout)
	failed := make(chan error, 1)
	kept := w.keep(func() {
		defer end()
		defer to.c.busy.Add(-1)
		response, err := to.c.call(beside, inv, request)
		if err == nil {
			w.hand(beside, inv, response)
		}
		if failed <- err; err != nil {
			_ = clock.Sleep(ctx, w.cfg.Clock, failGrace)
			cancel(err)
		}
	})
	if !kept {
		end()
		to.c.busy.Add(-1)
		return errStopping
	}
	out := forwarded(r, inv)
	err = to.client.Relay(rw, r.WithContext(ctx), &out)
	if err == nil {
		return nil
	}
	end()
	err = relayError(ctx, r, err, failed)
	if errors.Is(err, problem.Timeout) && r.Context().Err() == nil {
		w.replace(to.c, "function "+inv.Function.Name+" did not end in time")
	}
	return err
}

// hand gives away what a function returned besides its answer.
func (w *Worker) hand(ctx context.Context, inv *worker.Invocation, response *wire.InvocationResponse) {
	if inv.Finished == nil {
		return
	}
	res, err := resultOf(inv, response)
	if err != nil {
		w.cfg.Logs(worker.LogLine{Level: "error", Message: err.Error(), Function: inv.Function.Name, InvocationID: inv.ID, Source: "worker"})
		return
	}
	inv.Finished(ctx, res)
}

// bounded gives a context with a limit; 0 is none.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit > 0 {
		return context.WithTimeout(ctx, limit)
	}
	return context.WithCancel(ctx)
}

// relayError says why a relay failed. When the function failed, that is why.
func relayError(ctx context.Context, r *http.Request, err error, failed <-chan error) error {
	var committed *worker.CommittedError
	isCommitted := errors.As(err, &committed)
	reason := err
	if r.Context().Err() == nil && ctx.Err() != nil {
		reason = callError(ctx, err)
		select {
		case f := <-failed:
			if f != nil {
				reason = f
			}
		default:
		}
	}
	if isCommitted && reason != err {
		return &worker.CommittedError{Err: reason}
	}
	return reason
}

// clientError is err, unless the client is gone.
func clientError(r *http.Request, err error) error {
	if r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return worker.ErrClientGone
	}
	return err
}

// forwarded says how the request to the worker differs from the client's.
func forwarded(r *http.Request, inv *worker.Invocation) hop.Request {
	cred := view.Find(r, inv)
	target := r.URL.EscapedPath()
	if target == "" {
		target = "/"
	}
	if query := cred.Query(r.URL.RawQuery); query != "" {
		target += "?" + query
	}
	out := hop.Request{Target: target, Timeout: inv.Timeout, Set: view.ProxyFields(r, inv)}
	if cred.InHeader {
		out.Drop = append(out.Drop, view.HeaderKey)
	}
	for name := range r.Header {
		if view.Ours(name) {
			out.Drop = append(out.Drop, name)
		}
	}
	if v := r.Header.Get("Referer"); v != "" {
		out.Set = append(out.Set, hop.Field{Name: "Referer", Value: cred.Referer(v)})
	}
	return out
}
