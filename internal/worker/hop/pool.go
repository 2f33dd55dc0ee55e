package hop

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	readBuffer  = 4 << 10
	maxIdle     = 512             // idle connections kept
	maxIdleTime = 4 * time.Second // below Node's keep-alive timeout of 5 s
	probeAfter  = 250 * time.Millisecond
	dialTimeout = 5 * time.Second
)

// pool keeps idle connections, last used first.
type pool struct {
	addr   string
	dialer net.Dialer

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// conn is one connection with its buffers. It is used by one goroutine at a time.
type conn struct {
	net.Conn
	br       *bufio.Reader
	out      []byte // request head (and a small body) under construction
	lastUsed time.Time
}

// get gives an idle connection that still looks alive, or a new one. careful asks
// the connection itself however short its rest was: for requests that cannot be
// repeated.
func (p *pool) get(ctx context.Context, careful bool) (c *conn, reused bool, err error) {
	for {
		c := p.pop()
		if c == nil {
			break
		}
		if c.alive(careful) {
			return c, true, nil
		}
		c.close()
	}
	c, err = p.dial(ctx)
	return c, false, err
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := p.dialer.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the worker cannot be reached", err)
	}
	return &conn{Conn: nc, br: bufio.NewReaderSize(nc, readBuffer), out: make([]byte, 0, 1024)}, nil
}

// put takes back a connection whose exchange ended cleanly.
func (p *pool) put(c *conn) {
	c.lastUsed = time.Now()
	if cap(c.out) > maxInlineBody+8<<10 {
		c.out = make([]byte, 0, 1024)
	}
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

func (c *conn) close() { _ = c.Conn.Close() }

// alive reports whether the connection may be used again. A connection just
// used is trusted; one that rested is asked without blocking whether the other
// side has closed it or sent something nobody asked for.
func (c *conn) alive(careful bool) bool {
	rested := time.Since(c.lastUsed)
	if c.br.Buffered() > 0 || rested > maxIdleTime {
		return false
	}
	return (!careful && rested < probeAfter) || c.quiet()
}

func (c *conn) quiet() bool {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return true
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}
