package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/problem"
)

type digest = [sha256.Size]byte

// remembered is a token whose signature and issuer were right.
type remembered struct {
	key  string // id of the key that signed it
	body payload
}

// Verify gives what a token says if it counts: signed by a key in use, ours, for
// an expected audience, now, and of a principal that Config.Active accepts. Else
// the error is a *[Refused], or that of the store or of Config.Active. Checking a
// signature again is saved by remembering tokens; time, audience, the key's being
// in use and the principal are checked every time.
func (a *Authority) Verify(ctx context.Context, raw string, expect Expect) (Verified, error) {
	if len(raw) > MaxToken || raw == "" {
		return Verified{}, refuse(Malformed, "it is empty or too long")
	}
	set, err := a.current(ctx)
	if err != nil {
		return Verified{}, err
	}
	body, err := a.open(set, raw)
	if err != nil {
		return Verified{}, err
	}
	if err := a.checkNow(body, expect); err != nil {
		return Verified{}, err
	}
	name, err := a.cfg.Active(ctx, body.ObjectID, body.Epoch)
	if errors.Is(err, problem.Unauthenticated) {
		return Verified{}, &Refused{Revoked, "its principal is disabled, was deleted, or had its tokens expired", err}
	}
	return body.verified(name), err
}

// open gives the body of a token with a right signature.
func (a *Authority) open(set *keySet, raw string) (payload, error) {
	now, sum := a.cfg.Clock.Now(), digestOf(raw)
	if known, ok := a.verified.Get(sum); ok {
		if set.byID(known.key, now) != nil {
			return known.body, nil
		}
		a.verified.Remove(sum)
	}
	id, body, err := a.check(set, raw, now)
	if err == nil && now.Before(time.Unix(body.Expires, 0)) {
		a.verified.Add(sum, &remembered{id, body})
	}
	return body, err
}

// digestOf gives the digest of a token. Most fit into the room that costs no
// allocation.
func digestOf(raw string) digest {
	var room [2 << 10]byte
	return sha256.Sum256(append(room[:0], raw...))
}

func (a *Authority) check(set *keySet, raw string, now time.Time) (id string, body payload, err error) {
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(parsed.Headers) != 1 || parsed.Headers[0].KeyID == "" {
		return "", body, refuse(Malformed, "it is not a JWT signed with RS256 or ES256 that names its key")
	}
	key := set.byID(parsed.Headers[0].KeyID, now)
	if key == nil {
		return "", body, refuse(BadSignature, "it was signed with a key that is not in use here")
	}
	// A key is good for one algorithm only, whatever the token says.
	if parsed.Headers[0].Algorithm != string(key.algorithm) || parsed.Claims(key.private.Public()) != nil {
		return "", body, refuse(BadSignature, "its signature is wrong")
	}
	if parsed.UnsafeClaimsWithoutVerification(&body) != nil || body.ObjectID == "" {
		return "", body, refuse(Malformed, "its claims cannot be read")
	}
	if !slices.Contains(a.issuers[1:], body.Issuer) || body.TenantID != a.cfg.TenantID {
		return "", body, refuse(WrongIssuer, "its issuer or tenant is another one")
	}
	return key.ID, body, nil
}

// Signs says whether tokens that a key has signed still count: it was not revoked
// and has not retired. Whoever keeps tokens to hand them out again asks it with
// [Token.KeyID] first. It is false too when the keys cannot be read just now;
// [Authority.Mint] then says why. While [Authority.Run] runs it asks only memory.
func (a *Authority) Signs(ctx context.Context, keyID string) bool {
	set, err := a.current(ctx)
	return err == nil && set.byID(keyID, a.cfg.Clock.Now()) != nil
}

func (a *Authority) checkNow(body payload, expect Expect) error {
	now, expires, from := a.cfg.Clock.Now(), time.Unix(body.Expires, 0), time.Unix(body.NotBefore, 0)
	switch {
	case !now.Before(expires.Add(a.cfg.Skew)):
		return refuse(Expired, "it expired at "+expires.UTC().Format(time.RFC3339))
	case now.Add(a.cfg.Skew).Before(from):
		return refuse(NotYet, "it is valid from "+from.UTC().Format(time.RFC3339))
	case !slices.ContainsFunc(expect.Audiences, func(want string) bool { return SameAudience(want, body.Audience) }):
		return refuse(WrongAudience, fmt.Sprintf("it is for %q", body.Audience))
	}
	return nil
}

func (p payload) verified(name string) Verified {
	v := Verified{
		ObjectID: p.ObjectID, AppID: p.AppID, TenantID: p.TenantID, Name: name, Audience: p.Audience,
		Proof: p.AppIDACR, Method: p.Method, ResourceID: p.ResourceID, ID: p.ID,
		Issued: time.Unix(p.Issued, 0).UTC(), Expires: time.Unix(p.Expires, 0).UTC(),
	}
	if p.AZP != "" {
		v.AppID, v.Proof = p.AZP, p.AZPACR
	}
	return v
}
