package entra

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi"
)

const (
	tenant   = "11111111-1111-4111-8111-111111111111"
	client   = "33333333-3333-4333-8333-333333333333"
	storage  = "https://storage.azure.com"
	issuer   = "https://issuer.example"
	subject  = "system:serviceaccount:apps:orders"
	patience = 60 * time.Second
)

var (
	appID  = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/orders"
	userID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/orders"
	own    = identity.Assigned{System: true, ResourceID: appID, ObjectID: "o", AppID: "a"}
	shared = identity.Assigned{ResourceID: userID, ObjectID: "p", AppID: "b"}
)

// trusting accepts every issuer's signature.
type trusting struct{}

func (trusting) Verify(context.Context, string, string) error { return nil }

// fakeCloud is our own token service in the place of Entra.
type fakeCloud struct {
	*httptest.Server
	directory *identity.Directory
	authority *token.Authority
	principal identity.Principal
	asked     atomic.Int64 // for tokens
	instead   atomic.Pointer[http.HandlerFunc]
	dir       string
	log       *lines
}

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func newCloud(t *testing.T) *fakeCloud {
	t.Helper()
	now, log := clock.Real{}, slog.New(slog.DiscardHandler)
	store := memory.New(now)
	c := &fakeCloud{directory: identity.New(store, now), dir: t.TempDir(), log: &lines{}}
	var err error
	c.authority, err = token.New(token.Config{Store: store, Clock: now, Log: log, TenantID: tenant, Active: c.directory.Accepts})
	must(t, err)
	c.principal, err = c.directory.Create(t.Context(), identity.Principal{AppID: client, Name: "orders", Kind: identity.ServicePrincipal})
	must(t, err)
	sts := tokenapi.New(tokenapi.Config{Directory: c.directory, Authority: c.authority, Issuers: trusting{}, TenantID: tenant, Clock: now, Log: log})
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			sts.ServeHTTP(w, r)
			return
		}
		c.asked.Add(1)
		if other := c.instead.Load(); other != nil {
			(*other)(w, r)
			return
		}
		sts.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// answers makes the cloud answer token requests so; nil ends that.
func (c *fakeCloud) answers(h http.HandlerFunc) {
	if h == nil {
		c.instead.Store(nil)
		return
	}
	c.instead.Store(&h)
}

// write puts a file and gives its path.
func (c *fakeCloud) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (c *fakeCloud) secret(t *testing.T) string {
	t.Helper()
	plain, _, err := c.directory.AddSecret(t.Context(), c.principal.ObjectID, "s", time.Hour)
	must(t, err)
	return plain
}

// mapping is one with a secret that is right.
func (c *fakeCloud) mapping(t *testing.T) Mapping {
	t.Helper()
	return Mapping{
		Identity: "orders", Mode: Secret, TenantID: tenant, ClientID: client, SecretFile: c.write(t, "secret", c.secret(t)+"\n"),
		AuthorityHost: c.URL, DisableInstanceDiscovery: true,
	}
}

func (c *fakeCloud) upstream(t *testing.T, mappings ...Mapping) *Upstream {
	t.Helper()
	u, err := New(Config{
		Mappings: mappings, Log: slog.New(slog.NewTextHandler(io.MultiWriter(c.log, t.Output()), nil)),
		Outbound: c.Client().Transport, Timeout: patience,
	})
	must(t, err)
	for _, one := range u.credentials { // the wait is the library's
		one.options.Retry.RetryDelay, one.options.Retry.MaxRetryDelay = time.Millisecond, time.Millisecond
	}
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// good gets a token and sees that it is right.
func (c *fakeCloud) good(t *testing.T, u *Upstream, who identity.Assigned, resource string) token.Token {
	t.Helper()
	tok, handled, err := u.Token(t.Context(), who, resource)
	if err != nil || !handled {
		t.Fatalf("handled %t: %v, %s", handled, err, problem.NextOf(err))
	}
	v, err := c.authority.Verify(t.Context(), tok.Raw, token.Expect{Audiences: []string{resource}})
	if err != nil || v.AppID != client {
		t.Fatalf("of %q: %v", v.AppID, err)
	}
	if off := tok.Expires.Sub(v.Expires).Abs(); off > patience || tok.Issued.IsZero() || !tok.Expires.After(tok.Issued) {
		t.Errorf("from %s to %s, want to %s", tok.Issued, tok.Expires, v.Expires)
	}
	return tok
}

func TestTokensBySecret(t *testing.T) {
	c := newCloud(t)
	u := c.upstream(t, c.mapping(t))
	first := c.good(t, u, own, storage)
	if again := c.good(t, u, own, storage); again.Raw != first.Raw || c.asked.Load() != 1 {
		t.Errorf("asked %d times", c.asked.Load())
	}
	c.good(t, u, own, storage+"/")
	c.good(t, u, own, "https://graph.microsoft.com/.default")
}

func TestTokensByCertificate(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	m.Mode, m.SecretFile = Certificate, ""
	certificate, both := certificates(t)
	_, err := c.directory.AddCertificate(t.Context(), c.principal.ObjectID, "", certificate)
	must(t, err)
	m.CertificateFile = c.write(t, "certificate.pem", string(both))
	c.good(t, c.upstream(t, m), own, storage)

	m.CertificateFile = c.write(t, "only.pem", string(certificate))
	refused(t, c.upstream(t, m), problem.Denied, "only.pem", "private key")
	_, stranger := certificates(t)
	m.CertificateFile = c.write(t, "stranger.pem", string(stranger))
	refused(t, c.upstream(t, m), problem.Denied, "AADSTS700027")
}

// certificates gives a new certificate, and the same with its key.
func certificates(t *testing.T) (certificate, both []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orders"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certificate, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), certificate...)
}

// assertion gives another issuer's token. Its signature is not looked at here.
func assertion(t *testing.T, subject string) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(map[string]string{"alg": "RS256", "kid": "k"}) + "." + part(map[string]any{
		"iss": issuer, "sub": subject, "aud": []string{"api://AzureADTokenExchange"}, "exp": time.Now().Add(time.Hour).Unix(),
	}) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 256))
}

