package containerstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// TokenLife is how long a token is good for opening streams. A stream that is open
// goes on.
const TokenLife = 30 * time.Minute

// Tokens makes and checks the tokens that open streams of one app. All nodes have
// the same key. It is safe for concurrent use.
type Tokens struct {
	key   []byte
	clock clock.Clock
}

// NewTokens makes tokens with a key, from which one of its own is derived.
func NewTokens(key []byte, c clock.Clock) (*Tokens, error) {
	if len(key) < 32 {
		return nil, errors.New("containerstream: the key must have 32 bytes")
	}
	return &Tokens{sign(key, "streams of container apps"), c}, nil
}

// claims is what a token says.
type claims struct {
	App       string `json:"app"`
	UID       string `json:"uid"` // of this life of the app
	Principal string `json:"oid"`
	Expires   int64  `json:"exp"` // seconds since 1970
}

// Issue makes a token for an app, which is a secret, and says when it ends.
func (t *Tokens) Issue(a containerapp.App, principal string) (token string, expires time.Time, err error) {
	expires = t.clock.Now().Add(TokenLife).Truncate(time.Second)
	text, err := json.Marshal(claims{a.ID.String(), a.UID, principal, expires.Unix()})
	if err != nil {
		return "", expires, err
	}
	said := base64.RawURLEncoding.EncodeToString(text)
	return said + "." + base64.RawURLEncoding.EncodeToString(sign(t.key, said)), expires, nil
}

// check reads a token. It returns problem.Unauthenticated for one that is not ours
// or has ended.
func (t *Tokens) check(token string) (c claims, err error) {
	refused := problem.New(problem.Unauthenticated, "the token is not valid").WithNext("get one with POST …/getAuthtoken of the app")
	said, mac, _ := strings.Cut(token, ".")
	sum, err := base64.RawURLEncoding.Strict().DecodeString(mac)
	if err != nil || !hmac.Equal(sum, sign(t.key, said)) {
		return c, refused
	}
	text, err := base64.RawURLEncoding.DecodeString(said)
	if err != nil || json.Unmarshal(text, &c) != nil {
		return c, refused
	}
	if !t.clock.Now().Before(time.Unix(c.Expires, 0)) {
		return c, problem.New(problem.Unauthenticated, "the token has expired").WithNext("get a new one with POST …/getAuthtoken of the app")
	}
	return c, nil
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text)) // it cannot fail
	return mac.Sum(nil)
}
