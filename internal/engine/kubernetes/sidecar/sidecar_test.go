package sidecar_test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine/kubernetes/sidecar"
)

// settings is an environment that works; pairs change it.
func settings(t *testing.T, upstream string, ca []byte, pairs ...string) func(string) string {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := map[string]string{"LATCHKEY_SIDECAR_UPSTREAM": upstream, "LATCHKEY_SIDECAR_TOKEN_FILE": write("token", []byte("the-pod\n")),
		"LATCHKEY_SIDECAR_CA_FILE": write("ca", ca), "LATCHKEY_SIDECAR_LISTEN": "127.0.0.1:0", "LATCHKEY_SIDECAR_HEALTH": "127.0.0.1:0"}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return env[name] }
}

func upstream(t *testing.T) (*httptest.Server, []byte) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Identity-Header"))
	}))
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestRequestsAreHandedOnWithThePodsToken(t *testing.T) {
	s, ca := upstream(t)
	cfg, err := sidecar.Parse(settings(t, s.URL+"/sidecars", ca))
	if err != nil {
		t.Fatal(err)
	}
	h := sidecar.Handler(cfg)
	ask := func(method string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/msi/token?resource=a%2Fb&client_id=c", nil)
		r.Header.Set("X-Identity-Header", "header")
		r.Header.Set("Authorization", "Bearer forged")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := ask(http.MethodGet); w.Code != http.StatusTeapot || w.Body.String() != "/sidecars/msi/token?resource=a%2Fb&client_id=c Bearer the-pod header" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(http.MethodPost); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("%d", w.Code)
	}
	if err := os.WriteFile(cfg.TokenFile, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := ask(http.MethodGet); !strings.Contains(w.Body.String(), "Bearer another ") {
		t.Errorf("%s", w.Body)
	}
	s.Close()
	if w := ask(http.MethodGet); w.Code != http.StatusServiceUnavailable || w.Body.Len() > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := os.Remove(cfg.TokenFile); err != nil {
		t.Fatal(err)
	}
	if w := ask(http.MethodGet); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
}

func TestAStrangersCertificateIsNotTrusted(t *testing.T) {
	s, _ := upstream(t)
	cfg, err := sidecar.Parse(settings(t, s.URL, nil, "LATCHKEY_SIDECAR_CA_FILE", ""))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	sidecar.Handler(cfg).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/msi/token", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	s, ca := upstream(t)
	for name, value := range map[string]string{"LATCHKEY_SIDECAR_UPSTREAM": "http://latchkey", "LATCHKEY_SIDECAR_TOKEN_FILE": "",
		"LATCHKEY_SIDECAR_LISTEN": "0.0.0.0:42356", "LATCHKEY_SIDECAR_HEALTH": "x", "LATCHKEY_SIDECAR_CA_FILE": "/none"} {
		if _, err := sidecar.Parse(settings(t, s.URL, ca, name, value)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunServesUntilItIsToEnd(t *testing.T) {
	s, ca := upstream(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	cfg, err := sidecar.Parse(settings(t, s.URL, ca, "LATCHKEY_SIDECAR_HEALTH", at))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Upstream.String() != (&url.URL{Scheme: "https", Host: s.Listener.Addr().String()}).String() {
		t.Errorf("%s", cfg.Upstream)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sidecar.Run(ctx, cfg) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + at + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}
