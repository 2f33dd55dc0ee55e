package msi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/identity"
)

func listen(t *testing.T, cfg Config) *Endpoint {
	t.Helper()
	e, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// get asks an endpoint over the network for a token.
func get(t *testing.T, client *http.Client, url, secret string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-IDENTITY-HEADER", secret)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

func TestAnEndpointIsFoundByItsEnvironment(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	cfg := w.config()
	cfg.Header = ""
	e := listen(t, cfg)
	env := e.Env()
	if len(env) != 4 || env["IDENTITY_ENDPOINT"] != env["MSI_ENDPOINT"] || env["IDENTITY_HEADER"] != env["MSI_SECRET"] {
		t.Errorf("environment %v", env)
	}
	if _, err := uuid.Parse(env["IDENTITY_HEADER"]); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(env["IDENTITY_ENDPOINT"], "http://127.0.0.1:") || !strings.HasSuffix(env["IDENTITY_ENDPOINT"], "/msi/token") {
		t.Errorf("address %s", env["IDENTITY_ENDPOINT"])
	}
	query := "?api-version=2019-08-01&resource=" + vault
	status, body := get(t, http.DefaultClient, env["IDENTITY_ENDPOINT"]+query, env["IDENTITY_HEADER"])
	var answer grant
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 || answer.ClientID != own.AppID {
		t.Errorf("status %d %s %v", status, body, err)
	}
	if status, body := get(t, http.DefaultClient, env["MSI_ENDPOINT"]+query, secret); status != 403 || len(body) > 0 {
		t.Errorf("another secret: status %d %q", status, body)
	}
}

func TestEachStartHasAnotherSecret(t *testing.T) {
	cfg := (&workload{assigned: []identity.Assigned{own}}).config()
	cfg.Header = ""
	first, second := listen(t, cfg), listen(t, cfg)
	query := second.URL() + "?api-version=2019-08-01&resource=" + vault
	if status, _ := get(t, http.DefaultClient, query, first.Env()["IDENTITY_HEADER"]); status != 403 {
		t.Errorf("the secret of another start: status %d", status)
	}
	cfg.Header = secret
	if got := listen(t, cfg).Env()["IDENTITY_HEADER"]; got != secret {
		t.Errorf("a given secret is %q", got)
	}
}

func TestAClosedEndpointIsGone(t *testing.T) {
	e := listen(t, (&workload{}).config())
	e.Close()
	e.Close()
	if c, err := net.DialTimeout("tcp", e.addr.String(), time.Minute); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

func TestAnEndpointEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e, err := Listen(ctx, (&workload{}).config())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-e.done
}

func TestClosingEndsRequestsThatHang(t *testing.T) {
	cfg := (&workload{assigned: []identity.Assigned{own}}).config()
	entered, left := make(chan struct{}), make(chan struct{})
	cfg.Fault = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	e := listen(t, cfg)
	c, err := net.Dial("tcp", e.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-entered
	e.Close()
	<-left
}

// What does not take the express lane is answered alike.
func TestUnusualRequestsOverTheNetwork(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	e := listen(t, w.config())
	for name, tt := range map[string]struct{ request, status string }{
		"header in lower case":     {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nx-identity-header: " + secret + "\r\n\r\n", "200"},
		"header of 2017":           {"GET " + target(version2017) + " HTTP/1.1\r\nHost: x\r\nSECRET: " + secret + "\r\n\r\n", "200"},
		"HTTP/1.0":                 {"GET " + target(version2019) + " HTTP/1.0\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n", "200"},
		"two headers":              {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\nX-Identity-Header: " + secret + "\r\n\r\n", "403"},
		"a list in one header":     {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + ", " + secret + "\r\n\r\n", "403"},
		"underscores":              {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX_IDENTITY_HEADER: " + secret + "\r\n\r\n", "403"},
		"a query over the limit":   {"GET " + target(version2019, "x="+strings.Repeat("y", maxQuery)) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n", "400"},
		"a header over the limit":  {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", "431"},
		"a form":                   {"POST " + Path + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\nContent-Length: 10\r\n\r\nresource=x", "405"},
		"an absolute address":      {"GET http://127.0.0.1" + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n", "200"},
		"through a proxy":          {"GET " + target(version2019) + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n", "200"},
		"escaped, a path of dots ": {"GET /msi/x/../token?api-version=2019-08-01 HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: " + secret + "\r\n\r\n", "404"},
	} {
		c, err := net.Dial("tcp", e.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(c, strings.NewReader(tt.request)) }() // it may be cut off
		head := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, head); err != nil || !bytes.HasSuffix(head, []byte(tt.status)) {
			t.Errorf("%s: %q %v, want %s", name, head, err, tt.status)
		}
		_ = c.Close()
	}
}
