package federation

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
)

var (
	start    = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// keys are made once: it takes a while.
var keys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// issuer is another token issuer; tests change what it answers.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	id      string // "" is the URL
	jwksURI string // likewise, "/keys" below the URL
	set     []jose.JSONWebKey
	answer  http.HandlerFunc // instead of all
	asked   atomic.Int64     // for the discovery document
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{set: []jose.JSONWebKey{published("k0", 0)}}
	i.Server = httptest.NewTLSServer(i)
	i.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(i.Close)
	return i
}

func published(id string, n int) jose.JSONWebKey {
	return jose.JSONWebKey{Key: keys()[n].Public(), KeyID: id, Use: "sig"}
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// ServeHTTP answers as the test wants.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	discovery := strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration")
	if discovery {
		i.asked.Add(1)
	}
	switch {
	case i.answer != nil:
		i.answer(w, r)
	case discovery:
		id, uri := i.id, i.jwksURI
		if id == "" {
			id = i.URL
		}
		if uri == "" {
			uri = i.URL + "/keys"
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": id, "jwks_uri": uri})
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.set})
	}
}

func (i *issuer) follower(t *testing.T, c clock.Clock, allow []netip.Prefix) *Issuers {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(i.Certificate())
	return New(Config{Clock: c, Log: slog.New(slog.DiscardHandler), Roots: pool, Allow: allow})
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, kid string, n int) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: keys()[n]}, options)
	must(t, err)
	raw, err := jwt.Signed(signer).Claims(map[string]any{"iss": "x"}).Serialize()
	must(t, err)
	return raw
}

func reasonOf(err error) identity.Reason {
	var r *identity.Refused
	if errors.As(err, &r) {
		return r.Reason
	}
	return 0
}

func TestSignaturesOfIssuers(t *testing.T) {
	i, c := newIssuer(t), clock.NewManual(start)
	i.set = append(i.set, jose.JSONWebKey{Key: []byte("x"), KeyID: "odd"}, jose.JSONWebKey{Key: keys()[1].Public(), KeyID: "enc", Use: "enc"})
	s := i.follower(t, c, loopback)
	for name, tt := range map[string]struct {
		raw  string
		want identity.Reason
	}{
		"good":               {sign(t, jose.RS256, "k0", 0), 0},
		"no kid":             {sign(t, jose.RS256, "", 0), 0},
		"another's, our kid": {sign(t, jose.RS256, "k0", 1), identity.WrongSignature},
		"another's, no kid":  {sign(t, jose.RS256, "", 1), identity.WrongSignature},
		"unknown kid":        {sign(t, jose.RS256, "k9", 0), identity.WrongSignature},
		"key for encryption": {sign(t, jose.RS256, "enc", 1), identity.WrongSignature},
		"PS256":              {sign(t, jose.PS256, "k0", 0), identity.MalformedAssertion},
		"no JWT":             {"x", identity.MalformedAssertion},
	} {
		if err := s.Verify(t.Context(), i.URL, tt.raw); reasonOf(err) != tt.want || tt.want == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestKeysAreKeptAndFoundAnew(t *testing.T) {
	i, c := newIssuer(t), clock.NewManual(start)
	s := i.follower(t, c, loopback)
	check := func(name, kid string, n int, want identity.Reason, asked int64) {
		t.Helper()
		if err := s.Verify(t.Context(), i.URL, sign(t, jose.RS256, kid, n)); reasonOf(err) != want || i.asked.Load() != asked {
			t.Errorf("%s: %v, asked %d times", name, err, i.asked.Load())
		}
	}
	check("first", "k0", 0, 0, 1)
	i.change(func() { i.set = []jose.JSONWebKey{published("k1", 1)} })
	check("new key, just asked", "k1", 1, identity.WrongSignature, 1)
	c.Advance(askAgain)
	check("known key", "k0", 0, 0, 1)
	check("new key", "k1", 1, 0, 2)
	check("old key", "k0", 0, identity.WrongSignature, 2)
	c.Advance(keepFor - time.Second)
	check("kept", "k1", 1, 0, 2)
	i.change(func() { i.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) } })
	check("failing, kept", "k1", 1, 0, 2)
	check("failing, unknown", "k2", 0, identity.WrongSignature, 3)
	check("failing, kept still", "k1", 1, 0, 3)
	c.Advance(askAgain)
	check("failing, too old", "k1", 1, identity.IssuerUnavailable, 4)
	check("failed just now", "k1", 1, identity.IssuerUnavailable, 4)
	i.change(func() { i.answer = nil })
	c.Advance(askAgain)
	check("back", "k1", 1, 0, 5)
}

func TestBadIssuersGiveNoKeys(t *testing.T) {
	elsewhere := newIssuer(t)
	for name, set := range map[string]func(i *issuer){
		"another issuer":       func(i *issuer) { i.id = i.URL + "/" },
		"keys without TLS":     func(i *issuer) { i.jwksURI = strings.Replace(i.URL, "https", "http", 1) },
		"no keys' URL":         func(i *issuer) { i.jwksURI = "/keys" },
		"file":                 func(i *issuer) { i.jwksURI = "file:///etc/passwd" },
		"user in URL":          func(i *issuer) { i.jwksURI = strings.Replace(i.URL, "https://", "https://u@", 1) },
		"redirect elsewhere":   func(i *issuer) { i.answer = redirect(elsewhere.URL + "/.well-known/openid-configuration") },
		"redirect without TLS": func(i *issuer) { i.answer = redirect(strings.Replace(i.URL, "https", "http", 1)) },
		"redirects for ever":   func(i *issuer) { i.answer = redirect(i.URL + "/again") },
		"not JSON": func(i *issuer) {
			i.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }
		},
		"more than is taken in": func(i *issuer) { i.answer = flood },
	} {
		i := newIssuer(t)
		set(i)
		s := i.follower(t, clock.NewManual(start), loopback)
		if err := s.Verify(t.Context(), i.URL, sign(t, jose.RS256, "k0", 0)); reasonOf(err) != identity.IssuerUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("a redirect to another host was followed")
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

func flood(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("x", maxDocument) + `"}`))
}

func TestAddressesThatAreNotPublicAreNotReached(t *testing.T) {
	i := newIssuer(t)
	s := i.follower(t, clock.NewManual(start), nil)
	if err := s.Verify(t.Context(), i.URL, sign(t, jose.RS256, "k0", 0)); reasonOf(err) != identity.IssuerUnavailable || !strings.Contains(err.Error(), "not public") {
		t.Errorf("loopback: %v", err)
	}
	if i.asked.Load() != 0 {
		t.Error("it was reached")
	}
}

func TestWaitingEndsWithTheCaller(t *testing.T) {
	i := newIssuer(t)
	hold := make(chan struct{})
	i.answer = func(http.ResponseWriter, *http.Request) { <-hold }
	defer close(hold)
	s := i.follower(t, clock.NewManual(start), loopback)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Verify(ctx, i.URL, sign(t, jose.RS256, "k0", 0)) }()
	for i.asked.Load() == 0 {
		must(t, clock.Sleep(t.Context(), clock.Real{}, time.Millisecond))
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
