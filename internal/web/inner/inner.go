// Package inner owns connections within the process: a listener that a server takes
// like any other, and that others of the process dial as a client at an address that
// they give. What is asked so goes through all that a stranger's request goes through.
// It does not know what is served, or who dials and whether they may.
package inner

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
)

// Listener gives a server the connections that are dialled. It is safe for concurrent
// use.
type Listener struct {
	dialled chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

// Listen makes a listener.
func Listen() *Listener {
	return &Listener{dialled: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialled:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that there are stay.
func (l *Listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return address("inner") }

// Dial connects to the server as a client at remote, "192.0.2.1:4711", which is all that
// the server learns of who that is. It waits for the server until the context ends. It
// returns problem.Invalid for an address that is none, and problem.Unavailable when
// nothing is served.
func (l *Listener) Dial(ctx context.Context, remote string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "a client needs an address", err)
	}
	ours, theirs := net.Pipe()
	select {
	case l.dialled <- &conn{theirs, net.TCPAddrFromAddrPort(at)}:
		return ours, nil
	case <-l.closed:
		err = problem.New(problem.Unavailable, "nothing is served any more")
	case <-ctx.Done():
		err = problem.Wrap(problem.Unavailable, "nothing is served", ctx.Err())
	}
	_, _ = ours.Close(), theirs.Close()
	return nil, err
}

// conn is the server's end of a connection.
type conn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

type address string

// Network implements net.Addr.
func (a address) Network() string { return string(a) }

// String implements net.Addr.
func (a address) String() string { return string(a) }
