// Package realcluster owns a real kube-apiserver for tests, with an etcd of its own and
// nothing else: no controllers, no scheduler, no kubelets. It does not build it.
package realcluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

// Setting names the program of the API server, which make test-kubernetes builds.
const Setting = "LATCHKEY_TEST_KUBE_APISERVER"

// Tokens: of somebody who may do everything, and of user "app", who may do nothing.
const (
	AdminToken = "admin-token"
	AppToken   = "token-1"
)

// Namespace is one that is there.
const Namespace = "apps"

// Server is a running API server.
type Server struct {
	URL    string
	CA     []byte // PEM
	client *http.Client
}

// Start runs a server until the test ends. It skips the test if Setting is not set.
func Start(t *testing.T) *Server {
	t.Helper()
	program := os.Getenv(Setting)
	if program == "" {
		t.Skip(Setting + " does not name a kube-apiserver; run make test-kubernetes")
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	port, key := freePort(t), file("sa.key", newKey(t))
	out, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command(program,
		"--etcd-servers="+strings.Join(etcdtest.Start(t), ","), "--bind-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+dir, "--service-account-issuer=https://issuer.example", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
		"--token-auth-file="+file("tokens", AdminToken+",admin,1,system:masters\n"+AppToken+",app,2\n"),
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
		if text, _ := os.ReadFile(out.Name()); t.Failed() {
			t.Logf("the API server says:\n%s", text[max(0, len(text)-4000):])
		}
	})
	s := &Server{URL: "https://127.0.0.1:" + port}
	s.await(t, filepath.Join(dir, "apiserver.crt"))
	s.Make(t, "/api/v1/namespaces", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": Namespace}})
	return s
}

// await waits until the server is ready, and trusts the certificate it made.
func (s *Server) await(t *testing.T, certificate string) {
	for range 1200 {
		time.Sleep(100 * time.Millisecond)
		var err error
		if s.CA, err = os.ReadFile(certificate); err != nil {
			continue
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.CA)
		s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
		if code, _, err := s.ask(http.MethodGet, "/readyz", "", nil); err == nil && code == http.StatusOK {
			return
		}
	}
	t.Fatal("the API server did not become ready")
}

func (s *Server) ask(method, path, form string, body []byte) (int, []byte, error) {
	req, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+AdminToken)
	req.Header.Set("Content-Type", form)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// Call makes a call as the administrator and gives its status and answer; form is the
// media type of the object that is sent.
func (s *Server) Call(t *testing.T, method, path, form string, object any) (int, map[string]any) {
	t.Helper()
	var body []byte
	var err error
	if object != nil {
		body, err = json.Marshal(object)
		must(t, err)
	}
	code, text, err := s.ask(method, path, form, body)
	must(t, err)
	var out map[string]any
	must(t, json.Unmarshal(text, &out))
	return code, out
}

// Make makes an object.
func (s *Server) Make(t *testing.T, path string, object any) map[string]any {
	t.Helper()
	code, out := s.Call(t, http.MethodPost, path, "application/json", object)
	if code != http.StatusCreated {
		t.Fatalf("%s answers %d: %v", path, code, out["message"])
	}
	return out
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err, l.Close())
	return port
}

func newKey(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}
