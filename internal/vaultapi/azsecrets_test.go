package vaultapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// credential gives good tokens and remembers what for.
type credential struct{ asked []policy.TokenRequestOptions }

func (c *credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.asked = append(c.asked, o)
	return azcore.AccessToken{Token: "ok", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// sdk gives an unmodified client of the vault kv1, which is served over TLS by
// what serve makes of the resource that clients must be told.
func sdk(t *testing.T, cred azcore.TokenCredential, serve func(resource string) http.Handler) *azsecrets.Client {
	t.Helper()
	var handler http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	handler = serve("https://vault.localhost:" + port)
	transport := &http.Transport{
		TLSClientConfig: trusting(server),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := azsecrets.NewClient("https://kv1.vault.localhost:"+port, cred, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func trusting(s *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

// served gives the handler of e for a resource.
func (e *env) served(resource string) http.Handler {
	e.t.Helper()
	e.cfg.Resource = func(string) string { return resource }
	h, err := New(e.cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	return h
}

func TestClientOfTheSDK(t *testing.T) {
	e, cred, ctx := newEnv(t), &credential{}, t.Context()
	e.secrets.value, e.secrets.props.ContentType = "s", "text/plain"
	e.secrets.pages = map[string]page{"": {nil, "a"}, "a": {[]string{"b", "c"}, "c"}, "c": {[]string{"d"}, ""}}
	c := sdk(t, cred, e.served)
	value, expires := "s", time.Unix(1_800_000_000, 0).UTC()

	set, err := c.SetSecret(ctx, "n", azsecrets.SetSecretParameters{Value: &value, SecretAttributes: &azsecrets.SecretAttributes{Expires: &expires}}, nil)
	if err != nil || *set.Value != "s" || set.ID.Name() != "n" || set.ID.Version() != version {
		t.Fatalf("%+v %v", set, err)
	}
	if e.secrets.attrs.Expires == nil || !e.secrets.attrs.Expires.Equal(expires) {
		t.Errorf("attributes %+v", e.secrets.attrs)
	}
	got, err := c.GetSecret(ctx, "n", "", nil)
	if err != nil || *got.Value != "s" || *got.ContentType != "text/plain" || got.Attributes.Created.Unix() != 1_700_000_000 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := c.UpdateSecretProperties(ctx, "n", version, azsecrets.UpdateSecretPropertiesParameters{Tags: map[string]*string{"a": &value}}, nil); err != nil {
		t.Error(err)
	}
	var names []string
	for pager := c.NewListSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			names = append(names, p.ID.Name())
		}
	}
	if diff := cmp.Diff([]string{"b", "c", "d"}, names); diff != "" {
		t.Error(diff)
	}
	gone, err := c.DeleteSecret(ctx, "n", nil)
	if err != nil || gone.RecoveryID == nil || gone.ScheduledPurgeDate.Unix() != 1_707_776_000 {
		t.Errorf("%+v %v", gone, err)
	}
	if _, err := c.RecoverDeletedSecret(ctx, "n", nil); err != nil {
		t.Error(err)
	}
	backup, err := c.BackupSecret(ctx, "n", nil)
	if err != nil || string(backup.Value) != "blob" {
		t.Errorf("%q %v", backup.Value, err)
	}
	if _, err := c.PurgeDeletedSecret(ctx, "n", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil); err != nil {
		t.Error(err)
	}
	if !slices.Contains(e.secrets.calls, "restore YmxvYg") {
		t.Errorf("calls %q", e.secrets.calls)
	}
	want := policy.TokenRequestOptions{Scopes: []string{e.cfg.Resource("") + "/.default"}, TenantID: tenant, EnableCAE: cred.asked[0].EnableCAE}
	if diff := cmp.Diff(want, cred.asked[0]); diff != "" {
		t.Error(diff)
	}
	if first := e.events[0]; !first.Challenge || first.Operation != "set" || e.events[1].Challenge {
		t.Errorf("events %+v", e.events[:2])
	}
}

func TestClientOfTheSDKReadsErrors(t *testing.T) {
	e := newEnv(t)
	c := sdk(t, &credential{}, e.served)
	e.secrets.err = problem.Wrap(problem.NotFound, "A secret with (name/id) n was not found in this key vault.", vault.SecretNotFound)
	_, err := c.GetSecret(t.Context(), "n", "", nil)
	var re *azcore.ResponseError
	if !errors.As(err, &re) || re.StatusCode != 404 || re.ErrorCode != "SecretNotFound" {
		t.Errorf("%v", err)
	}
	e.secrets.err, e.vaults.err = nil, problem.Wrap(problem.Denied, "Caller is not authorized", vault.ForbiddenByRbac)
	if _, err = c.GetSecret(t.Context(), "n", "", nil); !errors.As(err, &re) || re.ErrorCode != "Forbidden" || !strings.Contains(err.Error(), "ForbiddenByRbac") {
		t.Errorf("%v", err)
	}
}

// BenchmarkGet is one read through the handler, without TLS, tokens and store.
func BenchmarkGet(b *testing.B) {
	e := newEnv(&testing.T{})
	bundle := secrets.Bundle{Properties: e.secrets.properties("connection-string"), Value: strings.Repeat("x", 200)}
	cfg := e.cfg
	cfg.Secrets, cfg.OnEvent, cfg.Vaults = fixed{bundle: bundle}, nil, steady{e.vaults.vault}
	h, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("GET", "https://"+host+"/secrets/connection-string?api-version=7.4", nil)
	r.Header.Set("Authorization", "Bearer ok")
	r.Header.Set("X-Ms-Client-Request-Id", "00000000-0000-0000-0000-000000000000")
	b.ReportAllocs()
	for b.Loop() {
		w := discard{h: http.Header{}}
		h.ServeHTTP(&w, r)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
}

type fixed struct {
	Secrets
	bundle secrets.Bundle
}

func (f fixed) Get(context.Context, vault.Vault, string, string) (secrets.Bundle, error) {
	return f.bundle, nil
}

type steady struct{ v vault.Vault }

func (s steady) ByName(string) (vault.Vault, error) { return s.v, nil }
func (s steady) Check(context.Context, vault.Vault, vault.Caller, vault.Operation, string) (vault.Grant, error) {
	return vault.Grant{Assignment: "/x/roleAssignments/a1"}, nil
}

// discard is a response nobody reads.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// getOnce reads a secret.
func getOnce(client *http.Client, url, authorization string) error {
	r, err := http.NewRequest(http.MethodGet, url+"/secrets/n?api-version=7.4", nil)
	if err != nil {
		return err
	}
	r.Host = host
	r.Header.Set("Authorization", authorization)
	w, err := client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if _, err := io.Copy(io.Discard, w.Body); err != nil {
		return err
	}
	if w.StatusCode != http.StatusOK {
		return errors.New(w.Status)
	}
	return nil
}
