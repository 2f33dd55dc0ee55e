// Package localvault owns a key vault for tests: the platform's data plane with its
// real store of secrets on state in memory, behind TLS, with access policies that
// can change. It does not know what is kept in it.
package localvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
	"github.com/latchkey/latchkey/internal/vaultapi"
)

const tenant = "11111111-2222-3333-4444-555555555555"

// All are the permissions that do everything but purge.
var All = []string{"get", "list", "set", "delete", "recover"}

// Config says what is special about a vault.
type Config struct {
	// Clock is for the times of secrets; nil is the system clock.
	Clock clock.Clock
	// RatePer10s is how many requests it takes in ten seconds; 0 is no limit.
	RatePer10s int
	// DeletionDelay is how long a deleted secret can be neither recovered nor set.
	DeletionDelay time.Duration
	// EmptyPages makes every list begin with an empty page.
	EmptyPages bool
}

// Vault is a running vault. It is safe for concurrent use.
type Vault struct {
	// URI is its address.
	URI string
	// Transport leads there.
	Transport *http.Transport

	handler  http.Handler
	mu       sync.Mutex
	policies map[string][]string
	base     vault.Vault
}

// Start runs a vault until the test ends.
func Start(t testing.TB, cfg Config) *Vault {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	v := &Vault{policies: map[string][]string{}, base: vault.Vault{
		Name: "kv1", UID: "uid-1", Location: "westeurope", TenantID: tenant, RetentionDays: 90, Network: vault.Network{Public: true},
	}}
	store := memory.New(cfg.Clock)
	var handler http.Handler
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that tests give up
	server.StartTLS()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	v.URI = "https://kv1.vault.localhost:" + port
	handler, err = vaultapi.New(vaultapi.Config{
		Vaults: v, Clock: cfg.Clock, RatePer10s: cfg.RatePer10s, EmptyPages: cfg.EmptyPages, Authenticate: authenticate,
		Secrets: secrets.New(secrets.Config{State: store, Clock: cfg.Clock, Sealer: seal.None{}, DeletionDelay: cfg.DeletionDelay}),
		Name: func(host string) (string, bool) {
			return strings.CutSuffix(strings.Split(host, ":")[0], ".vault.localhost")
		},
		Resource: func(string) string { return "https://vault.localhost:" + port },
		LoginURL: func(string) string { return "https://localhost:" + port + "/" + tenant },
	})
	if err != nil {
		t.Fatal(err)
	}
	v.Transport, v.handler = transport(server), handler
	t.Cleanup(func() {
		v.Transport.CloseIdleConnections()
		server.Close()
		_ = store.Close()
	})
	return v
}

func transport(server *httptest.Server) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &http.Transport{
		MaxIdleConnsPerHost: 64,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
}

// Handler is the vault without the network before it.
func (v *Vault) Handler() http.Handler { return v.handler }

// Allow gives somebody, whose bearer token is the name, these permissions for
// secrets and no others. It counts at once.
func (v *Vault) Allow(who string, permissions ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.policies[who] = permissions
}

// ByName implements vaultapi.Vaults.
func (v *Vault) ByName(name string) (vault.Vault, error) {
	if name != v.base.Name {
		return vault.Vault{}, problem.Wrap(problem.NotFound, "there is no such vault", vault.VaultNotFound)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	got := v.base
	for who, permissions := range v.policies {
		got.Policies = append(got.Policies, vault.Policy{TenantID: tenant, ObjectID: who, Permissions: vault.Permissions{Secrets: permissions}})
	}
	return got, nil
}

// Check implements vaultapi.Vaults by access policies.
func (v *Vault) Check(ctx context.Context, of vault.Vault, c vault.Caller, op vault.Operation, secret string) (vault.Grant, error) {
	return (&vault.Vaults{}).Check(ctx, of, c, op, secret)
}

func authenticate(_ context.Context, r *http.Request, _ string) (vault.Caller, error) {
	who, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || who == "" {
		return vault.Caller{}, problem.New(problem.Unauthenticated, "there is no bearer token")
	}
	return vault.Caller{ObjectID: who, TenantID: tenant, Address: netip.IPv6LinkLocalAllNodes()}, nil
}
