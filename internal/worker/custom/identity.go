package custom

import (
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// How .NET spells a claim.
const (
	defaultNameClaim = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	defaultRoleClaim = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
	claimIssuer      = "LOCAL AUTHORITY"
	claimValueType   = "http://www.w3.org/2001/XMLSchema#string"
)

// identity is a caller as handlers see it; the members that are always null
// are there because typed handlers were generated from them.
type identity struct {
	AuthenticationType *string
	IsAuthenticated    bool
	Actor              *string
	BootstrapContext   *string
	Claims             []claim
	Label              *string
	Name               *string
	NameClaimType      string
	RoleClaimType      string
}

type claim struct {
	Issuer         string
	OriginalIssuer string
	Properties     struct{}
	Type           string
	Value          string
	ValueType      string
}

// identities gives the callers of an invocation. A caller without any identity
// is one that is not authenticated.
func identities(inv *worker.Invocation) []identity {
	known := view.Identities(inv)
	if len(known) == 0 {
		return []identity{{Claims: []claim{}, NameClaimType: defaultNameClaim, RoleClaimType: defaultRoleClaim}}
	}
	list := make([]identity, len(known))
	for i := range known {
		list[i] = identityOf(&known[i])
	}
	return list
}

func identityOf(id *worker.Identity) identity {
	out := identity{Claims: []claim{}, NameClaimType: or(id.NameClaimType, defaultNameClaim),
		RoleClaimType: or(id.RoleClaimType, defaultRoleClaim)}
	if id.AuthenticationType != "" {
		out.AuthenticationType, out.IsAuthenticated = &id.AuthenticationType, true
	}
	for _, c := range id.Claims {
		out.Claims = append(out.Claims, claim{Issuer: claimIssuer, OriginalIssuer: claimIssuer,
			Type: c.Type, Value: c.Value, ValueType: claimValueType})
		if c.Type == out.NameClaimType && out.Name == nil {
			out.Name = &c.Value
		}
	}
	return out
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
