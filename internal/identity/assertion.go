package identity

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Limits of assertions.
const (
	MaxAssertion = 16 << 10        // bytes
	Skew         = 5 * time.Minute // how far a client's clock may be off
	// MaxAssertionLife is how long an assertion may be valid from now.
	MaxAssertionLife = 24 * time.Hour
)

// Assertion is a JWT with which a client says who it is. What it says is not
// verified yet.
type Assertion struct {
	Issuer, Subject string
	Audiences       []string
	ID              string    // jti; "" for none
	Expires         time.Time // zero for none
	NotBefore       time.Time // zero for none

	raw          string
	token        *jwt.JSONWebToken
	sha1, sha256 []byte // thumbprints it names; nil for none
}

// ParseAssertion reads an assertion signed with RS256 or PS256. The error is a
// *[Refused].
func ParseAssertion(raw string) (Assertion, error) {
	if len(raw) > MaxAssertion {
		return Assertion{}, refuse(MalformedAssertion, fmt.Sprintf("it is over the limit of %d bytes", MaxAssertion))
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil || len(token.Headers) != 1 {
		return Assertion{}, refuse(MalformedAssertion, "it is not a JWT signed with RS256 or PS256")
	}
	var claims jwt.Claims
	if token.UnsafeClaimsWithoutVerification(&claims) != nil {
		return Assertion{}, refuse(MalformedAssertion, "its claims cannot be read")
	}
	a := Assertion{
		Issuer: claims.Issuer, Subject: claims.Subject, Audiences: claims.Audience, ID: claims.ID,
		raw: raw, token: token,
		sha1:   thumbprint(token.Headers[0], "x5t", 20),
		sha256: thumbprint(token.Headers[0], "x5t#S256", 32),
	}
	if claims.Expiry != nil {
		a.Expires = claims.Expiry.Time()
	}
	if claims.NotBefore != nil {
		a.NotBefore = claims.NotBefore.Time()
	}
	return a, nil
}

// IsOwn says whether the client made the assertion itself, so that a certificate
// must have signed it. Others are for [Directory.VerifyFederated].
func (a Assertion) IsOwn(appID string) bool {
	return strings.EqualFold(a.Issuer, appID) || !strings.HasPrefix(a.Issuer, "https://")
}

// Thumbprint gives the certificate the assertion names, in hex, for people.
func (a Assertion) Thumbprint() string {
	switch {
	case a.sha256 != nil:
		return strings.ToUpper(hex.EncodeToString(a.sha256))
	case a.sha1 != nil:
		return strings.ToUpper(hex.EncodeToString(a.sha1))
	}
	return "(none)"
}

// thumbprint reads a header; nil for none of the right size. Client libraries
// write it in either alphabet of base64, with or without padding.
func thumbprint(h jose.Header, name jose.HeaderKey, size int) []byte {
	text, _ := h.ExtraHeaders[name].(string)
	sum, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text))
	if err != nil || len(sum) != size {
		return nil
	}
	return sum
}

// names says whether the assertion names a certificate, and no other beside it.
func (a Assertion) names(c Certificate) bool {
	old, new := matches(a.sha1, c.SHA1), matches(a.sha256, c.SHA256)
	return (a.sha1 != nil || a.sha256 != nil) && (a.sha1 == nil || old) && (a.sha256 == nil || new)
}

func matches(sum []byte, text string) bool {
	want, err := hex.DecodeString(text)
	return err == nil && subtle.ConstantTimeCompare(sum, want) == 1
}

func (a Assertion) signedBy(key any) bool {
	return a.token != nil && a.token.Claims(key) == nil
}

func (a Assertion) checkTimes(now time.Time) error {
	switch {
	case a.Expires.IsZero():
		return refuse(MalformedAssertion, "there is no exp")
	case !now.Before(a.Expires.Add(Skew)):
		return refuse(AssertionExpired, "it expired at "+a.Expires.UTC().Format(time.RFC3339))
	case now.Add(Skew).Before(a.NotBefore):
		return refuse(AssertionExpired, "it is valid from "+a.NotBefore.UTC().Format(time.RFC3339))
	case a.Expires.After(now.Add(MaxAssertionLife + Skew)):
		return refuse(AssertionTooLong, fmt.Sprintf("at most %s", MaxAssertionLife))
	}
	return nil
}
