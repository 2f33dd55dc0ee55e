package keyvault

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/vault"
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

// readBody reads a body twice: as it is for those who know vaults, and what is
// looked at here.
func (s *Service) readBody(c *arm.Call) (json.RawMessage, vaultBody, error) {
	var text json.RawMessage
	if err := c.JSON(&text); err != nil {
		return nil, vaultBody{}, err
	}
	var b vaultBody
	if err := arm.Decode(text, &b); err != nil {
		return nil, b, err
	}
	if err := resources.CheckTags(b.Tags); err != nil {
		return nil, b, err
	}
	return text, b, s.checkTenants(b.Properties)
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

// newSpec gives what a body says of a vault that is not there yet: what is left
// open is as the api-version has it.
func (s *Service) newSpec(c *arm.Call, text json.RawMessage, b vaultBody) (vault.Spec, error) {
	defaults := map[string]any{}
	if b.Properties.TenantID == nil { // there is but one
		defaults["tenantId"] = s.cfg.TenantID
	}
	if b.Properties.RBAC == nil {
		defaults["enableRbacAuthorization"] = c.APIVersion >= rolesByDefault
	}
	text, err := withProperties(text, defaults)
	if err != nil {
		return vault.Spec{}, err
	}
	return vault.ParseSpec(text)
}

// withProperties adds properties to a body.
func withProperties(text json.RawMessage, more map[string]any) (json.RawMessage, error) {
	var body, properties map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	if body == nil {
		body = map[string]any{}
	}
	if properties, _ = body["properties"].(map[string]any); properties == nil {
		properties = map[string]any{}
	}
	for name, value := range more {
		properties[name] = value
	}
	body["properties"] = properties
	return json.Marshal(body)
}
