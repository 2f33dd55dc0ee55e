package vault

import (
	"encoding/json"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// defaults are what a vault has that nothing was said about.
func defaults() properties {
	no, yes, days, on := false, true, maxRetention, publicOn
	bypass, action := trustedServices, allowAll
	return properties{
		Policies: &[]Policy{}, Deployment: &no, DiskEncryption: &no, Templates: &no, SoftDelete: &yes, RetentionDays: &days,
		RBAC: &no, Public: &on, ACLs: &networkACLs{Bypass: &bypass, Default: &action, IPs: &[]ipRule{}, Networks: &[]networkRule{}},
	}
}

// pick gives the first that is there.
func pick[T any](said, otherwise *T) *T {
	if said != nil {
		return said
	}
	return otherwise
}

// over gives the properties before with those said put in.
func (p properties) over(before properties) properties {
	return properties{
		SKU: pick(p.SKU, before.SKU), TenantID: pick(p.TenantID, before.TenantID), Policies: pick(p.Policies, before.Policies),
		Deployment: pick(p.Deployment, before.Deployment), DiskEncryption: pick(p.DiskEncryption, before.DiskEncryption),
		Templates: pick(p.Templates, before.Templates), SoftDelete: pick(p.SoftDelete, before.SoftDelete),
		RetentionDays: pick(p.RetentionDays, before.RetentionDays), RBAC: pick(p.RBAC, before.RBAC),
		PurgeProtection: pick(p.PurgeProtection, before.PurgeProtection), Public: pick(p.Public, before.Public),
		ACLs: p.ACLs.over(before.ACLs),
	}
}

// lasting are the properties that replacing the others leaves alone when nothing is
// said about them: those that cannot be changed, and who may read secrets.
func (p properties) lasting() properties {
	return properties{Policies: p.Policies, RBAC: p.RBAC, RetentionDays: p.RetentionDays, PurgeProtection: p.PurgeProtection}
}

// complete refuses what does not say enough to make a vault or to replace what one
// has.
func (p properties) complete() error {
	switch {
	case p.SKU == nil:
		return invalid("properties.sku", "is missing")
	case p.TenantID == nil:
		return invalid("properties.tenantId", "is missing")
	case p.Policies == nil && !or(p.RBAC, false):
		return invalid("properties.accessPolicies", "is missing").WithNext("give a list, which may be empty, or set enableRbacAuthorization to true")
	}
	return nil
}

// fits refuses changes that cannot be made.
func (p properties) fits(had properties) error {
	if p.RetentionDays != nil && *p.RetentionDays != or(had.RetentionDays, maxRetention) {
		return invalid("properties.softDeleteRetentionInDays", fmt.Sprintf("has been set already, to %d, and cannot be changed", or(had.RetentionDays, maxRetention)))
	}
	return nil
}

func (p properties) json() (json.RawMessage, error) {
	text, err := json.Marshal(p)
	if err == nil && len(text) > maxSpec {
		err = problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(text), maxSpec))
	}
	return text, err
}
