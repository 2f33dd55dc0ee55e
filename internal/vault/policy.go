package vault

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// PolicyChange is what [Vaults.ChangePolicies] does.
type PolicyChange string

// Changes of access policies: of the policy of the same tenant, principal and
// application each given one adds its permissions to, replaces, or takes its
// permissions from. A policy without permissions goes away.
const (
	AddPolicies     PolicyChange = "add"
	ReplacePolicies PolicyChange = "replace"
	RemovePolicies  PolicyChange = "remove"
)

// maxPermissions is how many permissions of one kind a policy may have.
const maxPermissions = 64

// all is the permission that has every other in it, but for purging, which must be
// allowed by its own name.
const all = "all"

func isGUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// checkPolicies refuses what cannot be an access policy and completes the others.
func checkPolicies(list []Policy) error {
	if len(list) > maxPolicies {
		return invalid("properties.accessPolicies", fmt.Sprintf("has %d policies, more than the limit of %d", len(list), maxPolicies))
	}
	for i := range list {
		if err := list[i].check(fmt.Sprintf("properties.accessPolicies[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) check(where string) error {
	switch {
	case !isGUID(p.TenantID):
		return invalid(where+".tenantId", "must be a GUID")
	case !isGUID(p.ObjectID):
		return invalid(where+".objectId", "must be a GUID")
	case p.ApplicationID != "" && !isGUID(p.ApplicationID):
		return invalid(where+".applicationId", "must be a GUID")
	}
	for name, list := range p.Permissions.kinds() {
		if *list == nil {
			*list = []string{}
		}
		if len(*list) > maxPermissions || slices.ContainsFunc(*list, func(s string) bool { return !isPermission(name, s) }) {
			return invalid(where+".permissions."+name, "has a permission that does not exist")
		}
	}
	return nil
}

func (p *Permissions) kinds() map[string]*[]string {
	return map[string]*[]string{"keys": &p.Keys, "secrets": &p.Secrets, "certificates": &p.Certificates, "storage": &p.Storage}
}

// isPermission knows what there is for secrets; for the other kinds it only looks
// at the letters.
func isPermission(kind, s string) bool {
	if kind != "secrets" {
		return s != "" && len(s) <= 30 && !strings.ContainsFunc(strings.ToLower(s), func(r rune) bool { return r < 'a' || r > 'z' })
	}
	switch strings.ToLower(s) {
	case all, "get", "list", "set", "delete", "recover", "backup", "restore", "purge":
		return true
	}
	return false
}

// same reports whether two policies are about the same principal and application.
func (p Policy) same(q Policy) bool {
	return strings.EqualFold(p.TenantID, q.TenantID) && strings.EqualFold(p.ObjectID, q.ObjectID) && strings.EqualFold(p.ApplicationID, q.ApplicationID)
}

// apply gives the policies after a change of some.
func (how PolicyChange) apply(had, said []Policy) ([]Policy, error) {
	out := slices.Clone(had)
	for _, p := range said {
		at := slices.IndexFunc(out, p.same)
		if at < 0 {
			out, at = append(out, Policy{TenantID: p.TenantID, ObjectID: p.ObjectID, ApplicationID: p.ApplicationID}), len(out)
		}
		next := out[at]
		switch how {
		case AddPolicies:
			next.Permissions = next.Permissions.with(p.Permissions)
		case ReplacePolicies:
			next.Permissions = p.Permissions
		case RemovePolicies:
			next.Permissions = next.Permissions.without(p.Permissions)
		default:
			return nil, problem.New(problem.Invalid, "access policies can be changed by add, replace and remove only")
		}
		if out[at] = next; next.Permissions.empty() {
			out = slices.Delete(out, at, at+1)
		}
	}
	return out, checkPolicies(out)
}

func (p Permissions) empty() bool {
	return len(p.Keys)+len(p.Secrets)+len(p.Certificates)+len(p.Storage) == 0
}

func (p Permissions) with(q Permissions) Permissions {
	return Permissions{join(p.Keys, q.Keys), join(p.Secrets, q.Secrets), join(p.Certificates, q.Certificates), join(p.Storage, q.Storage)}
}

func (p Permissions) without(q Permissions) Permissions {
	return Permissions{cut(p.Keys, q.Keys), cut(p.Secrets, q.Secrets), cut(p.Certificates, q.Certificates), cut(p.Storage, q.Storage)}
}

func join(a, b []string) []string { return append(slices.Clone(a), cut(b, a)...) }

func cut(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return containsFold(b, s) })
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(s, t) })
}

// grants reports whether a policy lets a caller do something.
func (p Policy) grants(c Caller, op Operation) bool {
	if !strings.EqualFold(p.ObjectID, c.ObjectID) && !containsFold(c.Groups, p.ObjectID) {
		return false
	}
	if p.ApplicationID != "" && !strings.EqualFold(p.ApplicationID, c.AppID) {
		return false
	}
	return containsFold(p.Permissions.Secrets, op.Permission()) || op != Purge && containsFold(p.Permissions.Secrets, all)
}
