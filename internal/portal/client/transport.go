package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"github.com/latchkey/latchkey/internal/problem"
)

// Within is a transport to a handler in this process. What the handler throws becomes
// an error, as for any caller of a server: several calls can be on their way at a time,
// each on a goroutine of its own, and the process must not end with one.
type Within struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper. The answer is kept in memory; it returns
// [ErrTooLarge] for one that is too large for that. When the request's context ends it
// waits no longer, even for a handler that does not look at the context; that one ends
// by itself, and its answer is for nobody.
func (w Within) RoundTrip(r *http.Request) (*http.Response, error) {
	type result struct {
		answer *http.Response
		err    error
	}
	done := make(chan result, 1)
	go func() {
		a, err := w.serve(r)
		done <- result{a, err}
	}()
	select {
	case got := <-done:
		return got.answer, got.err
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (w Within) serve(r *http.Request) (_ *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.TLS = r.URL.RequestURI(), &tls.ConnectionState{}
	in.RemoteAddr = r.RemoteAddr
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	kept := &answer{header: http.Header{}}
	defer func() {
		if p := recover(); p != nil && kept.cut { // the handler found that it could not go on
			err = ErrTooLarge
		} else if p != nil {
			err = problem.New(problem.Internal, fmt.Sprintf("the handler of the call panicked: %v", p))
		}
	}()
	w.Handler.ServeHTTP(kept, in)
	kept.WriteHeader(http.StatusOK)
	if kept.cut {
		return nil, ErrTooLarge
	}
	return &http.Response{
		Status: http.StatusText(kept.status), StatusCode: kept.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: kept.header, Body: io.NopCloser(&kept.body), ContentLength: int64(kept.body.Len()), Request: r,
	}, nil
}

// answer keeps what a handler answers.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	cut    bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > maxAnswer {
		a.cut = true
		return 0, io.ErrShortWrite
	}
	return a.body.Write(p)
}
