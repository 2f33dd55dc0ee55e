package kubernetes_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/realcluster"
)

// real is a real API server.
type real struct {
	*realcluster.Server
	client  *http.Client
	objects atomic.Int64
}

func startReal(t *testing.T) *real {
	s := realcluster.Start(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	return &real{Server: s, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}}
}

// target gives an object that is not there yet, for a user with a token.
func (r *real) target(t *testing.T, kind kubernetes.Kind, token string) *target {
	access := kubernetes.Access{Server: r.URL, Namespace: realcluster.Namespace, Token: token, CA: r.CA}
	return &target{
		admin: admin{t: t, client: r.client, address: r.URL + "/api/v1/namespaces/apps/"},
		kind:  kind, name: fmt.Sprint("func-keys-", r.objects.Add(1)), access: access, wire: &wire{real: r.client.Transport},
	}
}

// grant lets the app do something to one object.
func (r *real) grant(t *testing.T, p *target, verbs ...string) {
	const group = "rbac.authorization.k8s.io"
	base, meta := "/apis/"+group+"/v1/namespaces/apps/", map[string]any{"name": p.name}
	r.Make(t, base+"roles", map[string]any{"apiVersion": group + "/v1", "kind": "Role", "metadata": meta, "rules": []any{
		map[string]any{"apiGroups": []string{""}, "resources": []string{string(p.kind)}, "resourceNames": []string{p.name}, "verbs": verbs},
		map[string]any{"apiGroups": []string{""}, "resources": []string{string(p.kind)}, "verbs": []string{"create"}},
	}})
	r.Make(t, base+"rolebindings", map[string]any{"apiVersion": group + "/v1", "kind": "RoleBinding", "metadata": meta,
		"roleRef":  map[string]any{"apiGroup": group, "kind": "Role", "name": p.name},
		"subjects": []any{map[string]any{"apiGroup": group, "kind": "User", "name": "app"}},
	})
}

func TestAgainstARealAPIServer(t *testing.T) {
	r := startReal(t)
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		keystoretest.Run(t, keystoretest.Config{
			New:    func(t *testing.T) keystoretest.Harness { return r.target(t, kind, realcluster.AdminToken).harness() },
			Except: map[string]string{"what dead writers leave is ignored and swept": "a request is carried out as a whole or not at all"},
		})
	})
	t.Run("agrees with the reference", func(t *testing.T) {
		keystoretest.CrossTest(t, narrow{memory.New()}, r.target(t, kubernetes.Secret, realcluster.AdminToken).open(), r.target(t, kubernetes.ConfigMap, realcluster.AdminToken).open())
	})
	t.Run("the documented role is enough", func(t *testing.T) {
		p := r.target(t, kubernetes.Secret, realcluster.AppToken)
		r.grant(t, p, "get", "watch", "patch")
		s := p.open()
		r.settle(t, s)
		heard, _ := hears(t, s)
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		await(t, heard, "fn")
		must(t, try(t, s, "fn", keystoretest.Function("2")), s.Delete(t.Context(), "fn"))
	})
	t.Run("refusals", func(t *testing.T) {
		p := r.target(t, kubernetes.Secret, realcluster.AppToken)
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
		elsewhere := r.target(t, kubernetes.Secret, realcluster.AdminToken)
		elsewhere.access.Namespace = "elsewhere"
		if err := try(t, elsewhere.open(), "fn", keystoretest.Function("1")); !errors.Is(err, keystore.ErrUnavailable) || problem.NextOf(err) != "make the namespace" {
			t.Errorf("no namespace: %v", err)
		}
	})
	t.Run("immutable", func(t *testing.T) {
		p := r.target(t, kubernetes.ConfigMap, realcluster.AdminToken)
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
