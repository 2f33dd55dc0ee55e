package lane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// running is a handler served by the lane and by net/http alone, for comparison.
type running struct {
	lane, plain string // addresses
	server      *Server
	fallbacks   *counter // requests that net/http answered for the lane
}

type counter struct{ n chan string }

func serve(t testing.TB, h http.Handler) *running {
	t.Helper()
	r := &running{fallbacks: &counter{make(chan string, 1000)}}
	counted := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.fallbacks.n <- req.URL.Path:
		default:
		}
		h.ServeHTTP(w, req)
	})
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.server = &Server{
		Handler: h, Fallback: &http.Server{Handler: counted, ErrorLog: quiet}, Log: slog.New(slog.DiscardHandler),
		IdleTimeout: time.Minute, HeaderTimeout: time.Minute,
	}
	r.lane = start(t, r.server.Serve, r.server.Close)
	plain := &http.Server{Handler: h, ErrorLog: quiet}
	r.plain = start(t, plain.Serve, plain.Close)
	return r
}

func start(t testing.TB, serve func(net.Listener) error, stop func() error) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lane") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s") // fuzzing would use up the TCP ports
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(l) }()
	t.Cleanup(func() { _ = stop(); _ = l.Close(); <-done })
	return l.Addr().String()
}

// talk sends raw bytes, ends the sending side and reads all that comes back.
func talk(t testing.TB, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, raw)
	_ = c.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("no end of the answer to %q from %s", raw, addr)
	}
	return string(answer)
}

// report answers with everything it was given, so that two servers which read a
// request differently answer differently.
func report(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if r.URL.Query().Has("typed") {
		w.Header().Set("Content-Type", "application/json")
	}
	if r.URL.Query().Has("close") {
		w.Header().Set("Connection", "close")
	}
	if r.URL.Query().Has("status") {
		var status int
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		if status >= 200 && status <= 599 {
			w.WriteHeader(status)
		}
	}
	fmt.Fprintf(w, "%s %q %q host=%q length=%d proto=%s close=%v err=%v\n", r.Method, r.URL, r.RequestURI, r.Host, r.ContentLength, r.Proto, r.Close, err != nil)
	for _, name := range names {
		fmt.Fprintf(w, "%q: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(w, "%q\n", body)
	if r.URL.Query().Has("flush") {
		w.(http.Flusher).Flush()
		io.WriteString(w, "more")
	}
	if r.URL.Query().Has("big") {
		io.WriteString(w, strings.Repeat("0123456789", 2000))
	}
}

var dateLine = regexp.MustCompile(`Date: [^\r]*\r\n`)

// normal makes answers comparable: the order of header fields is free and dates
// differ.
func normal(answer string) string {
	var out strings.Builder
	br := bufio.NewReader(strings.NewReader(dateLine.ReplaceAllString(answer, "Date: X\r\n")))
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			out.WriteString(line)
			return out.String()
		}
		out.WriteString(line)
		if !strings.HasPrefix(line, "HTTP/1.") {
			continue
		}
		var fields []string
		for {
			f, err := br.ReadString('\n')
			if err != nil || f == "\r\n" {
				break
			}
			fields = append(fields, f)
		}
		slices.Sort(fields)
		out.WriteString(strings.Join(fields, "") + "\r\n")
		if slices.Contains(fields, "Transfer-Encoding: chunked\r\n") {
			body, err := io.ReadAll(httputil.NewChunkedReader(br))
			fmt.Fprintf(&out, "%s[%v]", body, err)
		}
	}
}

