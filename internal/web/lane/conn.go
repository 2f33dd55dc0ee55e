package lane

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// States of a connection, for Shutdown.
const (
	stateIdle int32 = iota // waits for a request; may be closed
	stateBusy              // serves one; must be let finish
	stateGone              // closed, or net/http's now
)

// deadlineSlack is how stale the idle deadline may be: setting it costs, so it
// is renewed only that often and set that much later.
const deadlineSlack = 10 * time.Second

// conn is one client connection. It belongs to one goroutine but for state.
type conn struct {
	s      *Server
	nc     net.Conn
	side   *side
	br     *bufio.Reader
	remote string
	state  atomic.Int32

	deadlineSet time.Time // when the read deadline was last set
	out         []byte    // the answer's head and small body, reused
}

func newConn(s *Server, nc net.Conn, side *side) *conn {
	nc = &patient{Conn: nc}
	return &conn{s: s, nc: nc, side: side, br: bufio.NewReaderSize(nc, bufferSize), remote: nc.RemoteAddr().String()}
}

// serve serves requests until the connection ends or goes to net/http.
func (c *conn) serve() {
	for {
		head, err := c.awaitHead()
		if err != nil {
			c.close()
			return
		}
		if !c.state.CompareAndSwap(stateIdle, stateBusy) {
			return // shut down meanwhile
		}
		r := c.parse(head)
		if r == nil {
			c.handOver()
			return
		}
		if !c.exchange(r) {
			c.close()
			return
		}
		c.state.Store(stateIdle)
		if c.s.closing.Load() {
			c.closeIfIdle()
			return
		}
	}
}

func (c *conn) close() {
	c.state.Store(stateGone)
	_ = c.nc.Close()
}

func (c *conn) closeIfIdle() {
	if c.state.CompareAndSwap(stateIdle, stateGone) {
		_ = c.nc.Close()
	}
}

var headEnd = []byte("\r\n\r\n")

// awaitHead gives the next complete head, still in the buffer. nil without an
// error means that it is none for the lane.
func (c *conn) awaitHead() ([]byte, error) {
	c.idleDeadline()
	if _, err := c.br.Peek(1); err != nil {
		return nil, err
	}
	for started := false; ; started = true {
		b, _ := c.br.Peek(c.br.Buffered())
		if end := bytes.Index(b, headEnd); end >= 0 {
			return b[:end+len(headEnd)], nil
		}
		if len(b) >= bufferSize || hopeless(b) {
			return nil, nil
		}
		if !started {
			c.setReadDeadline(c.s.HeaderTimeout)
		}
		if _, err := c.br.Peek(len(b) + 1); err != nil {
			return nil, err
		}
	}
}

// hopeless reports whether b cannot begin a request of the lane, so that net/http
// need not wait for more: lines that end without a carriage return, or the
// HTTP/2 preface, whose second line is empty.
func hopeless(b []byte) bool {
	if bytes.HasPrefix(b, []byte("PRI * HTTP/2")) {
		return true
	}
	for i, ch := range b {
		if ch == '\n' && (i == 0 || b[i-1] != '\r') {
			return true
		}
	}
	return false
}

// idleDeadline makes sure that a silent client is dropped in time.
func (c *conn) idleDeadline() {
	if now := time.Now(); now.Sub(c.deadlineSet) > deadlineSlack {
		c.deadlineSet = now
		_ = c.nc.SetReadDeadline(now.Add(c.s.IdleTimeout + deadlineSlack))
	}
}

func (c *conn) setReadDeadline(d time.Duration) {
	c.deadlineSet = time.Time{}
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
}

// handOver gives the connection to net/http with all that was read from it.
func (c *conn) handOver() {
	c.state.Store(stateGone)
	_ = c.nc.SetDeadline(time.Time{})
	unread, _ := c.br.Peek(c.br.Buffered())
	given := &handedOver{Conn: c.nc, unread: bytes.Clone(unread)}
	if !c.side.give(given) {
		_ = c.nc.Close()
	}
}

// handedOver is a connection that first gives what the lane had read.
type handedOver struct {
	net.Conn
	unread []byte
}

func (h *handedOver) Read(p []byte) (int, error) {
	if len(h.unread) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.unread)
	if h.unread = h.unread[n:]; len(h.unread) == 0 {
		h.unread = nil
	}
	return n, nil
}

// exchange serves one request; false when the connection must end.
func (c *conn) exchange(r *request) (keep bool) {
	if err := c.readBody(r); err != nil {
		return false
	}
	w := &response{c: c, r: r.http, header: make(http.Header, 8), length: -1}
	defer r.ctx.finish()
	if !c.handle(w, r.http) {
		return false
	}
	return w.finish() == nil && !w.close
}

// readBody reads the request's small body whole.
func (c *conn) readBody(r *request) error {
	n := r.http.ContentLength
	if n == 0 {
		r.http.Body = http.NoBody
		return nil
	}
	body := make([]byte, n)
	if int(n) > c.br.Buffered() {
		c.setReadDeadline(c.s.IdleTimeout)
	}
	if _, err := io.ReadFull(c.br, body); err != nil {
		return err
	}
	r.http.Body = memoryBody{bytes.NewReader(body)}
	return nil
}

// memoryBody is a body that was read already. Its Len tells handlers so.
type memoryBody struct{ *bytes.Reader }

// Close does nothing.
func (memoryBody) Close() error { return nil }

// handle calls the handler; false when it panicked.
func (c *conn) handle(w http.ResponseWriter, r *http.Request) (ok bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		ok = false
		if err, is := v.(error); !is || !errors.Is(err, http.ErrAbortHandler) {
			c.s.Log.Error("a handler panicked", "reason", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	c.s.Handler.ServeHTTP(w, r)
	return true
}
