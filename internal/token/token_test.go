package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	patience = 60 * time.Second
	tenant   = "11111111-1111-4111-8111-111111111111"
	object   = "22222222-2222-4222-8222-222222222222"
	app      = "33333333-3333-4333-8333-333333333333"
	arm      = "https://management.azure.com"
)

var (
	start  = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)
	claims = Claims{Audience: arm, ObjectID: object, AppID: app, Proof: ProofSecret}
	forARM = Expect{Audiences: []string{arm}}
)

// fixture is an authority on a store that tests can look into.
type fixture struct {
	*Authority
	store *memory.Store
	clock *clock.Manual
}

func newFixture(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	c := clock.NewManual(start)
	f := &fixture{store: memory.New(c), clock: c}
	f.Authority = f.node(t, change...)
	return f
}

// node gives one more authority on the same store.
func (f *fixture) node(t *testing.T, change ...func(*Config)) *Authority {
	t.Helper()
	cfg := Config{Store: f.store, Clock: f.clock, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), TenantID: tenant}
	for _, c := range change {
		c(&cfg)
	}
	a, err := New(cfg)
	must(t, err)
	return a
}

// run lets an authority follow until the test ends.
func run(t *testing.T, a *Authority) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the keys are followed", func() bool { return a.keys.Load() != nil })
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		if clock.Sleep(ctx, clock.Real{}, time.Millisecond) != nil {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mint(t *testing.T, a *Authority) string {
	t.Helper()
	tok, err := a.Mint(t.Context(), claims, time.Hour)
	must(t, err)
	return tok.Raw
}

func reasonOf(err error) Reason {
	var r *Refused
	if errors.As(err, &r) && errors.Is(err, problem.Unauthenticated) {
		return r.Reason
	}
	return 0
}

// part decodes a part of a JWT.
func part(t *testing.T, raw string, n int) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[n])
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(text, &m))
	return m
}

func TestShapesOfTokens(t *testing.T) {
	f := newFixture(t)
	sts := "https://sts.windows.net/" + tenant + "/"
	common := map[string]any{
		"aud": arm, "iat": float64(start.Unix()), "nbf": float64(start.Unix() - 300), "exp": float64(start.Unix() + 3600),
		"idp": sts, "idtyp": "app", "oid": object, "sub": object, "tid": tenant,
	}
	for version, own := range map[int]map[string]any{
		0: {"iss": sts, "ver": "1.0", "appid": app, "appidacr": "1"},
		1: {"iss": sts, "ver": "1.0", "appid": app, "appidacr": "2", "xms_mirid": "/subscriptions/x"},
		2: {"iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "ver": "2.0", "azp": app, "azpacr": "1"},
	} {
		c := claims
		c.Version = version
		if version == 1 {
			c.Proof, c.ResourceID = ProofCertificate, "/subscriptions/x"
		}
		tok, err := f.Mint(t.Context(), c, time.Hour)
		must(t, err)
		body := part(t, tok.Raw, 1)
		if body["uti"] != tok.ID {
			t.Errorf("version %d: uti %q, want %q", version, body["uti"], tok.ID)
		}
		for _, name := range []string{"aio", "rh", "uti"} { // opaque
			if text, _ := body[name].(string); len(text) < 20 {
				t.Errorf("version %d: %s is %v", version, name, body[name])
			}
			delete(body, name)
		}
		for k, v := range common {
			own[k] = v
		}
		if diff := cmp.Diff(own, body); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
		keys, err := f.JWKS(t.Context())
		must(t, err)
		if diff := cmp.Diff(map[string]any{"typ": "JWT", "alg": "RS256", "kid": keys[0].KeyID, "x5t": keys[0].X5T}, part(t, tok.Raw, 0)); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
	}
}

func TestMintedTokensVerify(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Active = func(_ context.Context, id string, _ int64) (string, error) { return "name of " + id, nil }
	})
	for _, version := range []int{1, 2} {
		c := claims
		c.Version = version
		tok, err := f.Mint(t.Context(), c, 0)
		must(t, err)
		want := Verified{
			ObjectID: object, AppID: app, TenantID: tenant, Name: "name of " + object, Audience: arm, Proof: ProofSecret,
			ID: tok.ID, Issued: start, Expires: start.Add(DefaultLifetime),
		}
		for range 2 { // the second time it is remembered
			got, err := f.Verify(t.Context(), tok.Raw, forARM)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
	}
	if f.verified.Len() != 2 {
		t.Errorf("%d tokens are remembered", f.verified.Len())
	}
}

