package custom

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/hop"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// Forwards reports whether f's requests are handed to the handler as they are:
// forwarding is on and f has an HTTP trigger as its only input and an HTTP answer
// as its only output, if any.
func (w *Worker) Forwards(f *funcapp.Function) bool {
	if !w.handler.Forward && !w.handler.Proxy && !w.handler.Legacy {
		return false
	}
	inputs, outputs := 0, 0
	for i := range f.Bindings {
		b := &f.Bindings[i]
		if b.Direction != funcapp.Out {
			inputs++
		}
		if b.Direction != funcapp.In {
			outputs++
			if !isHTTPOutput(b) {
				return false
			}
		}
	}
	return f.HTTP() != nil && inputs == 1 && outputs <= 1
}

// isHTTPOutput reports whether b carries the answer to an HTTP request.
func isHTTPOutput(b *funcapp.Binding) bool {
	return b.Direction != funcapp.In && strings.EqualFold(b.Type, "http")
}

// ServeInvocation relays r to the handler and its answer to rw. The invocation's
// timeout and a deadline of r's context bound the whole exchange.
func (w *Worker) ServeInvocation(rw http.ResponseWriter, r *http.Request, inv *worker.Invocation) error {
	req := w.outgoing(r, inv)
	req.Timeout = inv.Timeout
	if d, ok := r.Context().Deadline(); ok {
		left := time.Until(d)
		if left <= 0 {
			return errSlow
		}
		if req.Timeout == 0 || left < req.Timeout {
			req.Timeout = left
		}
	}
	w.calls.begin(inv)
	defer w.calls.end(inv)
	err := w.relay.Relay(rw, r, &req)
	if err == nil {
		return nil
	}
	return w.relayError(r.Context(), err)
}

// relayError adds to a relay's error what the relay cannot know: that the
// context ended because of the function's deadline, and how the process fares.
func (w *Worker) relayError(ctx context.Context, err error) error {
	var committed *worker.CommittedError
	late := errors.Is(ctx.Err(), context.DeadlineExceeded)
	switch isCommitted := errors.As(err, &committed); {
	case late && isCommitted:
		return &worker.CommittedError{Err: errSlow}
	case late:
		return errSlow
	case isCommitted, errors.Is(err, worker.ErrClientGone):
		return err
	}
	return w.blame(ctx, err)
}

// outgoing says how the request to the handler differs from the client's.
func (w *Worker) outgoing(r *http.Request, inv *worker.Invocation) hop.Request {
	cred := view.Find(r, inv)
	req := hop.Request{Target: w.target(r, inv, cred)}
	req.Set = append(make([]hop.Field, 0, 8),
		hop.Field{Name: headerInvocation, Value: inv.ID},
		hop.Field{Name: headerHostVersion, Value: w.cfg.HostVersion})
	req.Drop = dropped(r, cred)
	if inv.KeyName != "" {
		req.Set = append(req.Set, hop.Field{Name: headerKeyName, Value: fieldValue(inv.KeyName)})
	}
	if pages := r.Header["Referer"]; len(pages) > 0 {
		if v := cred.Referer(pages[0]); v != pages[0] || len(pages) > 1 {
			req.Set = append(req.Set, hop.Field{Name: "Referer", Value: v})
		}
	}
	if w.handler.Proxy {
		req.Set = append(req.Set, view.ProxyFields(r, inv)...)
		return req
	}
	req.Set = append(req.Set, hop.Field{Name: "User-Agent", Value: strings.TrimSpace(r.UserAgent() + " " + w.userAgent())})
	return req
}

// target gives the path and query for the handler: the request's own, or
// /<FunctionName> for the older httpWorker section.
func (w *Worker) target(r *http.Request, inv *worker.Invocation, cred view.Credential) string {
	path := r.URL.EscapedPath()
	if w.handler.Legacy {
		path = "/" + url.PathEscape(inv.Function.Name)
	}
	if path == "" {
		path = "/"
	}
	if query := cred.Query(r.URL.RawQuery); query != "" {
		return path + "?" + query
	}
	return path
}

// dropped lists the client's fields that must not reach the function.
func dropped(r *http.Request, cred view.Credential) []string {
	var names []string
	if cred.InHeader {
		names = append(names, view.HeaderKey)
	}
	for name := range r.Header {
		if view.Ours(name) {
			names = append(names, name)
		}
	}
	return names
}