func TestTokensByWorkloadIdentity(t *testing.T) {
	c := newCloud(t)
	_, _, err := c.directory.SetFederated(t.Context(), c.principal.ObjectID, identity.Federated{
		Name: "cluster", Issuer: issuer, Subject: subject, Audiences: []string{"api://AzureADTokenExchange"},
	})
	must(t, err)
	m := c.mapping(t)
	m.Mode, m.SecretFile, m.TokenFile = Workload, "", c.write(t, "token", assertion(t, "somebody else"))
	must(t, os.Chmod(m.TokenFile, 0o644)) // as clusters mount it
	u := c.upstream(t, m)
	refused(t, u, problem.Denied, "AADSTS700213")
	c.write(t, "token", assertion(t, subject)) // the cluster renews it
	c.good(t, u, own, storage)
}

// machine answers as the App Service's identity endpoint does.
func machine(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != "header" || r.URL.Query().Get("api-version") != "2019-08-01" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	for _, name := range []string{"IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET"} {
		t.Setenv(name, "")
		must(t, os.Unsetenv(name))
	}
	t.Setenv("IDENTITY_ENDPOINT", s.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "header")
}

func TestTokensOfTheMachine(t *testing.T) {
	c := newCloud(t)
	var clients []string
	machine(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		clients = append(clients, q.Get("client_id"))
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "for " + q.Get("resource"), "expires_in": "3600", "expires_on": "", "resource": q.Get("resource"), "token_type": "Bearer"})
	})
	u := c.upstream(t, Mapping{Identity: "orders", Mode: Machine}, Mapping{Identity: userID, Mode: Machine, ClientID: client})
	resource := "https://" + rand.Text() // the library keeps the machine's tokens for the whole process
	for _, who := range []identity.Assigned{own, shared} {
		tok, handled, err := u.Token(t.Context(), who, resource)
		if err != nil || !handled || tok.Raw != "for "+resource {
			t.Errorf("%s: %q, %t, %v", who.ResourceID, tok.Raw, handled, err)
		}
		if left := tok.Expires.Sub(tok.Issued); left < time.Hour-patience || left > time.Hour {
			t.Errorf("%s: %s are left", who.ResourceID, left)
		}
	}
	if strings.Join(clients, ",") != ","+client {
		t.Errorf("asked for clients %q", clients)
	}
}

