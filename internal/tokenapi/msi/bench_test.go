package msi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/identity"
)

const benchQuery = "?resource=https%3A%2F%2Fvault.azure.net&api-version=2019-08-01"

// asking gives a client on one connection that sends the same request again and
// again, with hardly any cost of its own. It gives the body of an answer.
func asking(b *testing.B, address, secret string) (ask func() []byte) {
	b.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	in := bufio.NewReader(c)
	request := []byte("GET /msi/token" + benchQuery + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n")
	return func() []byte {
		if _, err := c.Write(request); err != nil {
			b.Error(err)
			return nil
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			b.Errorf("%+v %v", answer, err)
			return nil
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			b.Error(err)
		}
		return body
	}
}

// BenchmarkRequest compares a request for a kept token, all the way, with the least
// that net/http does for JSON of that size; and it measures requests for which a
// token is made.
func BenchmarkRequest(b *testing.B) {
	var epoch atomic.Int64
	e, _ := listen(b, func() []identity.Assigned {
		who := own
		who.Epoch = epoch.Load()
		return []identity.Assigned{who, other}
	})
	u, err := url.Parse(e.URL())
	if err != nil {
		b.Fatal(err)
	}
	ask := asking(b, u.Host, e.Env()["IDENTITY_HEADER"])
	body := ask()
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			ask()
		}
	})
	b.Run("hello", func(b *testing.B) {
		ask := asking(b, hello(b, body), "x")
		for b.Loop() {
			ask()
		}
	})
	b.Run("new", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			epoch.Add(1)
			began := time.Now()
			ask()
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	})
}

// hello answers with a body and does nothing else. It gives its address.
func hello(b *testing.B, body []byte) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(body)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close(); <-done })
	return l.Addr().String()
}
