package ingress_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/web"
)

// BenchmarkIngress compares a request through the ingress with one through a bare
// reverse proxy and one straight to the replica, each behind a node's server.
func BenchmarkIngress(b *testing.B) {
	answer := http.HandlerFunc(says("hello"))
	upstream := httptest.NewServer(answer)
	b.Cleanup(upstream.Close)
	in := ingress.New(ingress.Config{Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	b.Cleanup(in.Close)
	in.Put(shop(nil))
	in.Replicas(ref("shop--one"), at(upstream))
	to, _ := url.Parse(upstream.URL)
	bare := httputil.NewSingleHostReverseProxy(to)
	bare.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	for name, h := range map[string]http.Handler{"ingress": in, "reverseproxy": bare, "none": answer} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			go func() { _ = web.NewServer(l, h, slog.New(slog.DiscardHandler)).Run(ctx, 0) }()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				client := &http.Client{Transport: &http.Transport{}}
				for pb.Next() {
					r, _ := http.NewRequest("GET", "http://"+l.Addr().String()+"/", nil)
					r.Host = "shop." + domain
					answer, err := client.Do(r)
					if err != nil || answer.StatusCode != 200 {
						b.Error(err, answer)
						return
					}
					_ = answer.Body.Close()
				}
			})
		})
	}
}

// BenchmarkHandler is the ingress's own part: everything but the server in front.
func BenchmarkHandler(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(says("hello")))
	b.Cleanup(upstream.Close)
	in := ingress.New(ingress.Config{Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	b.Cleanup(in.Close)
	in.Put(shop(nil))
	in.Replicas(ref("shop--one"), at(upstream))
	to, _ := url.Parse(upstream.URL)
	bare := httputil.NewSingleHostReverseProxy(to)
	for name, h := range map[string]http.Handler{"ingress": in, "reverseproxy": bare} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", "/", nil)
				r.Host = "shop." + domain
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
