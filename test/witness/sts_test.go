// Package witness drives Latchkey with the client libraries that people use, as
// they come, and checks that these get what they would from the cloud.
package witness

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/federation"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi"
	"github.com/latchkey/latchkey/test/witness/node"
)

const (
	management = "https://management.azure.com"
	exchange   = "api://AzureADTokenExchange"
	workload   = "system:serviceaccount:shop:orders"
)

// sts is a running token service with one principal that has every credential.
type sts struct {
	*httptest.Server
	tenant    string
	authority *token.Authority
	directory *identity.Directory
	principal identity.Principal
	secret    string
	cert      *x509.Certificate
	key       *rsa.PrivateKey
	issuer    *issuer
}

func newSTS(t *testing.T) *sts {
	t.Helper()
	s := &sts{tenant: uuid.NewString(), issuer: newIssuer(t)}
	store, log := memory.New(clock.Real{}), slog.New(slog.NewTextHandler(t.Output(), nil))
	s.directory = identity.New(store, clock.Real{})
	var err error
	s.authority, err = token.New(token.Config{Store: store, Clock: clock.Real{}, Log: log, TenantID: s.tenant, Active: s.directory.Accepts})
	must(t, err)
	s.Server = httptest.NewTLSServer(tokenapi.New(tokenapi.Config{
		Directory: s.directory, Authority: s.authority, TenantID: s.tenant, Clock: clock.Real{}, Log: log,
		Issuers: federation.New(federation.Config{
			Clock: clock.Real{}, Log: log, Roots: s.issuer.roots(),
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}),
	}))
	t.Cleanup(s.Close)
	s.enroll(t)
	return s
}

// enroll makes the principal.
func (s *sts) enroll(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	p, err := s.directory.Create(ctx, identity.Principal{Name: "witness", Kind: identity.ServicePrincipal})
	must(t, err)
	s.secret, _, err = s.directory.AddSecret(ctx, p.ObjectID, "first", time.Hour)
	must(t, err)
	s.cert, s.key = selfSigned(t)
	_, err = s.directory.AddCertificate(ctx, p.ObjectID, "", pemOf("CERTIFICATE", s.cert.Raw))
	must(t, err)
	_, _, err = s.directory.SetFederated(ctx, p.ObjectID, identity.Federated{Name: "cluster", Issuer: s.issuer.URL, Subject: workload, Audiences: []string{exchange}})
	must(t, err)
	s.principal = p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func selfSigned(t *testing.T) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "witness"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issuer is somebody else's token issuer, such as a cluster.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	i := &issuer{key: key}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.Certificate())
	return pool
}

// ServeHTTP answers with the discovery document and the keys.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
		return
	}
	encode := base64.RawURLEncoding.EncodeToString
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "kid": "k1", "n": encode(i.key.N.Bytes()), "e": encode(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// token makes a JWT as the workload has it in a file.
func (i *issuer) token(t *testing.T) string {
	t.Helper()
	return i.tokenFor(t, workload, exchange, time.Now().Add(time.Hour))
}

// tokenFor makes a JWT for somebody.
func (i *issuer) tokenFor(t *testing.T, subject, audience string, expires time.Time) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "RS256", "kid": "k1", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": i.URL, "sub": subject, "aud": []string{audience}, "exp": expires.Unix(),
	})
	hash := crypto.SHA256.New()
	hash.Write([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, hash.Sum(nil))
	must(t, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// options point the Go library at the service.
func (s *sts) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: s.Client(),
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: s.URL + "/"},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

// credentials are the principal's, as the Go library knows them.
func (s *sts) credentials(t *testing.T) map[token.Proof]map[string]azcore.TokenCredential {
	t.Helper()
	app := s.principal.AppID
	secret, err := azidentity.NewClientSecretCredential(s.tenant, app, s.secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: s.options(), DisableInstanceDiscovery: true,
	})
	must(t, err)
	cert, err := azidentity.NewClientCertificateCredential(s.tenant, app, []*x509.Certificate{s.cert}, s.key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: s.options(), DisableInstanceDiscovery: true,
	})
	must(t, err)
	assertion, err := azidentity.NewClientAssertionCredential(s.tenant, app, func(context.Context) (string, error) { return s.issuer.token(t), nil },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: s.options(), DisableInstanceDiscovery: true})
	must(t, err)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(s.issuer.token(t)), 0o600))
	workload, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: s.options(), DisableInstanceDiscovery: true, ClientID: app, TenantID: s.tenant, TokenFilePath: file,
	})
	must(t, err)
	return map[token.Proof]map[string]azcore.TokenCredential{
		token.ProofSecret:      {"secret": secret},
		token.ProofCertificate: {"certificate": cert, "assertion": assertion, "workload identity": workload},
	}
}