// requests that the lane serves, and that go to net/http.
var (
	express = map[string]string{
		"plain":               "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
		"many fields":         "GET / HTTP/1.1\r\nHost: x:80\r\nA: 1\r\na: 2\r\nX-Long:  spaces \t\r\nEmpty:\r\n\r\n",
		"keep-alive":          "GET / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n",
		"body":                "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"empty body":          "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"two at once":         "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		"body then another":   "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		"head":                "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n",
		"head and next":       "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"typed":               "GET /?typed HTTP/1.1\r\nHost: x\r\n\r\n",
		"no content":          "GET /?status=204 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"not modified":        "GET /?status=304 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"unknown status":      "GET /?status=599 HTTP/1.1\r\nHost: x\r\n\r\n",
		"flushed":             "GET /?flush HTTP/1.1\r\nHost: x\r\n\r\n",
		"big":                 "GET /?big HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"handler closes":      "GET /?close HTTP/1.1\r\nHost: x\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n",
		"escaped":             "GET /a%2Fb/%20?x=%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"options with a path": "OPTIONS /o HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	other = map[string]string{
		"http/1.0":           "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
		"no host":            "GET / HTTP/1.1\r\n\r\n",
		"two hosts":          "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"bad host":           "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"absolute target":    "GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n",
		"double slash":       "GET //y/z HTTP/1.1\r\nHost: x\r\n\r\n",
		"star":               "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"chunked":            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"both framings":      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"two lengths":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"signed length":      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
		"space before colon": "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
		"folded":             "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"bare newline":       "GET / HTTP/1.1\nHost: x\n\n",
		"bare cr":            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
		"nul":                "GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
		"expect":             "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"upgrade":            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"client closes":      "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"odd method":         "BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
		"large head":         "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 6000) + "\r\n\r\n",
		"large body":         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("a", 20000),
		"no request":         "\r\n\r\n",
		"garbage":            "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
		"bad escape":         "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	}
)

func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	r := serve(t, http.HandlerFunc(report))
	for _, set := range []map[string]string{express, other} {
		for name, raw := range set {
			t.Run(name, func(t *testing.T) {
				got, want := normal(talk(t, r.lane, raw)), normal(talk(t, r.plain, raw))
				if got != want {
					t.Errorf("lane answers\n%s\nnet/http answers\n%s", got, want)
				}
			})
		}
	}
}

func TestPlainRequestsTakeTheLaneAndOthersDoNot(t *testing.T) {
	r := serve(t, http.HandlerFunc(report))
	for name, raw := range express {
		talk(t, r.lane, raw)
		if len(r.fallbacks.n) > 0 {
			t.Errorf("%s went to net/http", name)
			<-r.fallbacks.n
		}
	}
	for _, name := range []string{"http/1.0", "chunked", "expect", "upgrade", "client closes", "odd method", "large head", "large body", "absolute target"} {
		talk(t, r.lane, other[name])
		select {
		case <-r.fallbacks.n:
		default:
			t.Errorf("%s was not served by net/http", name)
		}
	}
}

func TestHTTP2WithoutTLSGoesToNetHTTP(t *testing.T) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	s := &Server{Handler: h, Fallback: &http.Server{Handler: h, Protocols: &protocols}, Log: slog.Default(), IdleTimeout: time.Minute, HeaderTimeout: time.Minute}
	addr := start(t, s.Serve, s.Close)
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", addr) }
	client := &http.Client{Transport: &http.Transport{Protocols: &only, DialContext: dial}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://host/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "HTTP/2.0" {
		t.Errorf("got %q", b)
	}
}

func TestContextEndsWhenTheClientHangsUp(t *testing.T) {
	ended, started := make(chan error, 1), make(chan struct{})
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		done := req.Context().Done()
		close(started)
		<-done
		ended <- req.Context().Err()
	}))
	c, err := net.Dial("unix", r.lane)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestContextEndsWithTheRequestAndTheConnectionGoesOn(t *testing.T) {
	contexts := make(chan context.Context, 3)
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/watched" {
			_ = req.Context().Done()
		}
		contexts <- req.Context()
	}))
	c, err := net.Dial("unix", r.lane)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for _, path := range []string{"/watched", "/", "/watched"} {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		ctx := <-contexts
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the context outlives its request")
		}
	}
}

