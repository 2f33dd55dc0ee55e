package vault

import (
	"context"
	"fmt"
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

// String names the caller as refusals do.
func (c Caller) String() string {
	return fmt.Sprintf("appid=%s;oid=%s;iss=%s", c.AppID, c.ObjectID, c.Issuer)
}

// Grant is why something is allowed.
type Grant struct {
	Assignment string // id of the role assignment; "" when an access policy allows it
	Role       string // the role's name; likewise
}

// Check decides whether a caller may do something with the secrets of a vault:
// first the network's rules, then roles or access policies, as they are now.
// secret names the secret for operations about one, else it is not looked at.
// Refusals are problem.Denied with ForbiddenByConnection, ForbiddenByFirewall,
// ForbiddenByRbac or ForbiddenByPolicy; problem.Invalid for what cannot be the name
// of a secret; other errors are those of Roles.
func (vs *Vaults) Check(ctx context.Context, v Vault, c Caller, op Operation, secret string) (Grant, error) {
	if err := v.enter(c); err != nil {
		return Grant{}, err
	}
	scope := v.ID
	if op.AboutOne() {
		if err := CheckSecretName(secret); err != nil {
			return Grant{}, err // else its scope would not be that of a secret
		}
		scope = v.SecretID(secret)
	}
	if !v.RBAC {
		return Grant{}, v.byPolicy(c, op)
	}
	d, err := vs.roles.Allow(ctx, authz.Request{Principal: c.ObjectID, Groups: c.Groups, Action: op.Action(), Data: true, Scope: scope})
	if err != nil {
		return Grant{}, err
	}
	if !d.Allowed {
		return Grant{}, refuse(ForbiddenByRbac, fmt.Sprintf("Caller is not authorized to perform action on resource.\r\n"+
			"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
			"Caller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\n"+
			"DecisionReason: 'DeniedWithNoValidRBAC'\r\nVault: %s", c, op.Action(), scope, v)).
			WithNext("assign a role such as Key Vault Secrets User at the vault")
	}
	return Grant{Assignment: d.Assignment, Role: d.Role}, nil
}

// enter applies the network's rules.
func (v Vault) enter(c Caller) error {
	switch n := v.Network; {
	case c.Trusted && n.TrustedService:
		return nil
	case !n.Public:
		return refuse(ForbiddenByConnection, fmt.Sprintf("Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\n"+
			"Caller: %s\r\nVault: %s", c, v))
	case !n.admits(c.Address):
		return refuse(ForbiddenByFirewall, fmt.Sprintf("Client address is not authorized and caller is not a trusted service.\r\n"+
			"Client address: %s\r\nCaller: %s\r\nVault: %s", address(c.Address), c, v))
	}
	return nil
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.Unmap().String()
}

func (v Vault) byPolicy(c Caller, op Operation) error {
	for _, p := range v.Policies {
		if p.grants(c, op) {
			return nil
		}
	}
	return refuse(ForbiddenByPolicy, fmt.Sprintf("The user, group or application '%s' does not have secrets %s permission on key vault '%s'. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287", c, op.Permission(), v)).
		WithNext("add the permission to an access policy of the vault")
}

// refuse makes a refusal; its text is what clients show, as the platform words it.
func refuse(code Code, text string) *problem.Error {
	return problem.Wrap(problem.Denied, text, code)
}
