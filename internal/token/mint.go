package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/problem"
)

// early is how long before it is issued a token is valid: for clocks that are
// behind.
const early = 5 * time.Minute

// payload is what a token says, in the cloud's order of members. Version 1 has
// appid and appidacr where version 2 has azp and azpacr.
type payload struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	Issued     int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AIO        string `json:"aio"` // opaque, as rh
	AppID      string `json:"appid,omitempty"`
	AppIDACR   Proof  `json:"appidacr,omitempty"`
	AZP        string `json:"azp,omitempty"`
	AZPACR     Proof  `json:"azpacr,omitempty"`
	IDP        string `json:"idp"`
	IDType     string `json:"idtyp"`
	ObjectID   string `json:"oid"`
	RH         string `json:"rh"`
	Subject    string `json:"sub"`
	TenantID   string `json:"tid"`
	ID         string `json:"uti"`
	Version    string `json:"ver"`
	ResourceID string `json:"xms_mirid,omitempty"`
	Epoch      int64  `json:"lk_epoch,omitempty"` // ours
	Method     Method `json:"lk_method,omitempty"`
}

// Mint makes a token that is valid for lifetime; 0 is [DefaultLifetime]. It
// returns problem.Invalid for claims that lack something or a lifetime over
// [MaxLifetime], and the store's errors.
func (a *Authority) Mint(ctx context.Context, c Claims, lifetime time.Duration) (Token, error) {
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	if err := c.check(lifetime); err != nil {
		return Token{}, err
	}
	set, err := a.current(ctx)
	if err != nil {
		return Token{}, err
	}
	key, now := set.signing(a.cfg.Clock.Now()), a.cfg.Clock.Now().UTC().Truncate(time.Second)
	body := a.payload(c, now, lifetime)
	raw, err := jwt.Signed(key.signer).Claims(body).Serialize()
	if err != nil {
		return Token{}, problem.Wrap(problem.Internal, "the token cannot be signed", err)
	}
	return Token{Raw: raw, ID: body.ID, KeyID: key.ID, Issued: now, Expires: now.Add(lifetime)}, nil
}

func (c Claims) check(lifetime time.Duration) error {
	switch {
	case c.Version < 0 || c.Version > 2:
		return problem.New(problem.Invalid, fmt.Sprintf("there is no token version %d", c.Version))
	case c.Audience == "" || c.ObjectID == "" || c.AppID == "" || c.Proof == "":
		return problem.New(problem.Invalid, "a token needs an audience, an object id, an app id and a proof")
	case lifetime < time.Second || lifetime > MaxLifetime:
		return problem.New(problem.Invalid, fmt.Sprintf("lifetime %s is not between 1s and %s", lifetime, MaxLifetime))
	}
	return nil
}

func (a *Authority) payload(c Claims, now time.Time, lifetime time.Duration) payload {
	p := payload{
		Audience: c.Audience, Issued: now.Unix(), NotBefore: now.Add(-early).Unix(), Expires: now.Add(lifetime).Unix(),
		AIO: opaque(24), IDP: a.issuers[1], IDType: "app", ObjectID: c.ObjectID, RH: "1." + opaque(24) + ".",
		Subject: c.ObjectID, TenantID: a.cfg.TenantID, ID: opaque(16), ResourceID: c.ResourceID, Epoch: c.Epoch, Method: c.Method,
	}
	if c.Version == 2 {
		p.Issuer, p.Version, p.AZP, p.AZPACR = a.issuers[2], "2.0", c.AppID, c.Proof
	} else {
		p.Issuer, p.Version, p.AppID, p.AppIDACR = a.issuers[1], "1.0", c.AppID, c.Proof
	}
	return p
}

func opaque(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // documented never to fail
	return base64.RawURLEncoding.EncodeToString(b)
}

// Resource gives the resource that a scope or audience names, without a trailing
// "/.default" and slashes, for comparison.
func Resource(audience string) string {
	return strings.TrimRight(strings.TrimSuffix(audience, "/.default"), "/")
}

// SameAudience says whether two audiences mean the same resource: trailing
// slashes, "/.default" and case do not count, as clients differ in them.
func SameAudience(a, b string) bool {
	return Resource(a) != "" && strings.EqualFold(Resource(a), Resource(b))
}
