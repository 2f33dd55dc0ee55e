package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 60 * time.Second

// TestMain lets the test binary be an ordinary Go client: the proxy's variables
// are read once per process.
func TestMain(m *testing.M) {
	if target := os.Getenv("CONNECT_TEST_GET"); target != "" {
		os.Exit(get(target))
	}
	os.Exit(m.Run())
}

func get(target string) int {
	resp, err := http.Get(target)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	fmt.Print(resp.Status, " ")
	_, _ = io.Copy(os.Stdout, resp.Body)
	return 0
}

type rig struct {
	proxy *url.URL
	apps  *httptest.Server // says which host it was asked for
	tls   *httptest.Server
	stop  func() error
}

func port(t testing.TB, s *httptest.Server) int {
	t.Helper()
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// newRig starts a proxy for two servers; change alters it.
func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Forwarded-For"), body)
	})
	r := &rig{apps: httptest.NewServer(echo), tls: httptest.NewTLSServer(echo)}
	t.Cleanup(r.apps.Close)
	t.Cleanup(r.tls.Close)
	cfg := Config{Domain: "example.com", Node: "127.0.0.1", Ports: []int{port(t, r.apps), port(t, r.tls)}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.proxy = &url.URL{Scheme: "http", Host: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(cfg).Serve(ctx, l, patience) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) client(t testing.TB) *http.Client {
	transport := r.tls.Client().Transport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(r.proxy)
	transport.DialContext = nil // httptest's own goes to the server without asking
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func TestHostsOfTheInstallationAreReachedAndNoOthers(t *testing.T) {
	r := newRig(t, nil)
	c, apps, tls := r.client(t), strconv.Itoa(port(t, r.apps)), strconv.Itoa(port(t, r.tls))
	tests := []struct{ name, url, want string }{
		{"tunnel", "https://shop.example.com:" + tls + "/a?b=%2f;c", "GET shop.example.com:" + tls + " /a?b=%2f;c "},
		{"the domain itself", "https://example.com:" + tls + "/", "GET example.com:" + tls + " / "},
		{"plain", "http://shop.example.com:" + apps + "/a?b=%2f;c", "GET shop.example.com:" + apps + " /a?b=%2f;c "},
		{"upper case", "http://SHOP.Example.COM:" + apps + "/", "GET shop.example.com:" + apps + " / "},
		{"the node's address", "http://127.0.0.1:" + apps + "/", "GET 127.0.0.1:" + apps + " / "},
	}
	for _, tt := range tests {
		resp, err := c.Get(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.EqualFold(strings.TrimSpace(string(body)), strings.TrimSpace(tt.want)) {
			t.Errorf("%s: %s %q, want %q", tt.name, resp.Status, body, tt.want)
		}
	}
	for _, refused := range []string{
		"https://example.org:" + tls, "https://evilexample.com:" + tls, "https://example.com.evil.org:" + tls, "https://shop.example.com:22",
		"https://127.0.0.2:" + tls, "https://[::1]:" + tls, "https://127.0.0.1:1", "https://0.0.0.0:" + tls, "https://2130706433:" + tls,
	} {
		if resp, err := c.Get(refused); err == nil || !strings.Contains(err.Error(), "Forbidden") {
			t.Errorf("%s: %v, %v", refused, resp, err)
		}
		resp, err := c.Get("http" + strings.TrimPrefix(refused, "https"))
		if err != nil {
			t.Errorf("%s: %v", refused, err)
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "--pass-through") {
			t.Errorf("plain %s: %s %q", refused, resp.Status, text)
		}
	}
}

func TestRequestsAreKeptAsTheyCame(t *testing.T) {
	r := newRig(t, nil)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("http://shop.example.com:%d/x", port(t, r.apps)), strings.NewReader("body"))
	req.Header.Set("X-Forwarded-For", "10.1.1.1")
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); !strings.HasSuffix(string(body), " /x 10.1.1.1 body") {
		t.Errorf("%q", body)
	}
}

// raw sends bytes and gives the status line of the answer.
func (r *rig) raw(t *testing.T, text string) (string, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", r.proxy.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, text)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return strings.TrimSpace(line), conn
}

func TestWhatIsNotForAProxyIsRefused(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PassThrough = true })
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: " + r.proxy.Host,             // a web page that found the port
		"POST /api HTTP/1.1\r\nHost: shop.example.com",        // a name rebound to loopback
		"GET ftp://example.com/ HTTP/1.1\r\nHost: x",          //
		"GET http://u:p@example.com:1/ HTTP/1.1\r\nHost: x",   //
		"CONNECT example.com HTTP/1.1\r\nHost: x",             // no port
		"CONNECT example.com:0 HTTP/1.1\r\nHost: x",           //
		"CONNECT example.com:65536 HTTP/1.1\r\nHost: x",       //
		"CONNECT :443 HTTP/1.1\r\nHost: x",                    //
		"GET https://example.com:443/ HTTP/1.1\r\nHost: x",    // TLS is for tunnels
		"GET http://example.com:http/ HTTP/1.1\r\nHost: x",    //
		"CONNECT a.example.com:+443 HTTP/1.1\r\nHost: x",      //
		"CONNECT /path HTTP/1.1\r\nHost: shop.example.com:80", // what net/http allows for its RPC
	} {
		if status, _ := r.raw(t, head+"\r\n\r\n"); !strings.Contains(status, " 400 ") {
			t.Errorf("%q: %s", head, status)
		}
	}
}