func TestPanicEndsTheConnectionOnly(t *testing.T) {
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/panic" {
			panic("boom")
		}
		io.WriteString(w, "fine")
	}))
	if got := talk(t, r.lane, "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n"); got != "" {
		t.Errorf("a panic answered %q", got)
	}
	if got := talk(t, r.lane, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasSuffix(got, "fine") {
		t.Errorf("after a panic: %q", got)
	}
}

func TestShutdownLetsRequestsFinishAndClosesIdleConnections(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			close(started)
			<-release
		}
		io.WriteString(w, "done")
	}))
	idle, err := net.Dial("unix", r.lane)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	idleReader := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(idleReader, nil); err != nil {
		t.Fatal(err)
	} else {
		io.Copy(io.Discard, resp.Body)
	}
	busy, err := net.Dial("unix", r.lane)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	shut := make(chan error, 1)
	go func() { shut <- r.server.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ended with %v", err)
	}
	select {
	case err := <-shut:
		t.Fatalf("shutdown did not wait: %v", err)
	default:
	}
	close(release)
	answer, err := io.ReadAll(busy)
	if got := string(answer); err != nil || !strings.Contains(got, "Connection: close") || !strings.HasSuffix(got, "done") {
		t.Errorf("the request in progress got %q", got)
	}
	if err := <-shut; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("unix", r.lane); err == nil {
		c.Close()
		t.Error("connections are still taken")
	}
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	r := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(started); <-release }))
	defer close(release)
	c, err := net.Dial("unix", r.lane)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSlowHeadsAndSilentClientsAreDropped(t *testing.T) {
	h := http.HandlerFunc(report)
	s := &Server{Handler: h, Fallback: &http.Server{Handler: h}, Log: slog.Default(), IdleTimeout: time.Minute, HeaderTimeout: 50 * time.Millisecond}
	addr := start(t, s.Serve, s.Close)
	c, err := net.Dial("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HT")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a head that never ended: %v", err)
	}
}

func TestTrailersAndInterimAnswers(t *testing.T) {
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</s>")
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Transfer-Encoding", "chunked")
		w.WriteHeader(http.StatusEarlyHints)
		for _, name := range []string{"Link", "Content-Length", "Transfer-Encoding"} {
			w.Header().Del(name)
		}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
	}))
	raw := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	got, want := normal(talk(t, r.lane, raw)), normal(talk(t, r.plain, raw))
	if got != want {
		t.Errorf("lane answers\n%s\nnet/http answers\n%s", got, want)
	}
}

// FuzzSameAsNetHTTP sends arbitrary bytes to both servers. Any difference in what
// they take for a request would show, and with it every way to smuggle one.
func FuzzSameAsNetHTTP(f *testing.F) {
	for _, set := range []map[string]string{express, other} {
		for _, raw := range set {
			f.Add(raw)
		}
	}
	r := serve(f, http.HandlerFunc(report))
	f.Fuzz(func(t *testing.T, raw string) {
		if len(raw) > 8<<10 {
			return
		}
		got, want := normal(talk(t, r.lane, raw)), normal(talk(t, r.plain, raw))
		if got != want && !strings.HasPrefix(want, got) && !strings.HasPrefix(got, want) {
			t.Errorf("%q\nlane answers\n%s\nnet/http answers\n%s", raw, got, want)
		}
	})
}

func TestWritesEndAtTheEarlierDeadline(t *testing.T) {
	now := time.Unix(1000, 0)
	p := &patient{}
	if got := p.until(now); got.Sub(now) != stallTimeout+deadlineSlack {
		t.Errorf("without a bound: %v", got.Sub(now))
	}
	p.limit.Store(now.Add(time.Second).UnixNano())
	if got := p.until(now); got.Sub(now) != time.Second {
		t.Errorf("with a bound: %v", got.Sub(now))
	}
}