func TestGoLibraryGetsTokens(t *testing.T) {
	s := newSTS(t)
	for proof, credentials := range s.credentials(t) {
		for name, credential := range credentials {
			for _, resource := range []string{management, management + "/", "https://storage.azure.com"} {
				got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
				if err != nil {
					t.Fatalf("%s for %s: %v", name, resource, err)
				}
				s.checkToken(t, name, got.Token, strings.TrimSuffix(resource, "/"), proof)
				if left := time.Until(got.ExpiresOn); left < 50*time.Minute || left > time.Hour {
					t.Errorf("%s: valid for %s", name, left)
				}
			}
		}
	}
}

// checkToken checks that a token is accepted for its resource, and nowhere else.
func (s *sts) checkToken(t *testing.T, name, raw, resource string, proof token.Proof) {
	t.Helper()
	v, err := s.authority.Verify(t.Context(), raw, token.Expect{Audiences: []string{resource}})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if v.ObjectID != s.principal.ObjectID || v.AppID != s.principal.AppID || v.TenantID != s.tenant || v.Name != "witness" || v.Proof != proof {
		t.Errorf("%s: token of %+v", name, v)
	}
	if _, err := s.authority.Verify(t.Context(), raw, token.Expect{Audiences: []string{"https://graph.microsoft.com"}}); err == nil {
		t.Errorf("%s: the token is accepted for another resource", name)
	}
}

func TestGoLibraryTellsWhatIsWrong(t *testing.T) {
	s := newSTS(t)
	for _, tt := range []struct {
		name, tenant, app, secret, scope, code string
		status                                 int
	}{
		{"secret", s.tenant, s.principal.AppID, "wrong", management, "AADSTS7000215", 401},
		{"app", s.tenant, uuid.NewString(), s.secret, management, "AADSTS700016", 400},
		{"tenant", "common", s.principal.AppID, s.secret, "nonsense", "AADSTS500011", 400},
	} {
		c, err := azidentity.NewClientSecretCredential(tt.tenant, tt.app, tt.secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: s.options(), DisableInstanceDiscovery: true,
		})
		must(t, err)
		_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{tt.scope + "/.default"}})
		var failed *azidentity.AuthenticationFailedError
		if !errors.As(err, &failed) || failed.RawResponse.StatusCode != tt.status || !strings.Contains(err.Error(), tt.code+": ") {
			t.Errorf("wrong %s: %v", tt.name, err)
		}
	}
}

func TestJavaScriptLibraryGetsTokens(t *testing.T) {
	s := newSTS(t)
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	must(t, err)
	both := append(pemOf("PRIVATE KEY", key), pemOf("CERTIFICATE", s.cert.Raw)...)
	must(t, os.WriteFile(filepath.Join(dir, "both.pem"), both, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), pemOf("CERTIFICATE", s.Certificate().Raw), 0o600))
	out := node.Run(t, filepath.Join("node", "token.cjs"),
		"AUTHORITY="+s.URL, "TENANT="+s.tenant, "CLIENT="+s.principal.AppID, "SECRET="+s.secret,
		"CERTIFICATE="+filepath.Join(dir, "both.pem"), "ASSERTION="+s.issuer.token(t),
		"NODE_EXTRA_CA_CERTS="+filepath.Join(dir, "ca.pem"))
	type outcome struct{ Token, Error, Message string }
	var got map[string]outcome
	must(t, json.Unmarshal(out, &got))
	for name, want := range map[string]struct {
		resource string
		proof    token.Proof
	}{
		"secret":      {management, token.ProofSecret},
		"certificate": {management, token.ProofCertificate},
		"again":       {"https://storage.azure.com", token.ProofCertificate},
		"assertion":   {management, token.ProofCertificate},
	} {
		if got[name].Token == "" {
			t.Errorf("%s: %+v", name, got[name])
			continue
		}
		s.checkToken(t, name, got[name].Token, want.resource, want.proof)
	}
	if wrong := got["wrong"]; wrong.Error != "AuthenticationRequiredError" || !strings.HasPrefix(wrong.Message, "invalid_client: ") || !strings.Contains(wrong.Message, "AADSTS7000215") {
		t.Errorf("wrong secret: %+v", wrong)
	}
}
