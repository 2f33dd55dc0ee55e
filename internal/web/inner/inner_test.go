package inner_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/inner"
)

// serve runs a real server on a listener until the test ends.
func serve(t *testing.T, h http.HandlerFunc) *inner.Listener {
	t.Helper()
	l, ended := inner.Listen(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- web.NewServer(l, h, slog.New(slog.DiscardHandler)).Run(ctx, time.Minute) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func through(t *testing.T, l *inner.Listener, remote string) *http.Transport {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx, remote) }}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func TestARequestIsServedAsThatOfAStranger(t *testing.T) {
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			t.Error("it claims to be encrypted")
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.RemoteAddr+" "+r.Host+" "+string(body))
	})
	for _, remote := range []string{"192.0.2.7:4711", "[2001:db8::1]:80"} {
		answer, err := (&http.Client{Transport: through(t, l, remote)}).Post("http://orders.localhost/x", "text/plain", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if want := remote + " orders.localhost "; err != nil || string(text) != want {
			t.Errorf("got %q, %v", text, err)
		}
	}
}

// TestWhoHangsUpIsGone ends a request in the middle: the handler learns of it.
func TestWhoHangsUpIsGone(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders.localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	tr := through(t, l, "192.0.2.7:4711")
	go func() {
		answer, err := tr.RoundTrip(r)
		if err == nil {
			_ = answer.Body.Close()
		}
		failed <- err
	}()
	<-entered
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the handler goes on")
	}
}

func TestNobodyIsThere(t *testing.T) {
	l := inner.Listen()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Dial(ended, "192.0.2.7:1"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("nobody accepts: %v", err)
	}
	if _, err := l.Dial(t.Context(), "orders.localhost:1"); !errors.Is(err, problem.Invalid) {
		t.Errorf("an address that is none: %v", err)
	}
	_, _ = l.Close(), l.Close()
	if _, err := l.Dial(t.Context(), "192.0.2.7:1"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting after the end: %v", err)
	}
}
