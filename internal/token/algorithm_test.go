package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

func with(algorithm Algorithm) func(*Config) { return func(c *Config) { c.Algorithm = algorithm } }

// algorithms gives those of the published keys, as their kty says.
func algorithms(t *testing.T, a *Authority) (list []string) {
	t.Helper()
	keys, err := a.JWKS(t.Context())
	must(t, err)
	for _, k := range keys {
		list = append(list, k.KeyType)
	}
	return list
}

// switched is an authority that follows keys of which one is an RSA key that has
// signed and one an EC key that signs from a lead time on.
func switched(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	must(t, f.Ready(t.Context()))
	f.Authority = f.node(t, with(ES256))
	run(t, f.Authority)
	eventually(t, "a key of the other algorithm is published", func() bool { return len(kids(t, f.Authority)) == 2 })
	return f
}

func TestNewInstallationsSignWithTheConfiguredAlgorithm(t *testing.T) {
	for algorithm, want := range map[Algorithm]string{"": "RS256", RS256: "RS256", ES256: "ES256"} {
		f := newFixture(t, with(algorithm))
		tok, err := f.Mint(t.Context(), claims, 0)
		must(t, err)
		if header := part(t, tok.Raw, 0); header["alg"] != want || header["kid"] != tok.KeyID || header["x5t"] != tok.KeyID {
			t.Errorf("%q: header %v, key id %q", algorithm, header, tok.KeyID)
		}
		for range 2 { // the second time it is remembered
			if _, err := f.Verify(t.Context(), tok.Raw, forARM); err != nil {
				t.Errorf("%q: %v", algorithm, err)
			}
		}
	}
	f := newFixture(t)
	for _, bad := range []Algorithm{"none", "HS256", "es256", "PS256"} {
		cfg := f.cfg
		cfg.Algorithm = bad
		if _, err := New(cfg); !errors.Is(err, problem.Invalid) || problem.NextOf(err) == "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPublishedECKeysVerifyTokens(t *testing.T) {
	f := newFixture(t, with(ES256))
	raw := mint(t, f.Authority)
	published, err := f.JWKS(t.Context())
	must(t, err)
	text, err := json.Marshal(map[string]any{"keys": published})
	must(t, err)
	var set jose.JSONWebKeySet // a stranger's implementation
	must(t, json.Unmarshal(text, &set))
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	must(t, err)
	if err := parsed.Claims(set); err != nil {
		t.Errorf("%v with %s", err, text)
	}
	var members map[string]any
	one, err := json.Marshal(published[0])
	must(t, err)
	must(t, json.Unmarshal(one, &members))
	for name, want := range map[string]any{"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": published[0].X5T, "n": nil, "e": nil} {
		if members[name] != want {
			t.Errorf("%s is %v, want %v", name, members[name], want)
		}
	}
	if len(published[0].X) != 43 || len(published[0].Y) != 43 || len(set.Keys[0].Certificates) != 1 {
		t.Errorf("published %s", text)
	}
}

func TestAnotherAlgorithmTakesOverInTheOrdinaryWay(t *testing.T) {
	f := switched(t)
	ids := kids(t, f.Authority)
	if diff := cmp.Diff([]string{"RSA", "EC"}, algorithms(t, f.Authority)); diff != "" {
		t.Fatal(diff)
	}
	f.clock.Advance(DefaultLead - time.Second)
	last, err := f.Mint(t.Context(), claims, MaxLifetime)
	must(t, err)
	if last.KeyID != ids[0] {
		t.Error("the new key signs before its time")
	}
	f.clock.Advance(time.Second)
	first, err := f.Mint(t.Context(), claims, MaxLifetime)
	must(t, err)
	if first.KeyID != ids[1] {
		t.Error("the new key does not sign")
	}
	rs := f.node(t) // a node of the earlier setting that runs still
	for _, a := range []*Authority{f.Authority, rs} {
		for _, tok := range []Token{last, first} {
			if _, err := a.Verify(t.Context(), tok.Raw, forARM); err != nil || !a.Signs(t.Context(), tok.KeyID) {
				t.Errorf("a token of key %s: %v", tok.KeyID, err)
			}
		}
	}
	f.clock.Advance(MaxLifetime + 2*DefaultSkew)
	if f.Signs(t.Context(), ids[0]) || !f.Signs(t.Context(), ids[1]) {
		t.Error("the keys in use in the end are others")
	}
	eventually(t, "the old key is cleared away", func() bool {
		f.clock.Advance(tendEvery)
		doc, err := f.store.Get(t.Context(), keysKey)
		must(t, err)
		set, err := decodeKeys(doc)
		must(t, err)
		return len(set.keys) == 1 && set.keys[0].ID == ids[1]
	})
}

func TestNodesOfDifferentAlgorithmsDoNotReplaceEachOthersKeysAllTheTime(t *testing.T) {
	f := switched(t)
	rs := f.node(t)
	for range 3 {
		must(t, rs.tendOnce(t.Context()))
		must(t, f.tendOnce(t.Context()))
	}
	if diff := cmp.Diff([]string{"RSA", "EC"}, algorithms(t, rs)); diff != "" {
		t.Error(diff)
	}
	f.clock.Advance(DefaultLead)
	must(t, rs.tendOnce(t.Context()))
	if diff := cmp.Diff([]string{"RSA", "EC", "RSA"}, algorithms(t, rs)); diff != "" {
		t.Error(diff)
	}
}

func TestRevokingMakesAKeyOfTheConfiguredAlgorithmAtOnce(t *testing.T) {
	f := switched(t)
	tok, err := f.Mint(t.Context(), claims, 0)
	must(t, err)
	if !f.Signs(t.Context(), tok.KeyID) || f.Signs(t.Context(), "") || f.Signs(t.Context(), "x") {
		t.Error("the keys in use are others")
	}
	must(t, f.Revoke(t.Context()))
	if diff := cmp.Diff([]string{"EC"}, algorithms(t, f.Authority)); diff != "" {
		t.Error(diff)
	}
	if f.Signs(t.Context(), tok.KeyID) {
		t.Error("a revoked key still counts")
	}
	if now, err := f.Mint(t.Context(), claims, 0); err != nil || !f.Signs(t.Context(), now.KeyID) {
		t.Errorf("after that: %v", err)
	}
}

func TestWithoutTheStoreNoKeyCounts(t *testing.T) {
	f := newFixture(t)
	tok, err := f.Mint(t.Context(), claims, 0)
	must(t, err)
	f.store.SetUnavailable(true)
	if f.Signs(t.Context(), tok.KeyID) {
		t.Error("it counts although nobody can tell")
	}
}

func TestKeysAreGoodForOneAlgorithmOnly(t *testing.T) {
	f := switched(t)
	f.clock.Advance(DefaultLead) // both keys verify
	set, err := f.current(t.Context())
	must(t, err)
	rs, es, body := set.keys[0], set.keys[1], f.payload(claims, f.clock.Now(), time.Hour)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	point, err := es.private.Public().(*ecdsa.PublicKey).Bytes()
	must(t, err)
	good := strings.Split(forge(t, jose.ES256, es.private, es.ID, body), ".")
	// relabelled is a rightly signed token whose header says another thing.
	relabelled := func(alg, kid string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"`+kid+`"}`)) + "." + good[1] + "." + good[2]
	}
	for name, tt := range map[string]struct {
		raw  string
		want Reason
	}{
		"RS256":                                  {forge(t, jose.RS256, rs.private, rs.ID, body), 0},
		"ES256":                                  {forge(t, jose.ES256, es.private, es.ID, body), 0},
		"ES256 that names the RSA key":           {forge(t, jose.ES256, es.private, rs.ID, body), BadSignature},
		"RS256 that names the EC key":            {forge(t, jose.RS256, rs.private, es.ID, body), BadSignature},
		"stranger's EC key that names ours":      {forge(t, jose.ES256, stranger, es.ID, body), BadSignature},
		"stranger's EC key that names the RSA":   {forge(t, jose.ES256, stranger, rs.ID, body), BadSignature},
		"another curve":                          {forge(t, jose.ES384, p384, es.ID, body), Malformed},
		"HMAC with the public point":             {forge(t, jose.HS256, point, es.ID, body), Malformed},
		"HMAC with the certificate":              {forge(t, jose.HS256, es.Certificate, es.ID, body), Malformed},
		"header says RS256 and the EC key":       {relabelled("RS256", es.ID), BadSignature},
		"header says RS256 and the RSA key":      {relabelled("RS256", rs.ID), BadSignature},
		"header says ES256 and the RSA key":      {relabelled("ES256", rs.ID), BadSignature},
		"header says none":                       {relabelled("none", es.ID), Malformed},
		"PS256 with the RSA key":                 {forge(t, jose.PS256, rs.private, rs.ID, body), Malformed},
		"signature in ASN.1 instead of two ints": {good[0] + "." + good[1] + "." + asn1Signature(t, es.private.(*ecdsa.PrivateKey), good[0]+"."+good[1]), BadSignature},
	} {
		if _, err := f.Verify(t.Context(), tt.raw, forARM); reasonOf(err) != tt.want || tt.want == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfTheEarlierFormAreRead(t *testing.T) {
	f := newFixture(t)
	raw := mint(t, f.Authority)
	doc, err := f.store.Get(t.Context(), keysKey)
	must(t, err)
	var members []map[string]any
	must(t, json.Unmarshal(doc.Value, &members))
	for name := range members[0] { // what was written before there was an algorithm to choose, and nothing else
		switch name {
		case "kid", "created", "signs", "private", "certificate":
		default:
			t.Errorf("a key for RS256 is stored with %s", name)
		}
	}
	if _, err := f.node(t, with(ES256)).Verify(t.Context(), raw, forARM); err != nil {
		t.Error(err)
	}
}

func TestStoredKeysOfOtherKindsAreDamage(t *testing.T) {
	f := newFixture(t)
	raw := mint(t, f.Authority)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	_, err = f.store.Write(t.Context(), state.Put(keysKey, stored(t, p384), state.Any))
	must(t, err)
	if _, err := f.Verify(t.Context(), raw, forARM); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("a key on P-384: %v", err)
	}
}

// stored gives the document with a private key.
func stored(t *testing.T, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	text, err := json.Marshal([]storedKey{{ID: "x", Created: start, Signs: start, Private: der}})
	must(t, err)
	return text
}

func asn1Signature(t *testing.T, private *ecdsa.PrivateKey, input string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	signature, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	must(t, err)
	return base64.RawURLEncoding.EncodeToString(signature)
}
