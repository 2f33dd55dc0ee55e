package portal_test

import (
	"net/http"
	"net/url"
	"strings"
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
	b.see("does not let you list its secrets")
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

// TestAVaultLivesItsLife makes a vault, deletes it, is told which references break, and
// finds out from its own page what became of it; recovers it with its secrets, and
// removes it for good; each is seen at the API. Scripts are off.
func TestAVaultLivesItsLife(t *testing.T) {
	p := start(t)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.press(`header a[href="/portal/vaults"]`)
	b.see("no vault that you may see")
	b.press(`main a[href="/portal/vaults/new"]`)
	fill := func(name string) {
		t.Helper()
		within(b, chromedp.SetValue("#name", name))
		b.press(`main form button.main`)
	}
	fill("9-lives")
	b.see("it must begin with a letter")
	if value := eval[string](b, `document.querySelector('#group').value`); value != "rg" {
		t.Errorf("the group is %q", value)
	}
	within(b, chromedp.SetValue("#days", "soon"))
	fill("lab")
	b.see("must be a number from 7 to 90")
	within(b, chromedp.SetValue("#days", "6"))
	fill("lab")
	b.see("softDeleteRetentionInDays")
	within(b, chromedp.SetValue("#days", "7"))
	fill("lab")
	b.see("Put a secret into it")
	within(b, chromedp.SendKeys("#name", "db"))
	within(b, chromedp.SendKeys("#value", "first-value"))
	b.press(`form[action$="/add"] button`)
	b.see("has a new version")
	var made struct {
		Properties struct {
			Days int  `json:"softDeleteRetentionInDays"`
			RBAC bool `json:"enableRbacAuthorization"`
		}
	}
	id := p.Subscription() + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/lab"
	p.Do(t, http.MethodGet, id+"?api-version=2023-07-01", nil, &made)
	if made.Properties.Days != 7 || !made.Properties.RBAC {
		t.Errorf("the vault is %+v", made)
	}
	refer(t, p)
	b.visit(p.Cred.Endpoint + "/portal/vaults/new")
	fill("LAB")
	b.see("It was not touched; choose another name")

	at := p.Cred.Endpoint + "/portal/vaults/rg/lab"
	b.visit(at)
	b.press(`a[href$="/lab/delete"]`)
	b.see("What will stop working")
	b.see("DB_PASSWORD")
	b.press(`main form button.danger`)
	b.see("can be recovered below")
	b.visit(at)
	b.see("was deleted")
	b.see("kept with all versions")
	b.visit(p.Cred.Endpoint + "/portal/vaults/new")
	fill("lab")
	b.see("keeps its name and its secrets")
	b.visit(at)
	b.press(`form[action$="/recover"] button`)
	b.see("is back with all its secrets")
	p.Do(t, http.MethodGet, id+"/secrets/db?api-version=2023-07-01", nil, &made)

	b.press(`a[href$="/lab/delete"]`)
	b.press(`main form button.danger`)
	b.press(`a[href$="/deleted-vaults/local/lab/purge"]`)
	b.see("destroyed at once")
	b.see("DB_PASSWORD")
	b.press(`main form button.danger`)
	b.see("gone for good, and its name is free")
	var left struct{ Value []any }
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.KeyVault/deletedVaults?api-version=2023-07-01", nil, &left)
	if len(left.Value) != 0 {
		t.Errorf("there is still %v", left.Value)
	}
	b.press(`main a[href="/portal/vaults/new"]`)
	within(b, chromedp.Click(`input[name="access"][value="policies"]`, chromedp.NodeVisible))
	within(b, chromedp.Click(`input[name="protected"]`, chromedp.NodeVisible))
	fill("lab")
	b.see("access policies; roles count for nothing")
	b.see("There are no secrets") // a policy of one's own reads them
	b.press(`a[href$="/lab/delete"]`)
	b.see("its name stays taken")
	b.press(`main form button.danger`)
	b.see("protected until then")
}

// TestPagesOfVaultsReadWell looks at them, also without the right to list secrets.
func TestPagesOfVaultsReadWell(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"vaults-none", "/portal/vaults", "no vault that you may see"})
	vault := withVault(t, p)
	lookAt(t, b, p, look{"vault-denied", "/portal/vaults/rg/lab", "does not let you list"},
		look{"secret-denied", "/portal/vaults/rg/lab/secrets/db", "does not let you see"}, look{"vault-new", "/portal/vaults/new", "Make the vault"})
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "principalId": ownerID(t, p)}}, nil)
	lookAt(t, b, p, look{"vaults", "/portal/vaults", "lab"}, look{"vault", "/portal/vaults/rg/lab", "db"},
		look{"secret", "/portal/vaults/rg/lab/secrets/db", "DB_PASSWORD"}, look{"secret-delete", "/portal/vaults/rg/lab/secrets/db/delete", "What will stop working"})
	lookAt(t, b, p, look{"vault-delete", "/portal/vaults/rg/lab/delete", "What will stop working"}, look{"give-self", "/portal/access/give?" + url.Values{
		"vault": {vault}, "secret": {strings.Repeat("long-", 25)}, "role": {"Key Vault Secrets Officer"}, "principal": {ownerID(t, p)}, "back": {"/portal/vaults/rg/lab"}}.Encode(), "Give"})
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/lab/secrets/db/delete")
	b.press(`main form button.danger`)
	b.see("can be recovered below")
	lookAt(t, b, p, look{"secret-deleted", "/portal/vaults/rg/lab/secrets/db", "kept until then"})
	b.press(`main form button.main`)
	b.see("is back")
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	lookAt(t, b, p, look{"secret-chinese", "/portal/vaults/rg/lab/secrets/db", "新增版本"}, look{"vault-new-chinese", "/portal/vaults/new", "清除保護"})
	b.press(`button[lang="en"]`)
	within(b, chromedp.WaitReady(`html[lang="en"]`)) // a visit would end the form's way
	b.visit(p.Cred.Endpoint + "/portal/vaults/rg/lab/delete")
	b.press(`main form button.danger`)
	lookAt(t, b, p, look{"vaults-deleted", "/portal/vaults", "Deleted vaults"}, look{"vault-gone", "/portal/vaults/rg/lab", "was deleted"},
		look{"vault-purge", "/portal/deleted-vaults/local/lab/purge", "destroyed at once"})
}