func TestTheMachineHasNoSuchIdentity(t *testing.T) {
	c := newCloud(t)
	machine(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"statusCode":400,"message":"Unable to load the proper Managed Identity."}`))
	})
	refused(t, c.upstream(t, Mapping{Identity: "orders", Mode: Machine}), problem.Denied, "identity endpoint of this machine", "Unable to load the proper Managed Identity")
}

// refused asks for a token that is not to be had and gives the error.
func refused(t *testing.T, u *Upstream, kind problem.Kind, texts ...string) error {
	t.Helper()
	tok, handled, err := u.Token(t.Context(), own, storage)
	if err == nil || !handled || problem.KindOf(err) != kind || tok != (token.Token{}) {
		t.Fatalf("handled %t, kind %v: %v", handled, problem.KindOf(err), err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	return err
}

func TestRefusalsSayWhatEntraSaysAndNothingSecret(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	secret := "aB8~not-the-secret-of-anybody"
	m.SecretFile = c.write(t, "wrong", secret)
	err := refused(t, c.upstream(t, m), problem.Denied, "AADSTS7000215", "401")
	if problem.NextOf(err) == "" || !strings.Contains(problem.NextOf(err), m.SecretFile) {
		t.Errorf("next: %q", problem.NextOf(err))
	}
	for _, never := range []string{secret, "Trace ID", "error_codes", "{", "\n"} {
		if strings.Contains(err.Error()+problem.NextOf(err), never) {
			t.Errorf("%q holds %q", err, never)
		}
	}
	m = c.mapping(t)
	m.ClientID = "44444444-4444-4444-8444-444444444444"
	refused(t, c.upstream(t, m), problem.Denied, "AADSTS700016")
	if _, _, err := c.upstream(t, c.mapping(t)).Token(t.Context(), own, "ftp://nowhere"); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a resource there is not: %v", err)
	}
}

func TestAnswersHaveTheirKinds(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	secret, err := os.ReadFile(m.SecretFile)
	must(t, err)
	plain := strings.TrimSpace(string(secret))
	for name, tt := range map[string]struct {
		status int
		body   string
		want   problem.Kind
		says   string
	}{
		"unavailable":        {503, `{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error occurred.\r\nTrace ID: x"}`, problem.Unavailable, "AADSTS90033: A transient error occurred"},
		"fault":              {500, "<html>", problem.Unavailable, "500"},
		"throttled":          {429, `{}`, problem.Throttled, "429"},
		"request timed out":  {408, ``, problem.Timeout, "408"},
		"refused":            {400, `{"error":"invalid_client"}`, problem.Denied, "invalid_client"},
		"no such resource":   {400, `{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal was not found. Trace ID: y"}`, problem.Invalid, "AADSTS500011"},
		"repeats the secret": {400, `{"error":"x","error_description":"no: ` + plain + `"}`, problem.Denied, "no: [secret]"},
		"a number as error":  {400, `{"error":7,"message":"m"}`, problem.Denied, "m"},
		"moved":              {302, ``, problem.Denied, "302"},
		"a long story":       {400, `{"error":"x","error_description":"` + strings.Repeat("long ", 1000) + `"}`, problem.Denied, "…"},
		"no JSON":            {200, `access_token=`, problem.Unavailable, "did not answer as Entra does"},
		"no token":           {200, `{"token_type":"Bearer","expires_in":1}`, problem.Unavailable, "did not answer as Entra does"},
	} {
		c.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		_, handled, err := c.upstream(t, m).Token(t.Context(), own, storage)
		if !handled || problem.KindOf(err) != tt.want || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v (%v)", name, err, problem.KindOf(err))
		}
		if err != nil && (strings.Contains(err.Error(), plain) || len(err.Error()) > 500) {
			t.Errorf("%s: too much said: %v", name, err)
		}
	}
}

func TestNetworkFaultsAreUnavailable(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	u, err := New(Config{Mappings: []Mapping{m}, Log: slog.New(slog.DiscardHandler), Timeout: patience})
	must(t, err)
	u.credentials[0].options.Retry.MaxRetries = -1
	refused(t, u, problem.Unavailable, "certificate is not trusted")
	u = c.upstream(t, m)
	c.Close()
	refused(t, u, problem.Unavailable, "cannot be reached", "refused")
}

