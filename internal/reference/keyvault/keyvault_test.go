package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/reference/keyvault"
)

const version = "0123456789abcdef0123456789abcdef"

// cloud is a vault, and the directory of an identity.
type cloud struct {
	mu       sync.Mutex
	answer   http.HandlerFunc // after the challenge
	requests []string         // method, host and path, and the token's last part
	token    error
	source   *keyvault.Source
}

func newCloud(t *testing.T, change ...func(*keyvault.Config)) *cloud {
	t.Helper()
	c := &cloud{answer: func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"value":"hunter2","id":"https://shop.vault.test/secrets/db/%s","attributes":{"enabled":true,"exp":1800000000}}`, version)
	}}
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com" // of the test server's certificate
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "nowhere.") {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.vault.test", IsNotFound: true}}
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	cfg := keyvault.Config{Suffixes: []string{"vault.test", "vault.other.test"}, Transport: client, Credential: func(who identity.Assigned) (azcore.TokenCredential, bool) {
		return credential{c, who.ObjectID}, who.ObjectID != "stranger"
	}}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if c.source, err = keyvault.New(cfg); err != nil {
		t.Fatal(err)
	}
	return c
}

type credential struct {
	c  *cloud
	by string
}

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if c.c.token != nil {
		return azcore.AccessToken{}, c.c.token
	}
	return azcore.AccessToken{Token: c.by + "@" + o.Scopes[0] + "@" + o.TenantID, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.requests = append(c.requests, r.Method+" "+r.Host+r.URL.Path+" "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	answer := c.answer
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") == "" {
		_, domain, _ := strings.Cut(r.Host, ".")
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.test/tenant", resource="https://`+domain+`"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, r)
}

// seen gives the requests since the last call.
func (c *cloud) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.requests
	c.requests = nil
	return seen
}

func query() reference.Query {
	return reference.Query{Vault: "Shop", Secret: "db", Identity: identity.Assigned{System: true, ObjectID: "me"}}
}

func TestASecretIsRead(t *testing.T) {
	c := newCloud(t)
	got, err := c.source.Fetch(t.Context(), query())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reference.Secret{Value: "hunter2", Version: version, Expires: time.Unix(1800000000, 0).UTC()}, got); diff != "" {
		t.Error(diff)
	}
	q := query()
	q.Host, q.Version = "shop.vault.other.test", version
	if _, err := c.source.Fetch(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := c.source.Fetch(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	other := "GET shop.vault.other.test/secrets/db/" + version + " "
	if diff := cmp.Diff([]string{
		"GET shop.vault.test/secrets/db/ ", "GET shop.vault.test/secrets/db/ me@https://vault.test/.default@tenant",
		other, other + "me@https://vault.other.test/.default@tenant", other + "me@https://vault.other.test/.default@tenant",
	}, c.seen()); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyListedDomainsAreAsked(t *testing.T) {
	c := newCloud(t)
	for host, want := range map[string]bool{
		"": true, "shop.vault.test": true, "SHOP.Vault.Test": true, "shop.vault.test:443": true, "shop.vault.test:8443": false, "vault.test": false,
		"a.b.vault.test": false, "shop.evil.test": false, "shop.vault.test.evil.net": false, "shopvault.test": false,
	} {
		if got := c.source.Serves(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	q := query()
	q.Host = "shop.evil.test"
	_, err := c.source.Fetch(t.Context(), q)
	var f *reference.Failure
	if !errors.As(err, &f) || f.Status != reference.VaultNotFound || len(c.seen()) != 0 {
		t.Error(err)
	}
	for _, suffix := range []string{"", "vault", "vault.test/x", "me@vault.test"} {
		if _, err := keyvault.New(keyvault.Config{Suffixes: []string{suffix}}); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", suffix, err)
		}
	}
	if _, err := keyvault.New(keyvault.Config{}); !errors.Is(err, problem.Invalid) {
		t.Error(err)
	}
}

func TestFailuresAreExplained(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		q      func(*reference.Query)
		token  error
		want   reference.Failure
	}{
		"policy": {status: 403, body: `{"error":{"code":"Forbidden","message":"no get permission","innererror":{"code":"ForbiddenByPolicy"}}}`,
			want: reference.Failure{Status: reference.AccessDenied, HTTPStatus: 403, InnerCode: "ForbiddenByPolicy", Message: "the vault answered 403 ForbiddenByPolicy: no get permission"}},
		"firewall": {status: 403, body: `{"error":{"code":"Forbidden","message":"not allowed","innererror":{"code":"ForbiddenByFirewall"}}}`,
			want: reference.Failure{Status: reference.AccessDenied, HTTPStatus: 403, InnerCode: "ForbiddenByFirewall", Message: "the vault answered 403 ForbiddenByFirewall: not allowed"}},
		"disabled": {status: 403, body: `{"error":{"code":"Forbidden","message":"disabled","innererror":{"code":"SecretDisabled"}}}`,
			want: reference.Failure{Status: reference.OtherReasons, HTTPStatus: 403, InnerCode: "SecretDisabled", Message: "the vault answered 403 SecretDisabled: disabled"}},
		"token refused": {status: 401, body: `{"error":{"code":"Unauthorized","message":"AKV10032: Invalid issuer."}}`,
			want: reference.Failure{Status: reference.AccessDenied, HTTPStatus: 401, InnerCode: "Unauthorized", Message: "the vault answered 401 Unauthorized: AKV10032: Invalid issuer."}},
		"no secret": {status: 404, body: `{"error":{"code":"SecretNotFound","message":"none"}}`,
			want: reference.Failure{Status: reference.SecretNotFound, HTTPStatus: 404, InnerCode: "SecretNotFound", Message: "the vault answered 404 SecretNotFound: none"}},
		"no version": {status: 404, body: `{"error":{"code":"SecretNotFound","message":"none"}}`, q: func(q *reference.Query) { q.Version = version },
			want: reference.Failure{Status: reference.SecretVersionNotFound, HTTPStatus: 404, InnerCode: "SecretNotFound", Message: "the vault answered 404 SecretNotFound: none"}},
		"fault": {status: 500, body: `oops`,
			want: reference.Failure{Status: reference.OtherReasons, HTTPStatus: 500, Message: "the vault answered 500: Internal Server Error"}},
		"throttled": {status: 429, body: `{"error":{"code":"Throttled","message":"slow down"}}`,
			want: reference.Failure{Status: reference.OtherReasons, HTTPStatus: 429, InnerCode: "Throttled", Message: "the vault answered 429 Throttled: slow down"}},
		"gateway": {status: 504, body: `{"error":{"code":"Late","message":"late"}}`,
			want: reference.Failure{Status: reference.FetchTimedOut, HTTPStatus: 504, InnerCode: "Late", Message: "the vault answered 504 Late: late"}},
		"no vault": {q: func(q *reference.Query) { q.Vault = "nowhere" },
			want: reference.Failure{Status: reference.VaultNotFound, Message: "there is no host nowhere.vault.test"}},
		"no credential": {q: func(q *reference.Query) { q.Identity.ObjectID, q.Identity.ResourceID = "stranger", "/id" },
			want: reference.Failure{Status: reference.UnauthorizedClient, Message: "there is nothing to get tokens of the real directory with for the identity /id; map it to one"}},
		"no token": {token: errors.New("AADSTS700016: not found\n in the directory"),
			want: reference.Failure{Status: reference.UnauthorizedClient, Message: "the identity got no token: AADSTS700016: not found in the directory"}},
		"directory away": {token: problem.New(problem.Unavailable, "cut"),
			want: reference.Failure{Status: reference.OtherReasons, Message: "the identity got no token: cut"}},
		"directory slow": {token: problem.New(problem.Timeout, "slow"),
			want: reference.Failure{Status: reference.FetchTimedOut, Message: "the identity got no token: slow"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			c.token = tt.token
			c.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status); fmt.Fprint(w, tt.body) }
			q := query()
			if tt.q != nil {
				tt.q(&q)
			}
			_, err := c.source.Fetch(t.Context(), q)
			var f *reference.Failure
			if !errors.As(err, &f) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, *f); diff != "" {
				t.Error(diff)
			}
			if n := len(c.seen()); n > 3 {
				t.Errorf("%d requests: it retried", n)
			}
		})
	}
}

func TestASilentVaultTimesOut(t *testing.T) {
	c := newCloud(t)
	held := make(chan struct{})
	defer close(held)
	c.answer = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.source.Fetch(ctx, query())
	var f *reference.Failure
	if !errors.As(err, &f) || f.Status != reference.FetchTimedOut {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	c := newCloud(t)
	c.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://shop.evil.test/secrets/db/")
		w.WriteHeader(http.StatusFound)
	}
	_, err := c.source.Fetch(t.Context(), query())
	var f *reference.Failure
	if !errors.As(err, &f) || f.Status != reference.OtherReasons || f.HTTPStatus != http.StatusFound {
		t.Error(err)
	}
	for _, request := range c.seen() {
		if strings.Contains(request, "evil") {
			t.Error(request)
		}
	}
}

// TestAChallengeForOthersGetsNoToken has a vault that wants a token for somebody
// else's resource.
func TestAChallengeForOthersGetsNoToken(t *testing.T) {
	c := newCloud(t, func(cfg *keyvault.Config) {
		inner := cfg.Transport.Transport
		client := *cfg.Transport
		client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := inner.RoundTrip(r)
			if err == nil && resp.Header.Get("WWW-Authenticate") != "" {
				resp.Header.Set("WWW-Authenticate", `Bearer authorization="https://login.test/tenant", resource="https://management.azure.com"`)
			}
			return resp, err
		})
		cfg.Transport = &client
	})
	_, err := c.source.Fetch(t.Context(), query())
	var f *reference.Failure
	if !errors.As(err, &f) || f.Status != reference.OtherReasons {
		t.Error(err)
	}
	if seen := c.seen(); len(seen) != 1 || !strings.HasSuffix(seen[0], " ") {
		t.Error(seen)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
