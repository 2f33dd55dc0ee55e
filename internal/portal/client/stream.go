package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
)

// Flowing is a transport to a handler in this process whose answers last: they are read
// as they are written, and what is not read holds the handler up. The handler's context
// ends when the body is closed, or with the request's.
type Flowing struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper. It waits for the head of the answer.
func (f Flowing) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI, in.TLS, in.RemoteAddr = r.URL.RequestURI(), &tls.ConnectionState{}, r.RemoteAddr
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	from, to := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = to.CloseWithError(context.Canceled) })
	w := &flow{header: http.Header{}, to: to, begun: make(chan struct{})}
	go func() {
		defer stop()
		defer func() {
			if p := recover(); p != nil {
				_ = to.CloseWithError(problem.New(problem.Internal, fmt.Sprintf("the handler of the call panicked: %v", p)))
			}
			w.WriteHeader(http.StatusInternalServerError) // if there was none
		}()
		f.Handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
		_ = to.Close()
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		cancel()
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: flowing{from, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// flowing is the body of an answer.
type flowing struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the handler's work.
func (f flowing) Close() error {
	f.cancel()
	return f.PipeReader.Close()
}

// flow hands on what a handler writes.
type flow struct {
	header, sent http.Header
	status       int
	to           *io.PipeWriter
	once         sync.Once
	begun        chan struct{} // closed when there is a status
}

// Header implements http.ResponseWriter.
func (f *flow) Header() http.Header { return f.header }

// WriteHeader implements http.ResponseWriter.
func (f *flow) WriteHeader(status int) {
	if status < http.StatusOK {
		return
	}
	f.once.Do(func() {
		f.status, f.sent = status, f.header.Clone()
		close(f.begun)
	})
}

// Write implements http.ResponseWriter.
func (f *flow) Write(p []byte) (int, error) {
	f.WriteHeader(http.StatusOK)
	n, err := f.to.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = context.Canceled
	}
	return n, err
}

// Flush implements http.Flusher: nothing is held back.
func (f *flow) Flush() { f.WriteHeader(http.StatusOK) }
