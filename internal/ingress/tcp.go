package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Pauses of ports.
const (
	listenAgain = 5 * time.Second // after a port could not be opened
	acceptAgain = 20 * time.Millisecond
	dialTime    = 5 * time.Second
)

// open serves the ports of a table and ends the others; in.mu is held.
func (in *Ingress) open(t *table) {
	for port, end := range in.ports {
		if t.ports[port] == nil {
			end()
			delete(in.ports, port)
		}
	}
	if in.cfg.Listen == nil || in.ctx.Err() != nil {
		return
	}
	for port := range t.ports {
		if in.ports[port] != nil {
			continue
		}
		ctx, end := context.WithCancel(in.ctx)
		in.ports[port] = end
		in.serving.Go(func() { in.servePort(ctx, port) })
	}
}

// servePort serves one port until ctx ends. One that cannot be opened is tried
// again: what has it may go.
func (in *Ingress) servePort(ctx context.Context, port int) {
	told := ""
	for ctx.Err() == nil {
		l, err := in.cfg.Listen(ctx, port)
		if err == nil {
			told = ""
			in.accept(ctx, l, port)
			continue
		}
		if ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			in.cfg.Log.Warn("a port of a container app cannot be opened; it is tried again", "port", port, "reason", err, "next", problem.NextOf(err))
		}
		_ = clock.Sleep(ctx, in.cfg.Clock, listenAgain)
	}
}

// accept takes connections until ctx ends or the listener breaks. It returns when
// all of them have ended.
func (in *Ingress) accept(ctx context.Context, l net.Listener, port int) {
	var connections sync.WaitGroup
	defer connections.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer func() { _ = l.Close() }()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, for example
			if clock.Sleep(ctx, in.cfg.Clock, acceptAgain) != nil {
				return
			}
			continue
		}
		connections.Go(func() {
			defer func() { _ = c.Close() }()
			in.connect(ctx, c, port)
		})
	}
}

// connect takes a connection to a replica. Nothing of it is read before there is
// one; a client who goes away meanwhile is noticed then.
func (in *Ingress) connect(ctx context.Context, c net.Conn, port int) {
	at, ok := in.table.Load().ports[port]
	if !ok || !in.admitConnection(at, c) {
		return
	}
	v := visit{in: in, at: at, ctx: ctx}
	if v.to = v.first(); v.to == nil {
		return
	}
	v.to.revision.begin()
	defer func() { v.to.revision.end() }()
	for v.board() == nil {
		on := v.on
		d := net.Dialer{Timeout: dialTime}
		far, err := d.DialContext(ctx, "tcp", on.target(v.at.port).addr)
		if err == nil {
			relay(ctx, c, far)
			on.release()
			return
		}
		on.release()
		v.on, v.tried = nil, append(v.tried, on)
	}
}

// admitConnection reports whether a caller may come in.
func (in *Ingress) admitConnection(at *route, c net.Conn) bool {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || at.app.Closed || at.inside && !in.isInside(from.Addr().Unmap()) {
		return false
	}
	return at.app.Policy.AdmitsAddress(from.Addr())
}

// relay copies both ways until both sides are through, one breaks, or ctx ends.
func relay(ctx context.Context, a, b net.Conn) {
	defer func() { _ = b.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })()
	var copying sync.WaitGroup
	one := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			_, _ = a.Close(), b.Close()
			return
		}
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	copying.Go(func() { one(a, b) })
	copying.Go(func() { one(b, a) })
	copying.Wait()
}
