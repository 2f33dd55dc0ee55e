package access

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	siteTokenHeader = "X-Ms-Site-Token"
	platformIssuer  = "https://appservice.core.azurewebsites.net"

	maxToken     = 8 << 10         // bytes
	minTokenKey  = 16              // bytes; shorter keys could be guessed from a token
	tokenSkew    = time.Minute     // clocks differ
	authScheme   = "Bearer "       // compared ignoring case
	authzHeader  = "Authorization" // in canonical form
	domainSuffix = ".azurewebsites.net"
)

// SiteToken is what a valid site token says about its bearer: who may manage the
// app like the holder of the master key. The zero value is no token.
type SiteToken struct {
	Valid  bool
	Invoke bool // may invoke functions, too; the platform itself only manages
}

// Tokens recognises site tokens: JWTs that the platform signs with the app's
// encryption key (HS256 and nothing else). A nil Tokens recognises none. It is
// safe for concurrent use.
type Tokens struct {
	keys      [][]byte
	issuers   map[string]bool // whether the issuer's tokens may invoke functions
	audiences map[string]bool // lower case
	clock     clock.Clock
}

// NewTokens makes the recogniser of an app. Secrets are the texts of encryption
// keys, each of which may sign as text or as the bytes it stands for; sites are
// the names the platform knows the app by. Empty ones are skipped; without any
// secret or site the answer is nil, as no token could be checked.
func NewTokens(secrets, sites []string, c clock.Clock) *Tokens {
	t := &Tokens{issuers: map[string]bool{platformIssuer: false}, audiences: map[string]bool{}, clock: c}
	for _, s := range secrets {
		t.addKeys(s)
	}
	for _, site := range sites {
		if site = strings.ToLower(site); site != "" {
			home := "https://" + site + domainSuffix
			t.issuers[home] = true
			t.issuers["https://"+site+".scm"+domainSuffix] = true
			t.audiences[home], t.audiences[home+"/azurefunctions"] = true, true
		}
	}
	if len(t.keys) == 0 || len(t.audiences) == 0 {
		return nil
	}
	return t
}

// addKeys adds the forms in which a secret may be used as a key: 64 hexadecimal
// digits or base64 decoded, and the text itself.
func (t *Tokens) addKeys(secret string) {
	if raw, err := hex.DecodeString(secret); err == nil && len(raw) >= minTokenKey {
		t.keys = append(t.keys, raw)
	} else if raw, err := base64.StdEncoding.DecodeString(secret); err == nil && len(raw) >= minTokenKey {
		t.keys = append(t.keys, raw)
	}
	if len(secret) >= minTokenKey {
		t.keys = append(t.keys, []byte(secret))
	}
}

// Of gives the site token a request carries. Header x-ms-site-token goes before
// Authorization, even when its token is not valid.
func (t *Tokens) Of(r *http.Request) SiteToken {
	if t == nil {
		return SiteToken{}
	}
	text := presentedToken(r.Header)
	if text == "" {
		return SiteToken{}
	}
	return t.check(text)
}

// presentedToken finds the token in a header.
func presentedToken(h http.Header) (text string) {
	if values := h[siteTokenHeader]; len(values) > 0 {
		return values[0]
	}
	if values := h[authzHeader]; len(values) > 0 {
		text, _ = bearer(values[0])
	}
	return text
}

// bearer gives the token of an Authorization value.
func bearer(value string) (token string, ok bool) {
	if len(value) <= len(authScheme) || !strings.EqualFold(value[:len(authScheme)], authScheme) {
		return "", false
	}
	return strings.TrimSpace(value[len(authScheme):]), true
}

var tokenAlgorithms = []jose.SignatureAlgorithm{jose.HS256}

// check decides about a token. It costs one HMAC per key, and for tokens of
// other kinds not even that.
func (t *Tokens) check(text string) SiteToken {
	if len(text) > maxToken || strings.Count(text, ".") != 2 {
		return SiteToken{}
	}
	token, err := jwt.ParseSigned(text, tokenAlgorithms)
	if err != nil {
		return SiteToken{}
	}
	for _, key := range t.keys {
		var c jwt.Claims
		if token.Claims(key, &c) == nil {
			return t.judge(c)
		}
	}
	return SiteToken{}
}

// judge decides about the claims of a token with a good signature.
func (t *Tokens) judge(c jwt.Claims) SiteToken {
	invoke, known := t.issuers[strings.ToLower(c.Issuer)]
	if !known || !t.addressed(c.Audience) || c.Expiry == nil {
		return SiteToken{}
	}
	if c.ValidateWithLeeway(jwt.Expected{Time: t.clock.Now()}, tokenSkew) != nil {
		return SiteToken{}
	}
	return SiteToken{Valid: true, Invoke: invoke}
}

func (t *Tokens) addressed(audience jwt.Audience) bool {
	for _, a := range audience {
		if t.audiences[strings.ToLower(a)] {
			return true
		}
	}
	return false
}

// DropToken takes site tokens out of a request, so that a function cannot use its
// caller's right to manage the app. A caller may send one in both fields, of which
// only the first was looked at; what cannot be one, say the app's own token or
// another kind of credential, stays.
func DropToken(r *http.Request) {
	delete(r.Header, siteTokenHeader)
	r.Header[authzHeader] = slices.DeleteFunc(r.Header[authzHeader], mayBeSiteToken)
	if len(r.Header[authzHeader]) == 0 {
		delete(r.Header, authzHeader)
	}
}

// mayBeSiteToken reports whether a value of field Authorization has the form of a
// site token: a JWT signed with HS256.
func mayBeSiteToken(value string) bool {
	text, ok := bearer(value)
	if !ok {
		return false
	}
	_, err := jwt.ParseSigned(text, tokenAlgorithms)
	return err == nil
}

// Sign makes a site token with which its bearer manages an app, but does not
// invoke its functions, as the platform's own do. It returns an error for a secret
// that is too short to sign with.
func Sign(secret, site string, c clock.Clock, life time.Duration) (string, error) {
	t := &Tokens{}
	t.addKeys(secret)
	if len(t.keys) == 0 {
		return "", problem.New(problem.Invalid, "the key of site tokens is too short")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: t.keys[0]}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := c.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: platformIssuer, Audience: jwt.Audience{"https://" + strings.ToLower(site) + domainSuffix + "/azurefunctions"},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
	}).Serialize()
}
