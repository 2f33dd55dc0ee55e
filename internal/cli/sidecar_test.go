package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
)

func TestASidecarPassesOnToTheNodeAndSurvivesIt(t *testing.T) {
	dir, err := os.MkdirTemp("", "lk-side") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- passOn(ctx, l, socket) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	get := func() (string, error) {
		answer, err := client.Get("http://" + l.Addr().String() + "/msi/token?x=1")
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	if _, err := get(); err == nil {
		t.Error("somebody answers although the node is away")
	}
	for range 2 { // a node, and the one after it
		node, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) }))
		_ = server.Listener.Close()
		server.Listener = node
		server.Start()
		if text, err := get(); err != nil || text != "x=1" {
			t.Errorf("%q %v", text, err)
		}
		server.Close()
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the sidecar does not end")
	}
}

func TestASidecarInAPodIsSetByItsEnvironment(t *testing.T) {
	env := &Env{Stderr: io.Discard, Environ: []string{"LATCHKEY_SIDECAR_UPSTREAM=https://127.0.0.1:1", "LATCHKEY_SIDECAR_LISTEN=127.0.0.1:0",
		"LATCHKEY_SIDECAR_HEALTH=127.0.0.1:0"}}
	run := func() error {
		c := newSidecar(env)
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(nil)
		return c.ExecuteContext(t.Context())
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "LATCHKEY_SIDECAR_TOKEN_FILE") {
		t.Errorf("without a token: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it is told to end as soon as it began
	env.Environ = append(env.Environ, "LATCHKEY_SIDECAR_TOKEN_FILE=/none")
	c := newSidecar(env)
	c.SetArgs(nil)
	if err := c.ExecuteContext(ctx); err != nil {
		t.Error(err)
	}
}

func TestOneReplicaCannotHoldAllConnectionsToTheIdentityEndpoint(t *testing.T) {
	if 16*sidecarConns >= platform.IdentityConns {
		t.Errorf("16 replicas with %d connections fill all %d", sidecarConns, platform.IdentityConns)
	}
	dir, err := os.MkdirTemp("", "lk-side") // as above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s.sock")
	node, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	came := make(chan net.Conn, 2*sidecarConns)
	go func() {
		for {
			c, err := node.Accept()
			if err != nil {
				return
			}
			came <- c
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- passOn(ctx, l, path) }()
	defer func() { stop(); <-ended }()
	next := func() net.Conn {
		select {
		case c := <-came:
			t.Cleanup(func() { _ = c.Close() })
			return c
		case <-time.After(60 * time.Second):
			t.Fatal("nothing reaches the node")
			return nil
		}
	}
	var held []net.Conn
	for range sidecarConns + 1 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	first := next()
	for range sidecarConns - 1 {
		next()
	}
	select {
	case <-came:
		t.Fatal("one more than the bound reached the node")
	case <-time.After(100 * time.Millisecond): // it cannot be seen that nothing happens
	}
	_ = first.Close() // which ends both halves of one connection
	for _, c := range held {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	next()
}
