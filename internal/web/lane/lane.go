// Package lane owns the express lane of a plaintext HTTP server: a connection
// loop for the plain requests that are nearly all of the traffic. It reads such
// a request without net/http's cost per request (a goroutine that watches the
// client, two deadlines, a dozen allocations) and hands it to an ordinary
// [http.Handler].
//
// The lane understands a strict subset of HTTP/1.1 and nothing else: a complete
// head in one buffer, origin-form target, one valid Host, at most one
// Content-Length with a small body, no other framing, no upgrade, no
// expectation. Whatever else arrives — HTTP/2, HTTP/1.0, chunked or large bodies,
// odd or faulty heads — goes to net/http with every byte unread, for the rest of
// the connection. So there is one place that decides about unusual requests, and
// it is not here.
package lane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the lane.
const (
	bufferSize = 4 << 10  // a head must fit
	maxBody    = 16 << 10 // larger bodies take the other way
)

// Server serves a listener: plain requests itself, all others through Fallback.
// Fields are set before Serve and not changed after.
type Server struct {
	Handler       http.Handler
	Fallback      *http.Server  // must have the same handler
	IdleTimeout   time.Duration // between requests
	HeaderTimeout time.Duration // from a head's first byte to its last
	Log           *slog.Logger

	closing atomic.Bool
	mu      sync.Mutex
	l       net.Listener
	conns   map[*conn]struct{}
	active  sync.WaitGroup
}

// Serve takes connections from l until Shutdown or Close, then returns
// [http.ErrServerClosed].
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.l = l
	closing := s.closing.Load()
	s.mu.Unlock()
	if closing { // it was ended before it began
		_ = l.Close()
		return http.ErrServerClosed
	}
	side := newSide(l.Addr())
	served := make(chan error, 1)
	go func() { served <- s.Fallback.Serve(side) }()
	defer func() { _ = side.Close(); <-served }()
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.closing.Load() {
				return http.ErrServerClosed
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				time.Sleep(5 * time.Millisecond) // out of descriptors: net/http waits as well
				continue
			}
			return err
		}
		s.start(nc, side)
	}
}

func (s *Server) start(nc net.Conn, side *side) {
	c := newConn(s, nc, side)
	if !s.track(c) {
		_ = nc.Close()
		return
	}
	go func() {
		defer s.untrack(c)
		c.serve()
	}()
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	s.active.Add(1)
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.active.Done()
}

// Shutdown takes no new connections or requests, closes idle connections, and
// waits for requests in progress until ctx ends, whose error it then returns. It
// closes the listener.
func (s *Server) Shutdown(ctx context.Context) error {
	s.begin((*conn).closeIfIdle)
	done := make(chan struct{})
	go func() { s.active.Wait(); close(done) }()
	err := s.Fallback.Shutdown(ctx)
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return err
}

// Close cuts every connection.
func (s *Server) Close() error {
	s.begin(func(c *conn) { _ = c.nc.Close() })
	return s.Fallback.Close()
}

func (s *Server) begin(each func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	if s.l != nil {
		_ = s.l.Close()
	}
	for c := range s.conns {
		each(c)
	}
}

// side is the listener through which net/http gets the connections the lane
// does not serve.
type side struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newSide(addr net.Addr) *side {
	return &side{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (s *side) give(c net.Conn) bool {
	select {
	case s.conns <- c:
		return true
	case <-s.closed:
		return false
	}
}

func (s *side) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *side) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *side) Addr() net.Addr { return s.addr }
