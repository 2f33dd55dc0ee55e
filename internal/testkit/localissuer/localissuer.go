// Package localissuer is an OpenID Connect provider for tests: whoever is sent to it
// is signed in as Claims say, without being asked. It holds clients to PKCE and to
// codes that work once, and can be made to answer wrongly.
package localissuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client and Secret are those of the one client that it knows.
const (
	Client = "portal-client"
	Secret = "client secret of a test"
)

// asked is what a code was given for.
type asked struct{ challenge, nonce, redirect string }

// Issuer is a provider. Fields may be set while nobody signs in.
type Issuer struct {
	*httptest.Server
	Now    func() time.Time
	Claims map[string]any                  // of the ID token, besides those that there must be
	Alter  func(claims map[string]any)     // changes them, after all
	Sign   func(payload []byte) string     // makes the token in another way
	Query  func(answer url.Values)         // changes what the browser carries back
	Tokens func(answer map[string]any) int // changes what the client gets; gives its status

	key   *ecdsa.PrivateKey
	mu    sync.Mutex
	codes map[string]asked
}

// Start runs a provider until the test ends. Its client trusts it.
func Start(t testing.TB, now func() time.Time) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{Now: now, Claims: map[string]any{"sub": "robin", "name": "Robin Example"}, key: key, codes: map[string]asked{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.describe)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (i *Issuer) describe(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		// It would take what clients must not.
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
	})
}

func (i *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
}

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != Client || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("state") == "" {
		http.Error(w, "this is no request for a code with PKCE, state and nonce", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = asked{q.Get("code_challenge"), q.Get("nonce"), q.Get("redirect_uri")}
	i.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.URL}}
	if i.Query != nil {
		i.Query(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// take gives what a code was for, once.
func (i *Issuer) take(code string) (asked, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	a, ok := i.codes[code]
	delete(i.codes, code)
	return a, ok
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if basic {
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != Client || secret != Secret {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	a, ok := i.take(r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || a.redirect != r.FormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != a.challenge {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	body, status := map[string]any{"access_token": "not for the portal", "token_type": "Bearer", "id_token": i.idToken(a)}, http.StatusOK
	if i.Tokens != nil {
		status = i.Tokens(body)
	}
	answer(w, status, body)
}

func (i *Issuer) idToken(a asked) string {
	now := i.Now().Unix()
	claims := map[string]any{"iss": i.URL, "aud": Client, "iat": now, "exp": now + 300, "nonce": a.nonce}
	for name, value := range i.Claims {
		claims[name] = value
	}
	if i.Alter != nil {
		i.Alter(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return ""
	}
	if i.Sign != nil {
		return i.Sign(payload)
	}
	return i.signed(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "one"}}, payload)
}

// HMAC signs with the secret that client and provider share.
func (i *Issuer) HMAC(payload []byte) string {
	sum := sha256.Sum256([]byte(Secret)) // long enough a key
	return i.signed(jose.SigningKey{Algorithm: jose.HS256, Key: sum[:]}, payload)
}

// Unsigned signs with nothing.
func (i *Issuer) Unsigned(payload []byte) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + enc(payload) + "."
}

// Foreign signs with a key of the same name that is not published.
func (i *Issuer) Foreign(payload []byte) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ""
	}
	return i.signed(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, payload)
}

func (i *Issuer) signed(key jose.SigningKey, payload []byte) string {
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		return ""
	}
	object, err := signer.Sign(payload)
	if err != nil {
		return ""
	}
	text, _ := object.CompactSerialize()
	return text
}
