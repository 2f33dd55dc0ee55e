package portal_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// withVault makes a vault "lab" under roles, with a secret "db", which an app's
// setting refers to, and an identity "readers".
func withVault(t *testing.T, p *platformtest.Platform) (vault string) {
	t.Helper()
	vault = makeVault(t, p)
	refer(t, p)
	return vault
}

// makeVault makes the vault "lab" with the secret, and the identity.
func makeVault(t *testing.T, p *platformtest.Platform) (vault string) {
	t.Helper()
	group := p.Subscription() + "/resourceGroups/rg"
	vault = group + "/providers/Microsoft.KeyVault/vaults/lab"
	p.Do(t, http.MethodPut, vault+"?api-version=2023-07-01", map[string]any{"location": "local", "properties": map[string]any{
		"tenantId": p.Cred.TenantID, "sku": map[string]any{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "enableSoftDelete": true, "softDeleteRetentionInDays": 7}}, nil)
	p.Do(t, http.MethodPut, vault+"/secrets/db?api-version=2023-07-01", map[string]any{"properties": map[string]any{"value": "first-value"}}, nil)
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/readers?api-version=2023-01-31", map[string]any{"location": "local"}, nil)
	return vault
}

// refer makes a setting of the app a reference to the secret "db" of the vault "lab".
func refer(t *testing.T, p *platformtest.Platform) {
	t.Helper()
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/config/appsettings/list", nil, &settings)
	settings.Properties["DB_PASSWORD"] = "@Microsoft.KeyVault(VaultName=lab;SecretName=db)"
	p.Do(t, http.MethodPut, p.Site("orders")+"/config/appsettings", settings, nil)
}

// TestAnAppIsGivenAccessToASecret mends a red reference without scripts: the app
// gets an identity, the check says why it may not read the secret, the role is given,
// the check says yes, and the reference resolves; then all is taken away again.
func TestAnAppIsGivenAccessToASecret(t *testing.T) {
	p := start(t)
	withVault(t, p)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	app := p.Cred.Endpoint + "/portal/apps/rg/orders"
	b.visit(app + "/configuration")
	b.see("has no identity")
	b.press(`a[href="/portal/apps/rg/orders/identity"]`)
	b.press(`form[action$="/system/on"] button`)
	b.see("is on")
	b.press(`#check form button`)
	b.see("No role of")
	b.press(`form[action$="/roles/add"] button`)
	b.see("The role is given")
	within(b, chromedp.SendKeys("#check-secret", "db"))
	b.press(`#check form button`)
	b.see("Key Vault Secrets User allows it")
	platformtest.Until(t, "the reference resolves", func() bool {
		b.visit(app + "/configuration")
		return eval[int](b, `document.querySelectorAll('#references .state.good').length`) == 1
	})
	b.visit(app + "/identity")
	b.press(`form[action$="/assign"] button`)
	b.see("has the identity")
	b.press(`a[href*="/identity/remove?"]`)
	b.press(`main form button.danger`)
	b.see("does not have the identity any more")
	b.press(`a[href*="/roles/remove?"]`)
	b.see("stops within moments")
	b.press(`main form button.danger`)
	b.see("The role is taken away")
	b.press(`a[href$="/system/off"]`)
	b.see("References to secrets: they are read with this identity")
	b.press(`main form button.danger`)
	b.see("The own identity of")
	var site struct{ Identity *struct{ Type string } }
	p.Do(t, http.MethodGet, p.Site("orders"), nil, &site)
	if site.Identity != nil && site.Identity.Type != "None" {
		t.Errorf("the app has still %s", site.Identity.Type)
	}
}

// TestPagesOfIdentitiesReadWell looks at them with nothing, with everything, and in
// Chinese.
func TestPagesOfIdentitiesReadWell(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	const at = "/portal/apps/rg/orders/identity"
	lookAt(t, b, p, look{"identity-none", at, "No identity is assigned"})
	vault := withVault(t, p)
	readers := p.Subscription() + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/readers"
	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{
		"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": map[string]any{readers: map[string]any{}}}}, &site)
	asked := at + "?" + url.Values{"principal": {site.Identity.PrincipalID}, "vault": {vault}, "secret": {"db"}}.Encode()
	lookAt(t, b, p, look{"identity", at, "Assigned identities"}, look{"identity-check", asked, "No role of"},
		look{"identity-check-bad", at + "?" + url.Values{"principal": {"x"}, "vault": {vault}, "secret": {hostile}}.Encode(), "could not be made"},
		look{"identity-off", at + "/system/off", "gone for good"}, look{"identity-remove", at + "/remove?identity=" + url.QueryEscape(readers), "can be assigned again"})
	b.press(`button[lang="zh-TW"]`)
	lookAt(t, b, p, look{"identity-chinese", asked, "不行"})
}
