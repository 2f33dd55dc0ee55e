package testkit

import (
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
)

// upstreamVariable tells the handler process where the test listens.
const upstreamVariable = UpstreamSetting

// UpstreamSetting is the setting that makes this test binary, started as a custom
// handler, relay to the URL it has.
const UpstreamSetting = "TESTKIT_UPSTREAM"

// TellSetting is the setting that has the relay tell the test about variables of its
// environment: their names, separated by commas. Each comes in a header of its name
// after [TellHeader].
const (
	TellSetting = "TESTKIT_TELL"
	TellHeader  = "X-Testkit-"
)

// Main runs the tests, or the handler when this process was started as one. Test
// packages call it from TestMain.
func Main(m *testing.M) {
	if up := os.Getenv(upstreamVariable); up != "" {
		os.Exit(serveHandler(up))
	}
	os.Exit(m.Run())
}

// serveHandler is a custom handler that relays everything to the test, so that
// a test sees what a handler process sees and decides what it answers.
func serveHandler(upstream string) int {
	base, err := url.Parse(upstream)
	if err != nil {
		return 3
	}
	relay := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = base.Scheme, base.Host
		p.Out.URL.RawQuery = p.In.URL.RawQuery
		p.Out.Host = p.In.Host
		p.Out.Header = p.In.Header.Clone()
		for _, name := range []string{"Connection", "Transfer-Encoding"} {
			p.Out.Header.Del(name)
		}
		for name := range strings.SplitSeq(os.Getenv(TellSetting), ",") {
			if value, has := os.LookupEnv(name); has && name != "" {
				p.Out.Header.Set(TellHeader+name, value)
			}
		}
	}}
	err = http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), withoutReadiness(relay))
	if err != nil {
		return 4
	}
	return 0
}

// withoutReadiness answers the host's question whether the handler is up, which
// no test wants to see: it names no invocation.
func withoutReadiness(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Header.Get("X-Azure-Functions-InvocationId") == "" {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Gate is a handler that holds requests until the test lets them go.
type Gate struct {
	Arrived chan *http.Request // one for each request, in order of arrival
	Gone    chan struct{}      // one for each request that was cancelled
	release chan struct{}
	once    sync.Once
}

// NewGate makes a gate that is opened at the end of the test at the latest.
func NewGate(t testing.TB) *Gate {
	g := &Gate{Arrived: make(chan *http.Request, 1000), Gone: make(chan struct{}, 1000), release: make(chan struct{})}
	t.Cleanup(g.Open)
	return g
}

// Open lets all requests go, those to come too.
func (g *Gate) Open() { g.once.Do(func() { close(g.release) }) }

// One lets one request go.
func (g *Gate) One() { g.release <- struct{}{} }

// Await waits for the next request.
func (g *Gate) Await(t testing.TB) *http.Request {
	t.Helper()
	return await(t, g.Arrived, "a request at the handler")
}

// AwaitGone waits for a request to be cancelled.
func (g *Gate) AwaitGone(t testing.TB) {
	t.Helper()
	await(t, g.Gone, "a cancelled request at the handler")
}

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// ServeHTTP holds a request.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that its client leaves
	g.Arrived <- r
	select {
	case <-g.release:
		w.WriteHeader(http.StatusOK)
	case <-r.Context().Done():
		g.Gone <- struct{}{}
	}
}

// Log keeps what a host logs. It is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String gives the log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *Log) tail(n int) string {
	text := l.String()
	return text[max(0, len(text)-n):]
}
