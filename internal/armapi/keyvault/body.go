package keyvault

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
)

// vaultBody is what is looked at of a vault's body before the vault is asked.
// Members that are nil were not sent; null is as good as that.
type vaultBody struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties policiesBody      `json:"properties"`
}

type policiesBody struct {
	TenantID *string `json:"tenantId"`
	RBAC     *bool   `json:"enableRbacAuthorization"`
	Policies []struct {
		TenantID string `json:"tenantId"`
	} `json:"accessPolicies"`
}

// request is what a client sends about a vault.
type request struct {
	text json.RawMessage // as it is handed on
	vaultBody
}

// readBody reads a body twice: as it is for those who know vaults, and what is
// looked at here.
func (s *Service) readBody(c *arm.Call) (r request, err error) {
	if err := c.JSON(&r.text); err != nil {
		return r, err
	}
	if err := arm.Decode(r.text, &r.vaultBody); err != nil {
		return r, err
	}
	if err := resources.CheckTags(r.Tags); err != nil {
		return r, err
	}
	return r, s.checkTenants(r.Properties)
}

// checkTenants refuses vaults and policies of tenants that nobody here can sign in
// to: they could never be opened, or mean another principal than it seems.
func (s *Service) checkTenants(p policiesBody) error {
	if p.TenantID != nil && !strings.EqualFold(*p.TenantID, s.cfg.TenantID) {
		return badRequest("properties.tenantId", "The tenantId must be that of this installation, "+s.cfg.TenantID+".")
	}
	for _, entry := range p.Policies {
		if entry.TenantID != "" && !strings.EqualFold(entry.TenantID, s.cfg.TenantID) {
			return badRequest("properties.accessPolicies.tenantId", "The tenantId of an access policy must be that of the vault, "+s.cfg.TenantID+".")
		}
	}
	return nil
}

func badRequest(target, message string) error {
	return arm.Fault{Status: http.StatusBadRequest, Code: "BadRequest", Target: target, Message: message}
}

// rolesByDefault is the api-version from which on roles decide about a new vault
// for which nothing is said. Versions are dates, so their order is that of texts.
const rolesByDefault = "2026-02-01"

// completed says what a client left open: there is one tenant only, and how access
// is decided is never changed by saying nothing.
func (s *Service) completed(r request, roles bool) (request, error) {
	return r.edited(func(properties map[string]any) {
		if r.Properties.TenantID == nil {
			say(properties, "tenantId", s.cfg.TenantID)
		}
		if r.Properties.RBAC == nil {
			say(properties, "enableRbacAuthorization", roles)
		}
	})
}

// silent leaves the permission model out of a request that does not mean to change
// it: if somebody else does meanwhile, that stays.
func (r request) silent(roles bool) (request, error) {
	if r.Properties.RBAC == nil || *r.Properties.RBAC != roles {
		return r, nil
	}
	return r.edited(func(properties map[string]any) {
		unsay(properties, "enableRbacAuthorization")
	})
}

// say sets a property in place of what there is of that name in whatever case:
// readers of JSON take one for the other.
func say(properties map[string]any, name string, value any) {
	unsay(properties, name)
	properties[name] = value
}

func unsay(properties map[string]any, name string) {
	for other := range properties {
		if strings.EqualFold(other, name) {
			delete(properties, other)
		}
	}
}

// edited changes the properties of a request. The result is read anew: a body can
// have a member twice, spelled differently, and what is checked must be what counts.
func (r request) edited(change func(properties map[string]any)) (out request, err error) {
	var body map[string]any
	if err := arm.Decode(r.text, &body); err != nil {
		return out, err
	}
	if body == nil {
		body = map[string]any{}
	}
	found := false
	for name, value := range body {
		if properties, is := value.(map[string]any); is && strings.EqualFold(name, "properties") {
			found = true
			change(properties)
		}
	}
	if !found {
		properties := map[string]any{}
		change(properties)
		body["properties"] = properties
	}
	if out.text, err = json.Marshal(body); err != nil {
		return out, err
	}
	return out, arm.Decode(out.text, &out.vaultBody)
}
