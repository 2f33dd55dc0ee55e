package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/problem"
)

// signingKey is made once: it takes a while.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func certificateFor(t testing.TB, key *rsa.PrivateKey, serial int64, expires time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "orders"},
		NotBefore: start.Add(-time.Hour), NotAfter: expires,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// assert signs claims; headers are pairs of name and value.
func assert(t testing.TB, key *rsa.PrivateKey, alg jose.SignatureAlgorithm, claims map[string]any, headers ...string) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	for pair := range slices.Chunk(headers, 2) {
		options = options.WithHeader(jose.HeaderKey(pair[0]), pair[1])
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func encoded(t *testing.T, enc *base64.Encoding, thumbprint string) string {
	t.Helper()
	sum, err := hex.DecodeString(thumbprint)
	must(t, err)
	return enc.EncodeToString(sum)
}

const us = "https://sts.test/token"

func isUs(audience string) bool { return audience == us }

func TestCertificateAssertions(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	key := signingKey()
	c, err := f.AddCertificate(t.Context(), p.ObjectID, "", certificateFor(t, key, 1, start.Add(48*time.Hour)))
	must(t, err)
	sha1, sha256 := encoded(t, base64.RawURLEncoding, c.SHA1), encoded(t, base64.RawURLEncoding, c.SHA256)
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	for name, tt := range map[string]struct {
		alg     jose.SignatureAlgorithm
		change  map[string]any
		headers []string
		want    Reason
	}{
		"PS256 with x5t#S256":   {jose.PS256, nil, []string{"x5t#S256", sha256}, 0},
		"RS256 with x5t":        {jose.RS256, nil, []string{"x5t", sha1}, 0},
		"both thumbprints":      {jose.RS256, nil, []string{"x5t", sha1, "x5t#S256", sha256}, 0},
		"padded, plain base64":  {jose.PS256, nil, []string{"x5t#S256", encoded(t, base64.StdEncoding, c.SHA256)}, 0},
		"client id in capitals": {jose.RS256, map[string]any{"iss": strings.ToUpper(p.AppID)}, []string{"x5t", sha1}, 0},
		"several audiences":     {jose.RS256, map[string]any{"aud": []string{"x", us}}, []string{"x5t", sha1}, 0},
		"expired within skew":   {jose.RS256, map[string]any{"exp": at(-Skew + time.Second)}, []string{"x5t", sha1}, 0},
		"no thumbprint":         {jose.PS256, nil, nil, UnknownCertificate},
		"another thumbprint":    {jose.PS256, nil, []string{"x5t#S256", strings.Repeat("A", 43)}, UnknownCertificate},
		"one of two is another": {jose.PS256, nil, []string{"x5t", sha1, "x5t#S256", strings.Repeat("A", 43)}, UnknownCertificate},
		"short thumbprint":      {jose.PS256, nil, []string{"x5t#S256", sha1}, UnknownCertificate},
		"another issuer":        {jose.RS256, map[string]any{"iss": p.ObjectID}, []string{"x5t", sha1}, WrongIssuer},
		"another subject":       {jose.RS256, map[string]any{"sub": ""}, []string{"x5t", sha1}, WrongIssuer},
		"another audience":      {jose.RS256, map[string]any{"aud": us + "/"}, []string{"x5t", sha1}, WrongAudience},
		"no audience":           {jose.RS256, map[string]any{"aud": nil}, []string{"x5t", sha1}, WrongAudience},
		"no jti":                {jose.RS256, map[string]any{"jti": nil}, []string{"x5t", sha1}, MalformedAssertion},
		"no exp":                {jose.RS256, map[string]any{"exp": nil}, []string{"x5t", sha1}, MalformedAssertion},
		"expired":               {jose.RS256, map[string]any{"exp": at(-Skew)}, []string{"x5t", sha1}, AssertionExpired},
		"not yet":               {jose.RS256, map[string]any{"nbf": at(Skew + time.Second)}, []string{"x5t", sha1}, AssertionExpired},
		"for too long":          {jose.RS256, map[string]any{"exp": at(25 * time.Hour)}, []string{"x5t", sha1}, AssertionTooLong},
	} {
		claims := map[string]any{"iss": p.AppID, "sub": p.AppID, "aud": us, "jti": "1", "exp": at(10 * time.Minute), "nbf": at(0)}
		for k, v := range tt.change {
			claims[k] = v
			if v == nil {
				delete(claims, k)
			}
		}
		a, err := ParseAssertion(assert(t, key, tt.alg, claims, tt.headers...))
		must(t, err)
		who, used, err := f.VerifyCertificate(t.Context(), p.AppID, a, isUs)
		if reasonOf(err) != tt.want || tt.want == 0 && (err != nil || who.ObjectID != p.ObjectID || used.ID != c.ID) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificatesThatDoNotCount(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	c, err := f.AddCertificate(t.Context(), p.ObjectID, "", certificateFor(t, signingKey(), 1, start.Add(time.Hour)))
	must(t, err)
	claims := map[string]any{"iss": p.AppID, "sub": p.AppID, "aud": us, "jti": "1", "exp": start.Add(30 * time.Minute).Unix()}
	check := func(name string, key *rsa.PrivateKey, app string, want Reason) {
		t.Helper()
		claims["exp"] = f.clock.Now().Add(time.Minute).Unix()
		a, err := ParseAssertion(assert(t, key, jose.RS256, claims, "x5t", encoded(t, base64.RawURLEncoding, c.SHA1)))
		must(t, err)
		if _, _, err := f.VerifyCertificate(t.Context(), app, a, isUs); reasonOf(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("another's key", other, p.AppID, WrongSignature)
	check("unknown app", signingKey(), p.ObjectID, UnknownApp)
	f.clock.Advance(time.Hour)
	check("expired certificate", signingKey(), p.AppID, CertificateExpired)
	_, err = f.SetDisabled(t.Context(), p.ObjectID, true)
	must(t, err)
	check("disabled", signingKey(), p.AppID, Disabled)
	check("disabled, another's key", other, p.AppID, WrongSignature)
	must(t, f.RemoveCertificate(t.Context(), p.ObjectID, strings.ToLower(c.SHA1)))
	check("removed", signingKey(), p.AppID, UnknownCertificate)
	if err := f.RemoveCertificate(t.Context(), p.ObjectID, c.ID); !errors.Is(err, problem.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	good := certificateFor(t, signingKey(), 1, start.Add(time.Hour))
	key, err := x509.MarshalPKCS8PrivateKey(signingKey())
	must(t, err)
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), good...)
	c, err := f.AddCertificate(t.Context(), p.ObjectID, "", both)
	must(t, err)
	if c.Name != "CN=orders" || c.Subject != "CN=orders" || len(c.SHA1) != 40 || len(c.SHA256) != 64 || !c.Expires.Equal(start.Add(time.Hour)) {
		t.Errorf("got %+v", c)
	}
	for name, tt := range map[string]struct {
		text []byte
		want error
	}{
		"again":       {good, problem.Exists},
		"nothing":     {nil, problem.Invalid},
		"key only":    {both[:len(both)-len(good)], problem.Invalid},
		"no DER":      {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), problem.Invalid},
		"expired":     {certificateFor(t, signingKey(), 2, start), problem.Invalid},
		"small key":   {certificateFor(t, small, 3, start.Add(time.Hour)), problem.Invalid},
		"large input": {append(slices.Repeat([]byte("\n"), maxCertificate), good...), problem.TooLarge},
	} {
		if _, err := f.AddCertificate(t.Context(), p.ObjectID, "", tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// believing is an issuer's keys as the test decides.
type believing struct {
	err   error
	asked []string
}

func (b *believing) Verify(_ context.Context, issuer, _ string) error {
	b.asked = append(b.asked, issuer)
	return b.err
}

func TestFederatedAssertions(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	const issuer, audience = "https://issuer.test/x", "api://AzureADTokenExchange"
	claims := func(issuer, subject, aud string, exp time.Duration) Assertion {
		a, err := ParseAssertion(assert(t, signingKey(), jose.RS256, map[string]any{"iss": issuer, "sub": subject, "aud": aud, "exp": start.Add(exp).Unix()}))
		must(t, err)
		return a
	}
	good := claims(issuer, "job", audience, time.Minute)
	if _, _, err := f.VerifyFederated(t.Context(), p.AppID, good, &believing{}); reasonOf(err) != NoFederated {
		t.Errorf("without credentials: %v", err)
	}
	for name, subject := range map[string]string{"first": "job", "second": "other"} {
		_, _, err := f.SetFederated(t.Context(), p.ObjectID, Federated{Name: name, Issuer: issuer, Subject: subject, Audiences: []string{audience}})
		must(t, err)
	}
	for name, tt := range map[string]struct {
		a     Assertion
		err   error
		want  Reason
		asked int
	}{
		"good":                {good, nil, 0, 1},
		"not signed":          {good, refuse(WrongSignature, ""), WrongSignature, 1},
		"another issuer":      {claims(issuer+"/", "job", audience, time.Minute), nil, NoFederatedIssuer, 0},
		"subject in capitals": {claims(issuer, "JOB", audience, time.Minute), nil, NoFederatedSubject, 0},
		"another audience":    {claims(issuer, "job", "x", time.Minute), nil, NoFederatedAudience, 0},
		"expired":             {claims(issuer, "job", audience, -Skew), nil, AssertionExpired, 0},
	} {
		issuers := &believing{err: tt.err}
		who, c, err := f.VerifyFederated(t.Context(), p.AppID, tt.a, issuers)
		if reasonOf(err) != tt.want || len(issuers.asked) != tt.asked || tt.want == 0 && (err != nil || c.Name != "first" || who.ObjectID != p.ObjectID) {
			t.Errorf("%s: %v, asked %q", name, err, issuers.asked)
		}
	}
	_, err := f.SetDisabled(t.Context(), p.ObjectID, true)
	must(t, err)
	if _, _, err := f.VerifyFederated(t.Context(), p.AppID, good, &believing{}); reasonOf(err) != Disabled {
		t.Errorf("disabled: %v", err)
	}
}

func TestFederatedCredentialsAreChecked(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ManagedIdentity)
	good := Federated{Name: "first", Issuer: "https://issuer.test", Subject: "s", Audiences: []string{"a"}}
	_, created, err := f.SetFederated(t.Context(), p.ObjectID, good)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	good.Name, good.Subject = "FIRST", "t"
	saved, created, err := f.SetFederated(t.Context(), p.ObjectID, good)
	if err != nil || created || saved.Name != "first" || saved.Subject != "t" {
		t.Errorf("replaced: %+v, %v, %v", saved, created, err)
	}
	for name, tt := range map[string]struct {
		change func(*Federated)
		want   error
	}{
		"same issuer and subject": {func(f *Federated) { f.Name = "second" }, problem.Exists},
		"name":                    {func(f *Federated) { f.Name = "a/b" }, problem.Invalid},
		"http":                    {func(f *Federated) { f.Issuer = "http://issuer.test" }, problem.Invalid},
		"query":                   {func(f *Federated) { f.Issuer += "?x" }, problem.Invalid},
		"user":                    {func(f *Federated) { f.Issuer = "https://u@issuer.test" }, problem.Invalid},
		"no host":                 {func(f *Federated) { f.Issuer = "https:///x" }, problem.Invalid},
		"no subject":              {func(f *Federated) { f.Subject = "" }, problem.Invalid},
		"no audience":             {func(f *Federated) { f.Audiences = nil }, problem.Invalid},
	} {
		c := good
		tt.change(&c)
		if _, _, err := f.SetFederated(t.Context(), p.ObjectID, c); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range MaxFederated - 1 {
		good.Name, good.Subject = "more"+string(rune('a'+i)), string(rune('a'+i))+"x"
		_, _, err := f.SetFederated(t.Context(), p.ObjectID, good)
		must(t, err)
	}
	good.Name, good.Subject = "toomany", "y"
	if _, _, err := f.SetFederated(t.Context(), p.ObjectID, good); !errors.Is(err, problem.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	must(t, f.RemoveFederated(t.Context(), p.ObjectID, "FIRST"))
	if err := f.RemoveFederated(t.Context(), p.ObjectID, "first"); !errors.Is(err, problem.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestAssertionsThatAreNone(t *testing.T) {
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"x"}`)) + "."
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, nil)
	must(t, err)
	symmetric, err := jwt.Signed(signer).Claims(map[string]any{"iss": "x"}).Serialize()
	must(t, err)
	for name, raw := range map[string]string{
		"empty": "", "text": "x", "dots": "..", "unsigned": unsigned, "symmetric": symmetric,
		"RS512": assert(t, signingKey(), jose.RS512, nil), "long": strings.Repeat("a", MaxAssertion+1),
		"wrong claims": assert(t, signingKey(), jose.RS256, map[string]any{"iss": 1}),
	} {
		if _, err := ParseAssertion(raw); reasonOf(err) != MalformedAssertion {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseAssertion(f *testing.F) {
	f.Add(assert(f, signingKey(), jose.RS256, map[string]any{"iss": "i", "sub": "s", "aud": []string{"a"}, "jti": "1", "exp": 1, "nbf": 2.5}, "x5t", "AAAA"))
	f.Add("e30.e30.")
	f.Add("")
	now := start
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := ParseAssertion(raw)
		if err != nil {
			if reasonOf(err) != MalformedAssertion {
				t.Fatalf("%v", err)
			}
			return
		}
		_ = a.checkTimes(now)
		_ = a.IsOwn("x")
		if a.Thumbprint() == "" {
			t.Error("no text for the thumbprint")
		}
	})
}
