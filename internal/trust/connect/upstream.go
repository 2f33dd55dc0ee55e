package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// errRefused says that the other proxy does not lead to a target.
var errRefused = errors.New("refused by the other proxy")

// ask has the other proxy connect with a target.
func (p *Proxy) ask(ctx context.Context, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := p.cfg.Upstream(ctx)
	if err != nil {
		return nil, err
	}
	past := func() { _ = conn.SetDeadline(time.Unix(1, 0)) } // a closed one fails by itself
	stop := context.AfterFunc(ctx, past)
	begun, err := request(conn, target)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return begun, nil
}

func request(conn net.Conn, target string) (net.Conn, error) {
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxHeaderBytes}
	r := bufio.NewReader(limited)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close() // the connection ends with it, or goes on as a tunnel
	switch resp.StatusCode {
	case http.StatusOK:
		first := io.LimitReader(r, int64(r.Buffered()))
		return &begun{Conn: conn, r: io.MultiReader(first, conn)}, nil
	case http.StatusForbidden:
		return nil, errRefused
	}
	return nil, errors.New("the other proxy answered " + resp.Status)
}

// begun is a connection of which a part was read already.
type begun struct {
	net.Conn
	r io.Reader
}

// Read implements io.Reader.
func (b *begun) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite ends the half that is written to.
func (b *begun) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return b.Close()
}
