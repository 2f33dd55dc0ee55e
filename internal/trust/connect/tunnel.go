package connect

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// tunnel joins the client's connection to the target's until both sides have
// ended, nothing moves for a while, or the proxy ends.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, target string) {
	upstream, err := p.dial(r.Context(), "tcp", target)
	if err != nil {
		p.fail(w, target, err)
		return
	}
	defer upstream.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.fail(w, target, err)
		return
	}
	defer client.Close()
	stop := context.AfterFunc(p.running, func() {
		past := time.Unix(1, 0)
		_ = errors.Join(client.SetDeadline(past), upstream.SetDeadline(past)) // unblocks both copies
	})
	defer stop()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	p.join(p.running, client, upstream, buffered.Reader)
}

// join copies both ways. The deadline of both connections moves with every byte
// of either direction.
func (p *Proxy) join(ctx context.Context, client, upstream net.Conn, first *bufio.Reader) {
	touch := func() {
		if ctx.Err() != nil {
			return // the past deadline must stay
		}
		limit := time.Now().Add(p.cfg.Idle)
		_ = errors.Join(client.SetDeadline(limit), upstream.SetDeadline(limit)) // fails for closed ones only
		if ctx.Err() != nil {
			_ = errors.Join(client.SetDeadline(time.Unix(1, 0)), upstream.SetDeadline(time.Unix(1, 0)))
		}
	}
	touch()
	var both sync.WaitGroup
	both.Go(func() { pipe(upstream, io.MultiReader(io.LimitReader(first, int64(first.Buffered())), client), touch) })
	both.Go(func() { pipe(client, upstream, touch) })
	both.Wait()
}

// pipe copies until the source ends, and then tells the other side so. After an
// error the other direction is ended too: half of a broken tunnel is of no use.
func pipe(to net.Conn, from io.Reader, touch func()) {
	_, err := io.Copy(touching{to, touch}, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
	}
}

// touching calls touch whenever something was written.
type touching struct {
	net.Conn
	touch func()
}

// Write implements io.Writer.
func (t touching) Write(b []byte) (int, error) {
	t.touch()
	return t.Conn.Write(b)
}

// ReadFrom hides that of the connection, which would move bytes unseen.
func (t touching) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{t}, r, make([]byte, 32<<10))
}
