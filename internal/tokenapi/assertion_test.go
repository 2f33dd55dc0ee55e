package tokenapi

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/identity"
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// sign makes a JWT by hand, with RS256.
func sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	header["alg"] = "RS256"
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, signingKey(), crypto.SHA256, sum[:])
	must(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// certify registers a certificate and gives what makes assertions with it.
func (f *fixture) certify(t *testing.T) func(changes map[string]any) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orders"}, NotBefore: start, NotAfter: start.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signingKey().Public(), signingKey())
	must(t, err)
	c, err := f.directory.AddCertificate(t.Context(), f.principal.ObjectID, "", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	must(t, err)
	sum, err := hex.DecodeString(c.SHA256)
	must(t, err)
	return func(changes map[string]any) string {
		claims := map[string]any{
			"iss": app, "sub": app, "aud": "https://" + host + v2, "jti": rand.Text(), "exp": f.clock.Now().Add(10 * time.Minute).Unix(),
		}
		for k, v := range changes {
			claims[k] = v
		}
		return sign(t, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum)}, claims)
	}
}

func (f *fixture) withAssertion(raw string) url.Values {
	return f.form("client_secret", "-", "client_assertion", raw, "client_assertion_type", assertionType)
}

func TestAudiencesOfAssertions(t *testing.T) {
	f := newFixture(t)
	assertion := f.certify(t)
	for aud, want := range map[string]int{
		"https://" + host + v2:                             0,
		"https://" + host + v1:                             0,
		"https://" + host + "/common/oauth2/v2.0/token":    0,
		"https://LOCALHOST:7443/" + tenant + "/v2.0":       0,
		"https://" + host + "/" + tenant + "/":             0,
		"http://" + host + v2:                              700023,
		"https://login.microsoftonline.com" + v2:           700023,
		"https://" + host + "/" + nobody + "/oauth2/token": 700023,
		"https://" + host + "/" + tenant + "/oauth2/x":     700023,
		"https://" + host:                                  700023,
		"https://" + host + v2 + "?x":                      700023,
		"":                                                 700023,
	} {
		if got := code(t, f.post(v2, f.withAssertion(assertion(map[string]any{"aud": aud})))); got != want {
			t.Errorf("%q: AADSTS%d", aud, got)
		}
	}
}

func TestFaultsOfAssertions(t *testing.T) {
	f := newFixture(t)
	assertion := f.certify(t)
	good := assertion(nil)
	for name, tt := range map[string]struct {
		raw  string
		want int
	}{
		"good":              {good, 0},
		"another issuer":    {assertion(map[string]any{"iss": nobody}), 700021},
		"expired":           {assertion(map[string]any{"exp": start.Add(-time.Hour).Unix()}), 700024},
		"changed":           {good[:len(good)-8] + "AAAAAAAA", 700027},
		"not registered":    {sign(t, map[string]any{}, map[string]any{"iss": app}), 700027},
		"without jti":       {assertion(map[string]any{"jti": ""}), 50027},
		"federated, unused": {assertion(map[string]any{"iss": "https://issuer.test"}), 70021},
	} {
		if got := code(t, f.post(v2, f.withAssertion(tt.raw))); got != tt.want {
			t.Errorf("%s: AADSTS%d", name, got)
		}
	}
	if e := f.lastEvent(t); e.Method == "secret" || e.Method == "" {
		t.Errorf("event %+v", e)
	}
}

func from(source string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(source), 1).String() }
}

func TestAssertionsAreNotUsedByOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		strict bool
		again  int
	}{"by default": {false, 0}, "strictly": {true, 700024}} {
		f := newFixture(t, func(c *Config) { c.RefuseRepeats = tt.strict })
		assertion := f.certify(t)
		raw := assertion(map[string]any{"jti": "1"})
		another := assertion(map[string]any{"jti": "1", "nbf": 1})
		check := func(what, raw, source string, want int) {
			t.Helper()
			if got := code(t, f.post(v2, f.withAssertion(raw), from(source))); got != want {
				t.Errorf("%s, %s: AADSTS%d", name, what, got)
			}
		}
		check("first", raw, "10.0.0.1", 0)
		check("again", raw, "10.0.0.1", tt.again)
		check("from elsewhere", raw, "10.0.0.2", 700024)
		check("another with its jti", another, "10.0.0.1", 700024)
		f.clock.Advance(10*time.Minute + identity.Skew - time.Second)
		check("just before it expires", raw, "10.0.0.2", 700024)
		f.clock.Advance(time.Second)
		check("its jti, later", assertion(map[string]any{"jti": "1"}), "10.0.0.2", 0)
	}
}

func TestMemoryOfAssertionsIsBounded(t *testing.T) {
	f := newFixture(t)
	p := newReplays(f.clock, false)
	source := netip.MustParseAddr("10.0.0.1")
	take := func(app string, n int) error {
		return p.take(app, identity.Assertion{ID: fmt.Sprint(n), Expires: f.clock.Now().Add(time.Minute)}, "raw", source)
	}
	for n := range maxPerClient {
		must(t, take("a", n))
	}
	if take("a", maxPerClient) == nil {
		t.Error("one client fills the memory")
	}
	if take("a", 1) != nil || take("b", 1) != nil {
		t.Error("what is known, or another client, is refused")
	}
	f.clock.Advance(time.Minute + identity.Skew)
	must(t, take("a", maxPerClient))
	if len(p.seen) != 1 || len(p.clients) != 1 {
		t.Errorf("%d assertions of %d clients remain", len(p.seen), len(p.clients))
	}
}

// issuers say what the test wants.
type issuers struct{ err error }

func (i issuers) Verify(context.Context, string, string) error { return i.err }

func TestFederatedAssertions(t *testing.T) {
	const issuer, audience = "https://issuer.test", "api://AzureADTokenExchange"
	claims := func(iss, sub, aud string) string {
		return sign(t, map[string]any{}, map[string]any{"iss": iss, "sub": sub, "aud": aud, "exp": start.Add(time.Minute).Unix()})
	}
	good := claims(issuer, "job", audience)
	for name, tt := range map[string]struct {
		raw  string
		says error
		want int
	}{
		"good":             {good, nil, 0},
		"issuer":           {claims(issuer+"/", "job", audience), nil, 700211},
		"audience":         {claims(issuer, "job", "x"), nil, 700212},
		"subject":          {claims(issuer, "Job", audience), nil, 700213},
		"signature":        {good, &identity.Refused{Reason: identity.WrongSignature}, 700027},
		"unreachable keys": {good, &identity.Refused{Reason: identity.IssuerUnavailable, Detail: "https://internal"}, 70021},
	} {
		f := newFixture(t, func(c *Config) { c.Issuers = issuers{tt.says} })
		_, _, err := f.directory.SetFederated(t.Context(), f.principal.ObjectID, identity.Federated{Name: "job", Issuer: issuer, Subject: "job", Audiences: []string{audience}})
		must(t, err)
		for range 2 { // workloads present the same token until it expires
			if got := code(t, f.post(v2, f.withAssertion(tt.raw))); got != tt.want {
				t.Errorf("%s: AADSTS%d", name, got)
			}
		}
		if e := f.lastEvent(t); e.Method != "federated" || e.Granted != (tt.want == 0) {
			t.Errorf("%s: event %+v", name, e)
		}
	}
	f := newFixture(t)
	_, _, err := f.directory.SetFederated(t.Context(), f.principal.ObjectID, identity.Federated{Name: "job", Issuer: issuer, Subject: "job", Audiences: []string{audience}})
	must(t, err)
	if got := code(t, f.post(v2, f.withAssertion(good))); got != 70021 {
		t.Errorf("no issuers are known: AADSTS%d", got)
	}
}
