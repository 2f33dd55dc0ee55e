package access

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/worker"
)

// Claim types the functions host gives to callers with a key (keys §1.5).
const (
	claimLevel  = "http://schemas.microsoft.com/2017/07/functions/claims/authlevel"
	claimKeyID  = "http://schemas.microsoft.com/2017/07/functions/claims/keyid"
	claimInvoke = "http://schemas.microsoft.com/2017/07/functions/claims/invoke"

	claimName = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	claimRole = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
)

// maxPrincipal bounds the header of an authentication proxy, in bytes.
const maxPrincipal = 32 << 10

// Identities gives the caller as functions see it: the identity a trusted proxy
// vouches for, if any, ahead of those the key and the site token stand for.
func (g *Gate) Identities(r *http.Request, d keyring.Decision, t SiteToken) []worker.Identity {
	var ids []worker.Identity
	if id, ok := g.proxied(r); ok {
		ids = append(ids, id)
	}
	if d.Level != keyring.Anonymous {
		ids = append(ids, levelIdentity(
			worker.Claim{Type: claimLevel, Value: d.Level.String()},
			worker.Claim{Type: claimKeyID, Value: d.Name},
			worker.Claim{Type: claimInvoke, Value: "true"}))
	}
	if t.Valid {
		ids = append(ids, tokenIdentity(t))
	}
	return ids
}

// tokenIdentity has no key's name, and the right to invoke only where the token
// gives it.
func tokenIdentity(t SiteToken) worker.Identity {
	id := levelIdentity(worker.Claim{Type: claimLevel, Value: keyring.AdminLevel.String()})
	if t.Invoke {
		id.Claims = append(id.Claims, worker.Claim{Type: claimInvoke, Value: "true"})
	}
	return id
}

func levelIdentity(claims ...worker.Claim) worker.Identity {
	return worker.Identity{
		AuthenticationType: "WebJobsAuthLevel",
		NameClaimType:      claimName,
		RoleClaimType:      claimRole,
		Claims:             claims,
	}
}

// principal is the JSON an authentication proxy sends, base64-encoded.
type principal struct {
	AuthType  string `json:"auth_typ"`
	NameType  string `json:"name_typ"`
	RoleType  string `json:"role_typ"`
	ClaimList []struct {
		Type  string `json:"typ"`
		Value string `json:"val"`
	} `json:"claims"`
}

// proxied reads x-ms-client-principal, only where the settings say that a proxy
// in front sets it; anybody could send it otherwise.
func (g *Gate) proxied(r *http.Request) (worker.Identity, bool) {
	text := r.Header.Get("X-Ms-Client-Principal")
	if !g.TrustProxy || text == "" || len(text) > maxPrincipal {
		return worker.Identity{}, false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return worker.Identity{}, false
	}
	var p principal
	if err := json.Unmarshal(raw, &p); err != nil {
		return worker.Identity{}, false
	}
	id := worker.Identity{AuthenticationType: p.AuthType, NameClaimType: p.NameType, RoleClaimType: p.RoleType}
	for _, c := range p.ClaimList {
		if !reserved(c.Type) {
			id.Claims = append(id.Claims, worker.Claim{Type: c.Type, Value: c.Value})
		}
	}
	return id, true
}

// reserved names the claims only this host may make: a proxy that passes on
// what its users say must not hand out levels.
func reserved(claim string) bool {
	return strings.EqualFold(claim, claimLevel) || strings.EqualFold(claim, claimKeyID) || strings.EqualFold(claim, claimInvoke)
}

// DropForged takes identity headers out of a request unless a proxy that sets
// them is trusted, so that functions which read them cannot be fooled.
func (g *Gate) DropForged(r *http.Request) {
	if g.TrustProxy {
		return
	}
	for name := range r.Header {
		if vouched(name) {
			delete(r.Header, name)
		}
	}
}

// vouched reports whether a field is one that an authentication proxy sets. An
// underscore counts as a dash, because CGI-like servers take them for the same.
func vouched(name string) bool {
	for _, prefix := range [...]string{"x-ms-client-principal", "x-ms-token-"} {
		if hasPrefixFold(name, prefix) {
			return true
		}
	}
	return false
}

func hasPrefixFold(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}
