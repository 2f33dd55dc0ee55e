package keyvault

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

// vaultShown is a vault as clients see it.
type vaultShown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData systemData        `json:"systemData"`
	Properties map[string]any    `json:"properties"`
}

// systemData says who made and changed something, and when.
type systemData struct {
	CreatedBy  string    `json:"createdBy"`
	CreatedAs  string    `json:"createdByType"`
	Created    time.Time `json:"createdAt"`
	ModifiedBy string    `json:"lastModifiedBy"`
	ModifiedAs string    `json:"lastModifiedByType"`
	Modified   time.Time `json:"lastModifiedAt"`
}

func systemDataOf(r inventory.Resource) systemData {
	return systemData{r.CreatedBy, "Application", r.Created.UTC(), r.ChangedBy, "Application", r.Changed.UTC()}
}

func tagsOf(v vault.Vault) map[string]string {
	if v.Resource.Tags == nil {
		return map[string]string{}
	}
	return v.Resource.Tags
}

func (s *Service) describe(v vault.Vault) vaultShown {
	return vaultShown{
		ID: v.ID.String(), Name: v.Name, Type: vault.Type, Location: v.Location, Tags: tagsOf(v),
		SystemData: systemDataOf(v.Resource), Properties: s.properties(v),
	}
}

// properties are what is kept of the vault over what is so unless it is said, and
// under what nobody can say.
func (s *Service) properties(v vault.Vault) map[string]any {
	out := map[string]any{
		"enabledForDeployment": false, "enabledForDiskEncryption": false, "enabledForTemplateDeployment": false, "publicNetworkAccess": "Enabled",
	}
	var kept map[string]any
	_ = json.Unmarshal(v.Resource.Properties, &kept) // a vault that can be read has properties that can
	maps.Copy(out, kept)
	maps.Copy(out, map[string]any{
		"sku": map[string]any{"family": "A", "name": v.SKU}, "tenantId": v.TenantID, "accessPolicies": showPolicies(v.Policies),
		"enableSoftDelete": true, "softDeleteRetentionInDays": v.RetentionDays, "enableRbacAuthorization": v.RBAC,
		"vaultUri": s.cfg.VaultURL(v.Name), "provisioningState": "Succeeded",
	})
	delete(out, "createMode")
	delete(out, "enablePurgeProtection")
	if v.PurgeProtected { // it is never false
		out["enablePurgeProtection"] = true
	}
	return out
}

// policyShown is an access policy as clients see it: no list in it is null.
type policyShown struct {
	TenantID      string `json:"tenantId"`
	ObjectID      string `json:"objectId"`
	ApplicationID string `json:"applicationId,omitempty"`
	Permissions   struct {
		Keys         []string `json:"keys"`
		Secrets      []string `json:"secrets"`
		Certificates []string `json:"certificates"`
		Storage      []string `json:"storage"`
	} `json:"permissions"`
}

func showPolicies(list []vault.Policy) []policyShown {
	out := make([]policyShown, len(list))
	for n, p := range list {
		shown := policyShown{TenantID: p.TenantID, ObjectID: p.ObjectID, ApplicationID: p.ApplicationID}
		shown.Permissions.Keys, shown.Permissions.Secrets = listed(p.Permissions.Keys), listed(p.Permissions.Secrets)
		shown.Permissions.Certificates, shown.Permissions.Storage = listed(p.Permissions.Certificates), listed(p.Permissions.Storage)
		out[n] = shown
	}
	return out
}

func listed(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

func notFound(c *arm.Call) error {
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		vault.Type, c.Params["vault"], c.Params["group"])
}

// nameDeleted is what clients look for in the answer about the name of a deleted
// vault.
const nameDeleted = "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault."

// fault gives an error of the vaults the status and the code that the management
// API has for it.
func fault(c *arm.Call, err error) error {
	var code vault.Code
	if !errors.As(err, &code) {
		return err
	}
	f := arm.Fault{Status: statusOf(err), Code: string(code), Message: sentence(err)}
	switch code {
	case vault.VaultNotFound:
		return notFound(c)
	case vault.NameDeleted:
		f.Message = nameDeleted
	case vault.PurgeNotAllowed:
		f.Status = http.StatusMethodNotAllowed
	case vault.SecretDeleted, vault.SecretBeingDeleted:
		f.Code, f.Details = "Conflict", []arm.Detail{{Code: string(code), Message: f.Message}}
	}
	return f
}

func statusOf(err error) int {
	switch problem.KindOf(err) {
	case problem.NotFound:
		return http.StatusNotFound
	case problem.Exists, problem.Conflict:
		return http.StatusConflict
	case problem.Denied:
		return http.StatusForbidden
	case problem.TooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// sentence gives an error's message and advice as sentences for a client.
func sentence(err error) string {
	text := err.Error()
	var p *problem.Error
	if errors.As(err, &p) {
		text = p.Message
	}
	if next := problem.NextOf(err); next != "" {
		return capital(text) + " " + capital(next)
	}
	return capital(text)
}

// capital makes a sentence of a message, which begins in lower case.
func capital(text string) string {
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}
