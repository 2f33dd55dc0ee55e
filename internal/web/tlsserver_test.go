package web_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// dialTLS connects to a TLS server with a handler.
func dialTLS(t *testing.T, h http.Handler) *tls.Conn {
	t.Helper()
	text, err := localca.Generate("test", []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := localca.Open(text, clock.Real{}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- web.NewTLSServer(l, h, ca.TLS(), slog.New(slog.DiscardHandler)).Run(ctx, time.Second) }()
	t.Cleanup(func() { stop(); <-ended })
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whose server it is does not matter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A client who is refused and never ends its body does not keep the connection.
func TestABodyThatNobodyReadsEndsTheConnection(t *testing.T) {
	conn := dialTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	// Whether the answer still arrives is for the server to say, which gives up a
	// connection in the middle of a request; that it ends is what counts.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection does not end: %v", err)
	}
}

func TestAConnectionGoesOnAfterABody(t *testing.T) {
	conn := dialTLS(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	in := bufio.NewReader(conn)
	for range 3 {
		if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != 200 || answer.Close {
			t.Fatalf("got %v %v", answer, err)
		}
		_ = answer.Body.Close()
	}
}
