package kubernetes_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

// envServer names the program of a real API server, which make test-kubernetes builds.
const envServer = "LATCHKEY_TEST_KUBE_APISERVER"

// real is a real API server.
type real struct {
	root    admin // all resources
	address string
	ca      []byte
	objects atomic.Int64
}

func startReal(t *testing.T) *real {
	program := os.Getenv(envServer)
	if program == "" {
		t.Skip(envServer + " does not name a kube-apiserver; run make test-kubernetes")
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	port := freePort(t)
	key := file("sa.key", newKey(t))
	out, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command(program,
		"--etcd-servers="+strings.Join(etcdtest.Start(t), ","), "--bind-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+dir, "--service-account-issuer=https://issuer.example", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
		"--token-auth-file="+file("tokens", adminToken+",admin,1,system:masters\ntoken-1,app,2\n"),
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
	r := &real{address: "https://127.0.0.1:" + port}
	r.await(t, filepath.Join(dir, "apiserver.crt"))
	r.root.make("api/v1/namespaces", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "apps"}})
	return r
}

// await waits until the server is ready, and trusts the certificate it made.
func (r *real) await(t *testing.T, certificate string) {
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		var err error
		if r.ca, err = os.ReadFile(certificate); err != nil {
			continue
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(r.ca)
		r.root = admin{t: t, address: r.address + "/", client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}}
		req, err := http.NewRequest(http.MethodGet, r.address+"/readyz", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+adminToken)
		resp, err := r.root.client.Do(req)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("the API server did not become ready")
}

func (a admin) make(path string, object any) {
	a.t.Helper()
	if code, text := a.ask(http.MethodPost, path, "application/json", object); code != http.StatusCreated {
		a.t.Fatalf("%s answers %d: %s", path, code, text)
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

// target gives an object that is not there yet, for a user with a token.
func (r *real) target(t *testing.T, kind kubernetes.Kind, token string) *target {
	access := kubernetes.Access{Server: r.address, Namespace: "apps", Token: token, CA: r.ca}
	transport := r.root.client.Transport
	return &target{
		admin: admin{t: t, client: r.root.client, address: r.address + "/api/v1/namespaces/apps/"},
		kind:  kind, name: fmt.Sprint("func-keys-", r.objects.Add(1)), access: access, wire: &wire{real: transport},
	}
}

// grant lets the app do something to one object.
func (r *real) grant(t *testing.T, p *target, verbs ...string) {
	root := r.root
	root.t = t
	const group = "rbac.authorization.k8s.io"
	base, meta := "apis/"+group+"/v1/namespaces/apps/", map[string]any{"name": p.name}
	root.make(base+"roles", map[string]any{"apiVersion": group + "/v1", "kind": "Role", "metadata": meta, "rules": []any{
		map[string]any{"apiGroups": []string{""}, "resources": []string{string(p.kind)}, "resourceNames": []string{p.name}, "verbs": verbs},
		map[string]any{"apiGroups": []string{""}, "resources": []string{string(p.kind)}, "verbs": []string{"create"}},
	}})
	root.make(base+"rolebindings", map[string]any{"apiVersion": group + "/v1", "kind": "RoleBinding", "metadata": meta,
		"roleRef":  map[string]any{"apiGroup": group, "kind": "Role", "name": p.name},
		"subjects": []any{map[string]any{"apiGroup": group, "kind": "User", "name": "app"}},
	})
}

func TestAgainstARealAPIServer(t *testing.T) {
	r := startReal(t)
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		keystoretest.Run(t, keystoretest.Config{
			New:    func(t *testing.T) keystoretest.Harness { return r.target(t, kind, adminToken).harness() },
			Except: map[string]string{"what dead writers leave is ignored and swept": "a request is carried out as a whole or not at all"},
		})
	})
	t.Run("agrees with the reference", func(t *testing.T) {
		keystoretest.CrossTest(t, narrow{memory.New()}, r.target(t, kubernetes.Secret, adminToken).open(), r.target(t, kubernetes.ConfigMap, adminToken).open())
	})
	t.Run("the documented role is enough", func(t *testing.T) {
		p := r.target(t, kubernetes.Secret, "token-1")
		r.grant(t, p, "get", "watch", "patch")
		s := p.open()
		r.settle(t, s)
		heard, _ := hears(t, s)
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		await(t, heard, "fn")
		must(t, try(t, s, "fn", keystoretest.Function("2")), s.Delete(t.Context(), "fn"))
	})
	t.Run("refusals", func(t *testing.T) {
		p := r.target(t, kubernetes.Secret, "token-1")
		if _, _, err := p.open().Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) || !strings.Contains(problem.NextOf(err), `"get"`) {
			t.Errorf("load: %v", err)
		}
		r.grant(t, p, "get")
		s := p.open()
		r.settle(t, s)
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		if err := try(t, s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(problem.NextOf(err), `"patch"`) {
			t.Errorf("update: %v", err)
		}
		wrong := r.target(t, kubernetes.Secret, "token-9").open()
		if _, _, err := wrong.Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) {
			t.Errorf("a wrong token: %v", err)
		}
		elsewhere := r.target(t, kubernetes.Secret, adminToken)
		elsewhere.access.Namespace = "elsewhere"
		if err := try(t, elsewhere.open(), "fn", keystoretest.Function("1")); !errors.Is(err, keystore.ErrUnavailable) || problem.NextOf(err) != "make the namespace" {
			t.Errorf("no namespace: %v", err)
		}
	})
	t.Run("immutable", func(t *testing.T) {
		p := r.target(t, kubernetes.ConfigMap, adminToken)
		s := p.open()
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
			p.merge(p.key(), map[string]any{"immutable": true})
			return keystoretest.Function("2"), nil
		})
		if !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("update: %v", err)
		}
	})
}

// settle waits until the server has noticed a new role.
func (r *real) settle(t *testing.T, s keystore.Store) {
	t.Helper()
	for range 600 {
		if _, err := s.List(t.Context()); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the role did not take effect")
}
