package portal_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// ownerID gives the object id of who signs in.
func ownerID(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var list struct{ Value []map[string]any }
	p.Do(t, http.MethodGet, "/providers/Latchkey.Directory/principals", nil, &list)
	for _, one := range list.Value {
		properties, _ := one["properties"].(map[string]any)
		if properties == nil {
			properties = one
		}
		if one["name"] == "owner" || properties["displayName"] == "owner" || properties["name"] == "owner" {
			return properties["objectId"].(string)
		}
	}
	t.Fatalf("there is no owner among %v", list.Value)
	return ""
}

// TestASecretLivesItsLife makes a secret, reads it, gives it a new version, disables
// that, deletes the secret, is told what breaks, recovers it, and removes it for
// good; each is seen at the vault. Scripts are off.
func TestASecretLivesItsLife(t *testing.T) {
	p := start(t)
	vault := withVault(t, p)
	const officer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7" // the owner manages vaults, and reads no secrets without it
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.press(`header a[href="/portal/vaults"]`)
	b.press(`a[href="/portal/vaults/rg/lab"]`)
	b.see("does not let you list these")
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + officer, "principalId": ownerID(t, p)}}, nil)
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/lab")
	b.press(`a[href$="/secrets/db"]`)
	b.see("setting")
	b.see("DB_PASSWORD")
	b.press(`form[action$="/show"] button`)
	b.see("first-value")
	within(b, chromedp.SendKeys("#value", "second-value"))
	b.press(`form[action$="/new"] button`)
	b.see("has a new version")
	b.press(`tbody tr:first-child form[action$="/show"] button, tbody tr:last-child form[action$="/show"] button`)
	b.see("That you read it is recorded")
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/lab/secrets/db")
	b.press(`form[action$="/set"] button`)
	b.see("is disabled")
	b.press(`a[href$="/secrets/db/delete"]`)
	b.see("What will stop working")
	b.see("DB_PASSWORD")
	b.press(`main form button.danger`)
	b.see("can be recovered below")
	b.press(`form[action$="/deleted/db/recover"] button`)
	b.see("is back")
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/lab/secrets/db/delete")
	b.press(`main form button.danger`)
	b.see("can be recovered below")
	b.press(`a[href$="/deleted/db/purge"]`)
	b.see("destroyed at once")
	b.press(`main form button.danger`)
	b.see("is gone for good")
	b.see("There are no secrets")
	within(b, chromedp.SendKeys("#name", "not a name"))
	within(b, chromedp.SendKeys("#value", "v"))
	b.press(`form[action$="/add"] button`)
	b.see("This was not done")
	within(b, chromedp.SetValue("#name", "token"))
	within(b, chromedp.SendKeys("#value", "third"))
	b.press(`form[action$="/add"] button`)
	b.see("has a new version")
	var made struct {
		Properties struct{ Attributes struct{ Enabled bool } }
	}
	p.Do(t, http.MethodGet, vault+"/secrets/token?api-version=2023-07-01", nil, &made)
	if !made.Properties.Attributes.Enabled {
		t.Error("the secret is not there")
	}
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/none")
	b.see("Not found")
}

// TestPagesOfVaultsReadWell looks at them, also without the right to list secrets.
func TestPagesOfVaultsReadWell(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"vaults-none", "/portal/vaults", "no vault that you may see"})
	vault := withVault(t, p)
	lookAt(t, b, p, look{"vault-denied", "/portal/vaults/rg/lab", "does not let you list"})
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "principalId": ownerID(t, p)}}, nil)
	lookAt(t, b, p, look{"vaults", "/portal/vaults", "lab"}, look{"vault", "/portal/vaults/rg/lab", "db"},
		look{"secret", "/portal/vaults/rg/lab/secrets/db", "DB_PASSWORD"}, look{"secret-delete", "/portal/vaults/rg/lab/secrets/db/delete", "What will stop working"})
	b.press(`button[lang="zh-TW"]`)
	lookAt(t, b, p, look{"secret-chinese", "/portal/vaults/rg/lab/secrets/db", "新增版本"})
}