func TestPassThroughReachesOthers(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "other") }))
	defer other.Close()
	r := newRig(t, func(c *Config) { c.PassThrough = true })
	resp, err := r.client(t).Get(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "other" {
		t.Errorf("%q", body)
	}
}

func TestANodeThatIsDownIsSaid(t *testing.T) {
	r := newRig(t, nil)
	target := fmt.Sprintf("shop.example.com:%d", port(t, r.apps))
	r.apps.Close()
	resp, err := r.client(t).Get("http://" + target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "latchkey up") {
		t.Errorf("%s %q", resp.Status, body)
	}
}

// silent is a server that accepts and says nothing; it gives its port and what it
// accepts.
func silent(t *testing.T) (int, chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, accepted
}

func TestTunnelsAreLimitedAndEndWithTheProxy(t *testing.T) {
	number, accepted := silent(t)
	r := newRig(t, func(c *Config) { c.Ports, c.Tunnels = []int{number}, 1 })
	open := fmt.Sprintf("CONNECT a.example.com:%d HTTP/1.1\r\nHost: x\r\n\r\n", number)
	status, first := r.raw(t, open)
	if !strings.Contains(status, " 200 ") {
		t.Fatal(status)
	}
	if status, _ := r.raw(t, open); !strings.Contains(status, " 503 ") {
		t.Errorf("one too many: %s", status)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for name, conn := range map[string]net.Conn{"client": first, "upstream": <-accepted} {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", name)
		}
	}
}

func TestAnIdleTunnelEnds(t *testing.T) {
	number, _ := silent(t)
	r := newRig(t, func(c *Config) { c.Ports, c.Idle = []int{number}, 50*time.Millisecond })
	status, conn := r.raw(t, fmt.Sprintf("CONNECT a.example.com:%d HTTP/1.1\r\nHost: x\r\n\r\n", number))
	if !strings.Contains(status, " 200 ") {
		t.Fatal(status)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the tunnel is still open")
	}
}

func TestATunnelHasTwoEnds(t *testing.T) {
	number, accepted := silent(t)
	r := newRig(t, func(c *Config) { c.Ports = []int{number} })
	// What comes with the request itself must not get lost.
	_, conn := r.raw(t, fmt.Sprintf("CONNECT a.example.com:%d HTTP/1.1\r\nHost: x\r\n\r\nearly ", number))
	_, _ = io.WriteString(conn, "late")
	_ = conn.(*net.TCPConn).CloseWrite()
	upstream := <-accepted
	_ = upstream.SetDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(upstream); err != nil || string(got) != "early late" {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = io.WriteString(upstream, strings.Repeat("answer ", 100_000))
	_ = upstream.Close()
	if got, err := io.ReadAll(conn); err != nil || len(got) < 690_000 {
		t.Errorf("%d bytes after the client ended its half, %v", len(got), err)
	}
}

// TestOrdinaryClientsUseIt runs real programs. localhost is the domain that is
// hard: nothing but curl finds names below it.
func TestOrdinaryClientsUseIt(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Domain = "localhost" })
	env := append(os.Environ(), "HTTPS_PROXY="+r.proxy.String(), "HTTP_PROXY="+r.proxy.String(), "http_proxy="+r.proxy.String(), "https_proxy="+r.proxy.String(),
		"NO_PROXY=", "no_proxy=")
	host := fmt.Sprintf("shop.scm.localhost:%d", port(t, r.apps))
	script := `const [h, p] = process.env.PROXY.split(':'); require('http').get({host: h, port: p, path: process.argv[1]}, r => { process.stdout.write(r.statusCode + ' '); r.pipe(process.stdout) })`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string][]string{
		"go":   {self},
		"curl": {"curl", "-sS", "-w", " %{http_code}", "http://" + host + "/x"},
		"node": {"node", "-e", script, "http://" + host + "/x"},
	}
	for name, argv := range clients {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("no %s here", name)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(env, "PROXY="+r.proxy.Host, "CONNECT_TEST_GET=http://"+host+"/x")
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil || !strings.Contains(string(out), "GET "+host+" /x") || !strings.Contains(string(out), "200") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
