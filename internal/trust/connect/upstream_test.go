package connect

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// behind makes a rig's proxy the one of another place, which asks it for names below
// example.com; it gives that one.
func behind(t *testing.T, r *rig, domain string) *rig {
	t.Helper()
	return newRig(t, func(c *Config) {
		c.Domain, c.Node, c.Ports, c.PassThrough = domain, "", nil, true
		c.Upstream = upstreamTo(r)
	})
}

func TestNamesOfTheInstallationAreReachedByTheOtherProxy(t *testing.T) {
	node := newRig(t, nil)
	r := behind(t, node, "example.com")
	c := r.client(t)
	for _, target := range []string{
		fmt.Sprintf("https://shop.example.com:%d/x", port(t, node.tls)),
		fmt.Sprintf("http://shop.example.com:%d/x", port(t, node.apps)),
	} {
		resp, err := c.Get(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "example.com") {
			t.Errorf("%s: %s %q", target, resp.Status, body)
		}
	}
}

func TestWhatTheOtherProxyDoesNotKnowIsReachedFromHere(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
	defer other.Close()
	node := newRig(t, nil)
	for _, domain := range []string{"example.com", "localhost"} {
		r := behind(t, node, domain)
		// localhost is where the client is, also when names below it are the installation's
		for _, target := range []string{other.URL, fmt.Sprintf("http://localhost:%d", port(t, other))} {
			resp, err := r.client(t).Get(target)
			if err != nil {
				t.Errorf("%s: %v", target, err)
				continue
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "here" {
				t.Errorf("%s: %s %q", target, resp.Status, body)
			}
		}
	}
	// The installation's domain at a port that is not its own is not the node's either.
	r := behind(t, node, "example.com")
	if conn, err := (&Proxy{cfg: Config{Upstream: upstreamTo(node)}}).ask(t.Context(), "shop.example.com:1"); err != errRefused {
		t.Errorf("%v, %v", conn, err)
	}
	if status, _ := r.raw(t, "CONNECT shop.example.com:1 HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(status, " 502 ") {
		t.Error(status)
	}
}

func upstreamTo(r *rig) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", r.proxy.Host)
	}
}

func TestAnotherProxyThatIsNoneIsAnError(t *testing.T) {
	for name, says := range map[string]string{
		"nothing": "", "no HTTP": "hello\r\n\r\n", "503": "HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n",
		"endless": "HTTP/1.1 200 " + strings.Repeat("x", 1<<20),
	} {
		p := &Proxy{cfg: Config{Upstream: func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				_, _ = bufio.NewReader(there).ReadString('\n')
				go func() { _, _ = io.Copy(io.Discard, there) }()
				_, _ = io.WriteString(there, says)
				_ = there.Close()
			}()
			return here, nil
		}}}
		if conn, err := p.ask(t.Context(), "shop.example.com:1"); err == nil || err == errRefused {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
	}
}

func TestWhatTheOtherSideSaysWithTheAnswerIsNotLost(t *testing.T) {
	p := &Proxy{cfg: Config{Upstream: func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(there))
			_, _ = io.WriteString(there, "HTTP/1.1 200 OK\r\n\r\nearly ")
			_, _ = io.WriteString(there, "late")
			_ = there.Close()
		}()
		return here, nil
	}}}
	conn, err := p.ask(t.Context(), "shop.example.com:1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "early late" {
		t.Errorf("%q, %v", got, err)
	}
}
