package arm

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Inner is a call that the platform makes for a caller it has authenticated
// before, such as one of a deployment.
type Inner struct {
	Caller        Caller
	Method        string
	ID            string // the path, not percent-encoded
	Version       string // api-version
	Body          []byte // JSON; nil for none
	BaseURL       string // of the call that it is made for
	Remote        string // address of that call's connection
	CorrelationID string // of that call
	Template      bool   // it comes from a template; see [Call.Template]
}

// templateKey marks the context of calls that come from a template.
type templateKey struct{}

// Template reports whether the call comes from a template, which says what is to
// be there, however often it is deployed: what is so already is to stay.
func (c *Call) Template() bool {
	is, _ := c.Context().Value(templateKey{}).(bool)
	return is
}

// maxInner is the most bytes the answer to an inner call has.
const maxInner = 8 << 20

// Invoke serves a call within this process. Authentication is left out; whether
// the caller may, what else is asked of a call, and the audit record are as for
// any other. It returns problem.TooLarge for an answer that is too large.
func (a *API) Invoke(ctx context.Context, in Inner) (status int, body []byte, err error) {
	r, err := in.request(ctx)
	if err != nil {
		return 0, nil, err
	}
	w := &memory{header: http.Header{}}
	x := &exchange{api: a, w: w, r: r, ids: newIDs(r), time: a.cfg.Clock.Now(), as: &in.Caller}
	if !a.whole(x) || w.over {
		return 0, nil, problem.New(problem.TooLarge, "the answer of "+in.Method+" "+clip(in.ID)+" is too large")
	}
	return w.status, w.body.Bytes(), nil
}

// whole serves a call and reports whether its answer came to its end.
func (a *API) whole(x *exchange) (whole bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
			panic(p)
		}
	}()
	a.serve(x)
	return true
}

func (in Inner) request(ctx context.Context) (*http.Request, error) {
	base, err := url.Parse(in.BaseURL)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the base URL of a call cannot be read", err)
	}
	u := &url.URL{Path: "/" + strings.Trim(in.ID, "/"), RawQuery: url.Values{"api-version": {in.Version}}.Encode()}
	r := &http.Request{
		Method: in.Method, URL: u, Host: base.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: in.Remote,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Ms-Correlation-Request-Id": {in.CorrelationID}},
		Body:   io.NopCloser(bytes.NewReader(in.Body)), ContentLength: int64(len(in.Body)),
	}
	if base.Scheme == "https" {
		r.TLS = &tls.ConnectionState{}
	}
	return r.WithContext(context.WithValue(ctx, templateKey{}, in.Template)), nil
}

// memory keeps an answer.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
	over   bool
}

// Header implements http.ResponseWriter.
func (m *memory) Header() http.Header { return m.header }

// WriteHeader implements http.ResponseWriter.
func (m *memory) WriteHeader(status int) {
	if m.status == 0 {
		m.status = status
	}
}

// Write implements http.ResponseWriter.
func (m *memory) Write(p []byte) (int, error) {
	m.WriteHeader(http.StatusOK)
	if m.body.Len()+len(p) > maxInner {
		m.over = true
		return 0, io.ErrShortWrite
	}
	return m.body.Write(p)
}
