package vault

import (
	"context"
	"net/netip"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
)

// Roles decides by role assignments; rbac.Roles does.
type Roles interface {
	Allow(ctx context.Context, r authz.Request) (authz.Decision, error)
}

// Caller is who wants to use a vault, and from where.
type Caller struct {
	ObjectID, AppID  string
	TenantID, Issuer string
	Groups           []string   // object ids of groups the caller is in
	Address          netip.Addr // the client's, not that of a proxy
	Trusted          bool       // the platform itself on behalf of an app
}

// Grant is why something is allowed.
type Grant struct {
	Assignment string // id of the role assignment; "" when an access policy allows it
	Role       string // the role's name
}

// Check decides whether a caller may do something with the secrets of a vault:
// first the network's rules, then roles or access policies, as they are now.
// secret names the secret for operations about one, else it is not looked at.
// Refusals are problem.Denied with ForbiddenByConnection, ForbiddenByFirewall,
// ForbiddenByRbac or ForbiddenByPolicy; other errors are those of Roles.
func (vs *Vaults) Check(ctx context.Context, v Vault, c Caller, op Operation, secret string) (Grant, error) {
	return Grant{}, problem.New(problem.Unsupported, "not built yet")
}