func TestSlowAnswersAreNotWaitedForForEver(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	c.good(t, c.upstream(t, m), own, storage)
	c.answers(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client go
		<-r.Context().Done()
	})
	u, err := New(Config{Mappings: []Mapping{m}, Log: slog.New(slog.DiscardHandler), Outbound: c.Client().Transport, Timeout: 100 * time.Millisecond})
	must(t, err)
	var wg sync.WaitGroup
	for range 4 { // all wait for the same turn, and none longer than the time
		wg.Go(func() {
			if _, _, err := u.Token(t.Context(), own, storage); problem.KindOf(err) != problem.Timeout {
				t.Errorf("too late: %v", err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.upstream(t, m).Token(ctx, own, storage); problem.KindOf(err) != problem.Timeout || !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestChangedSecretsAreTakenUpAndLostOnesKept(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	u := c.upstream(t, m)
	c.good(t, u, own, storage)
	asked := c.asked.Load()

	c.write(t, "secret", c.secret(t))
	c.good(t, u, own, storage)
	if c.asked.Load() != asked+1 || c.log.count("was replaced") != 1 {
		t.Errorf("asked %d times after %d", c.asked.Load(), asked)
	}
	must(t, os.Remove(m.SecretFile))
	for range 3 {
		c.good(t, u, own, "https://vault.azure.net")
	}
	if n := c.log.count("last good credential"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if err := u.Check()[0]; problem.KindOf(err) != problem.Denied || !strings.Contains(err.Error(), m.SecretFile) {
		t.Errorf("check: %v", err)
	}
	c.write(t, "secret", c.secret(t))
	c.good(t, u, own, storage)
	if faults := u.Check(); len(faults) != 0 {
		t.Errorf("check: %v", faults)
	}
}

func TestSecretFilesOpenToAllAreRefused(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o602: false} {
		must(t, os.Chmod(m.SecretFile, mode))
		err := c.upstream(t, m).Check()[0]
		if (err == nil) != ok || err != nil && (problem.KindOf(err) != problem.Denied || problem.NextOf(err) != "chmod 600 "+m.SecretFile) {
			t.Errorf("%v: %v", mode, err)
		}
	}
	m.SecretFile = c.write(t, "empty", " \n")
	refused(t, c.upstream(t, m), problem.Denied, "is empty")
	m.SecretFile = c.dir
	must(t, os.Chmod(c.dir, 0o700))
	refused(t, c.upstream(t, m), problem.Denied, c.dir)
	m.SecretFile = filepath.Join(c.dir, "none")
	refused(t, c.upstream(t, m), problem.Denied, "none", "no such file")
}

func TestOnlyMappedIdentitiesAndResourcesGoUpstream(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	none := c.upstream(t)
	u := c.upstream(t, m)
	narrow := m
	narrow.Resources = []string{"https://*.azure.com", "https://vault.azure.net"}
	few := c.upstream(t, narrow)
	ours := func(resource string) bool {
		return strings.Contains(resource, "azure.com") || strings.Contains(resource, "vault")
	}
	u.cfg.Ours, few.cfg.Ours = ours, ours
	deleted := own
	deleted.ObjectID = ""
	for name, tt := range map[string]struct {
		u        *Upstream
		who      identity.Assigned
		resource string
		want     bool
	}{
		"no mapping":                    {none, own, "https://graph.microsoft.com", false},
		"everything that is not ours":   {u, own, "https://graph.microsoft.com", true},
		"ours":                          {u, own, storage, false},
		"ours, by a wildcard":           {few, own, storage, false},
		"ours, named":                   {few, own, "https://vault.azure.net/", true},
		"not named":                     {few, own, "https://graph.microsoft.com", false},
		"another identity":              {u, shared, "https://graph.microsoft.com", false},
		"an identity that was deleted":  {u, deleted, "https://graph.microsoft.com", false},
		"two scopes in one":             {u, own, "https://graph.microsoft.com/.default https://x", false},
		"no resource":                   {u, own, "", false},
		"a line break in the resource":  {u, own, "https://x\r\nHost: y", false},
		"a resource without an end":     {u, own, "https://" + strings.Repeat("x", maxResource), false},
		"an app of another letter case": {u, identity.Assigned{System: true, ResourceID: strings.ToUpper(appID), ObjectID: "o"}, "https://graph.microsoft.com", true},
	} {
		_, handled, err := tt.u.Token(t.Context(), tt.who, tt.resource)
		if handled != tt.want || err != nil {
			t.Errorf("%s: handled %t, %v", name, handled, err)
		}
	}
}

func TestCredentialsForClientsOfTheRealCloud(t *testing.T) {
	c := newCloud(t)
	m := c.mapping(t)
	m.Resources = []string{storage, "https://*.azure.net"}
	u := c.upstream(t, m)
	u.cfg.Ours = func(string) bool { return true }
	if _, ok := u.Credential(shared); ok {
		t.Error("an identity without mapping has a credential")
	}
	cred, ok := u.Credential(own)
	if !ok {
		t.Fatal("no credential")
	}
	ask := func(tenant string, scopes ...string) error {
		_, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: scopes, TenantID: tenant, EnableCAE: true})
		return err
	}
	must(t, ask("", "https://vault.azure.net/.default"))
	must(t, ask(strings.ToUpper(tenant), storage+"/.default"))
	for name, tt := range map[string]struct {
		err  error
		want problem.Kind
	}{
		"resource not mapped": {ask("", "https://graph.microsoft.com/.default"), problem.Denied},
		"another tenant":      {ask(client, storage+"/.default"), problem.Denied},
		"no scope":            {ask(""), problem.Invalid},
		"two scopes":          {ask("", storage+"/.default", storage+"/.default"), problem.Invalid},
	} {
		if problem.KindOf(tt.err) != tt.want || tt.err == nil {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
}

func TestExpiryIsByOurClock(t *testing.T) {
	c := newCloud(t)
	u := c.upstream(t, c.mapping(t))
	drill := clock.NewManual(time.Now().AddDate(0, 0, 5))
	u.cfg.Clock = drill
	tok, _, err := u.Token(t.Context(), own, storage)
	must(t, err)
	if left := tok.Expires.Sub(drill.Now()); tok.Issued != drill.Now() || left > time.Hour || left < time.Hour-patience {
		t.Errorf("issued %s, %s left", tok.Issued, left)
	}
}