func TestPublishedKeysVerifyTokens(t *testing.T) {
	f := newFixture(t)
	raw := mint(t, f.Authority)
	published, err := f.JWKS(t.Context())
	must(t, err)
	text, err := json.Marshal(map[string]any{"keys": published})
	must(t, err)
	var set jose.JSONWebKeySet // a stranger's implementation
	must(t, json.Unmarshal(text, &set))
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	must(t, err)
	if err := parsed.Claims(set); err != nil {
		t.Errorf("%v with %s", err, text)
	}
	if published[0].E != "AQAB" || published[0].KeyID != published[0].X5T || len(set.Keys[0].Certificates) != 1 {
		t.Errorf("published %s", text)
	}
}

// forge signs a body with a key of the test's choice.
func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, body any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	must(t, err)
	raw, err := jwt.Signed(signer).Claims(body).Serialize()
	must(t, err)
	return raw
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := newFixture(t)
	good := mint(t, f.Authority)
	set, err := f.current(t.Context())
	must(t, err)
	own, body := set.keys[0], f.payload(claims, start, time.Hour)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	with := func(change func(*payload)) payload {
		p := body
		change(&p)
		return p
	}
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+own.ID+`"}`)) + "." + parts[1] + "."
	for name, tt := range map[string]struct {
		raw  string
		want Reason
	}{
		"empty":                    {"", Malformed},
		"no JWT":                   {"eyJ", Malformed},
		"too long":                 {good + strings.Repeat("x", MaxToken), Malformed},
		"unsigned":                 {none, Malformed},
		"signature taken off":      {parts[0] + "." + parts[1] + ".", BadSignature},
		"body changed":             {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[2], BadSignature},
		"PS256 with our key":       {forge(t, jose.PS256, own.private, own.ID, body), Malformed},
		"RS512 with our key":       {forge(t, jose.RS512, own.private, own.ID, body), Malformed},
		"HMAC with our public key": {forge(t, jose.HS256, own.Certificate, own.ID, body), Malformed},
		"no kid":                   {forge(t, jose.RS256, own.private, "", body), Malformed},
		"stranger's key, own kid":  {forge(t, jose.RS256, stranger, "x", body), BadSignature},
		"stranger's key, our kid":  {forge(t, jose.RS256, stranger, own.ID, body), BadSignature},
		"another issuer":           {forge(t, jose.RS256, own.private, own.ID, with(func(p *payload) { p.Issuer = "https://x/" })), WrongIssuer},
		"no issuer":                {forge(t, jose.RS256, own.private, own.ID, with(func(p *payload) { p.Issuer = "" })), WrongIssuer},
		"another tenant":           {forge(t, jose.RS256, own.private, own.ID, with(func(p *payload) { p.TenantID = object })), WrongIssuer},
		"no object id":             {forge(t, jose.RS256, own.private, own.ID, with(func(p *payload) { p.ObjectID = "" })), Malformed},
		"no expiry":                {forge(t, jose.RS256, own.private, own.ID, with(func(p *payload) { p.Expires = 0 })), Expired},
		"claims of another shape":  {forge(t, jose.RS256, own.private, own.ID, map[string]any{"aud": []int{1}}), Malformed},
		"good":                     {forge(t, jose.RS256, own.private, own.ID, body), 0},
	} {
		if _, err := f.Verify(t.Context(), tt.raw, forARM); reasonOf(err) != tt.want || tt.want == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimesAndAudiencesAreChecked(t *testing.T) {
	f := newFixture(t)
	raw := mint(t, f.Authority)
	check := func(name string, expect Expect, want Reason) {
		t.Helper()
		if _, err := f.Verify(t.Context(), raw, expect); reasonOf(err) != want || err != nil && strings.Contains(err.Error(), raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, audience := range []string{arm, arm + "/", arm + "//", arm + "/.default", arm + "//.default", "HTTPS://Management.Azure.com"} {
		check(audience, Expect{Audiences: []string{"x", audience}}, 0)
	}
	for _, audience := range []string{"", "/", "/.default", arm + ".evil.test", "https://management.azure", arm + "/x"} {
		check(audience, Expect{Audiences: []string{audience}}, WrongAudience)
	}
	check("no audience", Expect{}, WrongAudience)
	f.clock.Advance(time.Hour + DefaultSkew - time.Second)
	check("within skew", forARM, 0)
	f.clock.Advance(time.Second)
	check("expired", forARM, Expired)
}

func TestTokensFromTheFutureAreRefused(t *testing.T) {
	f := newFixture(t)
	must(t, f.Ready(t.Context()))
	ahead := f.node(t, func(c *Config) { c.Clock = clock.NewManual(start.Add(DefaultSkew + early)) })
	raw := mint(t, ahead)
	if _, err := f.Verify(t.Context(), raw, forARM); err != nil {
		t.Errorf("within skew: %v", err)
	}
	ahead = f.node(t, func(c *Config) { c.Clock = clock.NewManual(start.Add(DefaultSkew + early + time.Second)) })
	if _, err := f.Verify(t.Context(), mint(t, ahead), forARM); reasonOf(err) != NotYet {
		t.Errorf("beyond skew: %v", err)
	}
}

func TestTokensOfDisabledPrincipalsAreRefusedAtOnce(t *testing.T) {
	var active error
	f := newFixture(t, func(c *Config) {
		c.Active = func(context.Context, string, int64) (string, error) { return "", active }
	})
	raw := mint(t, f.Authority)
	for _, tt := range []struct {
		active error
		want   Reason
	}{{nil, 0}, {problem.New(problem.Unauthenticated, "disabled"), Revoked}, {problem.Unavailable, 0}, {nil, 0}} {
		active = tt.active
		if _, err := f.Verify(t.Context(), raw, forARM); reasonOf(err) != tt.want || (err == nil) != (active == nil) || !errors.Is(err, active) {
			t.Errorf("%v: %v", active, err)
		}
	}
}

func TestClaimsAreChecked(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Claims) time.Duration{
		"version":  func(c *Claims) time.Duration { c.Version = 3; return 0 },
		"audience": func(c *Claims) time.Duration { c.Audience = ""; return 0 },
		"object":   func(c *Claims) time.Duration { c.ObjectID = ""; return 0 },
		"app":      func(c *Claims) time.Duration { c.AppID = ""; return 0 },
		"proof":    func(c *Claims) time.Duration { c.Proof = ""; return 0 },
		"past":     func(*Claims) time.Duration { return -1 },
		"for ever": func(*Claims) time.Duration { return MaxLifetime + 1 },
	} {
		c := claims
		lifetime := change(&c)
		if _, err := f.Mint(t.Context(), c, lifetime); !errors.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{}); !errors.Is(err, problem.Invalid) {
		t.Errorf("no config: %v", err)
	}
}

func TestDamagedKeysAreNotReplaced(t *testing.T) {
	for _, following := range []bool{false, true} {
		f := newFixture(t)
		raw := mint(t, f.Authority)
		if following {
			run(t, f.Authority)
		}
		for _, text := range []string{"{", "[null]", `[{"kid":"x"}]`} {
			rev, err := f.store.Write(t.Context(), state.Put(keysKey, []byte(text), state.Any))
			must(t, err)
			eventually(t, "the damage is reported", func() bool {
				_, err := f.Verify(t.Context(), raw, forARM)
				return errors.Is(err, problem.Undecryptable)
			})
			if err := f.Rotate(t.Context()); !errors.Is(err, problem.Undecryptable) {
				t.Errorf("rotating: %v", err)
			}
			if doc, err := f.store.Get(t.Context(), keysKey); err != nil || doc.Revision != rev {
				t.Errorf("the damaged document was written: %v", err)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	c := clock.NewManual(start)
	a, err := New(Config{Store: memory.New(c), Clock: c, Log: slog.New(slog.DiscardHandler), TenantID: tenant})
	if err != nil {
		f.Fatal(err)
	}
	tok, err := a.Mint(context.Background(), claims, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(cancel)
	go a.Run(ctx)
	f.Add(tok.Raw)
	f.Add("e30.e30.")
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := a.Verify(t.Context(), raw, forARM)
		if err == nil && (v.ObjectID != object || v.AppID != app) || err != nil && reasonOf(err) == 0 {
			t.Errorf("%+v, %v", v, err)
		}
	})
}
