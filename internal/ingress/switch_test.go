package ingress_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey/latchkey/internal/ingress"
)

// willing grants every switch that it sees.
func willing(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" && r.Header.Get("HTTP2-Settings") == "" {
		_, _ = io.WriteString(rw, "plain")
		return
	}
	c, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
}

// A client that speaks HTTP/2 with a replica by itself could say whatever it likes
// about its address and its certificate.
func TestNobodySwitchesToHTTP2AroundTheIngress(t *testing.T) {
	for what, start := range map[string]func(http.Handler) *httptest.Server{"HTTP": httptest.NewServer, "TLS": httptest.NewTLSServer} {
		w := newWorld(t, nil)
		w.Put(shop(func(a *ingress.App) { a.TLS = what == "TLS" }))
		s := start(http.HandlerFunc(willing))
		t.Cleanup(s.Close)
		w.Replicas(ref("shop--one"), at(s))
		for _, to := range []string{"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0"} {
			got := w.get("shop."+domain, func(r *http.Request) {
				r.Header["Connection"] = []string{"Upgrade, HTTP2-Settings"}
				r.Header["Upgrade"] = []string{to}
				r.Header.Set("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
			})
			if got.status != http.StatusOK || got.body != "plain" {
				t.Errorf("%s, %s: %v", what, to, got)
			}
		}
	}
}
