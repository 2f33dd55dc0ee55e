package portal_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// assignments gives the scopes at which a principal has roles of its own.
func assignments(t *testing.T, p *platformtest.Platform, principal string) (ids, scopes []string) {
	t.Helper()
	var list struct {
		Value []struct {
			ID         string
			Properties struct{ PrincipalID, Scope string }
		}
	}
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter="+url.QueryEscape("assignedTo('"+principal+"')"), nil, &list)
	for _, a := range list.Value {
		ids, scopes = append(ids, a.ID), append(scopes, a.Properties.Scope)
	}
	return ids, scopes
}

// TestAnAppReadsASecretFromNothing begins with an app without identity and without a
// vault: the vault and its secret are made, the reference is red and leads to why; the
// identity is switched on, the check says no and gives what is missing, at the one
// secret; the reference turns green, and the app answers a real request with the value.
// Then somebody who may not give roles sees why, and no button. Scripts are off.
func TestAnAppReadsASecretFromNothing(t *testing.T) {
	p := sayer(t)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/vaults/new")
	within(b, chromedp.SetValue("#name", "lab"))
	b.press(`main form button.main`)
	b.see("Put a secret into it")
	within(b, chromedp.SendKeys("#name", "db"))
	within(b, chromedp.SendKeys("#value", "first-value"))
	b.press(`form[action$="/add"] button`)
	b.see("has a new version")
	refer(t, p)
	says := func() string {
		_, key := p.HostKeys(t, "orders")
		_, body := p.Call(t, "orders", "/api/hello", key)
		return body
	}
	if body := says(); !strings.Contains(body, "@Microsoft.KeyVault(") {
		t.Errorf("before there is an identity: %q", body)
	}

	app := p.Cred.Endpoint + "/portal/apps/rg/orders"
	b.visit(app + "/configuration")
	b.see("The app has no identity")
	b.press(`#references a[href*="/identity?"]`)
	b.see("because it has no identity")
	b.press(`form[action$="/system/on"] button`)
	b.see("No role of")
	check := b.where()
	b.press(`#check .notice a.main`)
	b.see("Only the secret")
	b.see("in the audit record")
	b.press(`main form button.main`)
	b.see("Access is given")
	b.see("Key Vault Secrets User allows it")
	platformtest.Until(t, "the reference resolves", func() bool {
		b.visit(app + "/configuration")
		return eval[int](b, `document.querySelectorAll('#references .state.good').length`) == 1
	})
	platformtest.Until(t, "the app reads the value", func() bool { return says() == "first-value" })

	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodGet, p.Site("orders"), nil, &site)
	ids, scopes := assignments(t, p, site.Identity.PrincipalID)
	if len(scopes) != 1 || !strings.HasSuffix(strings.ToLower(scopes[0]), "/vaults/lab/secrets/db") {
		t.Fatalf("the identity has roles at %v", scopes)
	}
	var events struct{ Value []any }
	p.Do(t, http.MethodGet, "/providers/Latchkey.Audit/events", nil, &events)
	if text := fmt.Sprint(events.Value); !strings.Contains(text, "roleAssignments/write") || !strings.Contains(text, "vaults/lab/secrets/db") {
		t.Error("the grant is not in the audit record")
	}

	p.Do(t, http.MethodDelete, ids[0]+"?api-version=2022-04-01", nil, nil)
	reads := open(t)
	reads.useLink(admit(t, p, "robin", reader, p.Subscription()+"/resourceGroups/rg"))
	reads.visit(check)
	reads.see("No role of")
	reads.see("Somebody who may assign roles")
	if n := eval[int](reads, `document.querySelectorAll('#check .notice a, form[action$="/roles/add"], a[href*="/roles/remove"], form[action$="/system/on"], form[action$="/assign"]').length`); n != 0 {
		t.Errorf("%d buttons are offered to somebody who may use none of them", n)
	}
	give := "/portal/access/give?" + url.Values{"vault": {p.Subscription() + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/lab"}, "secret": {"db"},
		"role": {"Key Vault Secrets User"}, "principal": {site.Identity.PrincipalID}, "back": {"/portal/"}}.Encode()
	reads.visit(p.Cred.Endpoint + give)
	reads.see("Your roles do not let you give this")
}

// TestAPolicyIsGivenWherePoliciesDecide does the same at a vault with access policies.
func TestAPolicyIsGivenWherePoliciesDecide(t *testing.T) {
	p := start(t)
	vault := withVault(t, p)
	p.Do(t, http.MethodPatch, vault+"?api-version=2023-07-01", map[string]any{"properties": map[string]any{"enableRbacAuthorization": false}}, nil)
	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, &site)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/identity?vault=lab&secret=db")
	b.see("Roles count for nothing there")
	b.press(`#check .notice a.main`)
	b.see("policies cannot be narrowed to one")
	b.press(`main form button.main`)
	b.see("an access policy of")
	var made struct {
		Properties struct {
			AccessPolicies []struct {
				ObjectID    string
				Permissions struct{ Secrets []string }
			}
		}
	}
	p.Do(t, http.MethodGet, vault+"?api-version=2023-07-01", nil, &made)
	if list := made.Properties.AccessPolicies; len(list) != 1 || list[0].ObjectID != site.Identity.PrincipalID || fmt.Sprint(list[0].Permissions.Secrets) != "[get]" {
		t.Errorf("the policies are %+v", list)
	}
}

// TestAnIdentityLivesItsLife makes an identity, gives it access, assigns it to an app,
// and deletes it after reading what breaks. Scripts are off.
func TestAnIdentityLivesItsLife(t *testing.T) {
	p := start(t)
	withVault(t, p)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.press(`header a[href="/portal/identities"]`)
	b.see("readers")
	b.press(`main a[href="/portal/identities/new"]`)
	within(b, chromedp.SetValue("#name", "-not-a-name"))
	b.press(`main form button.main`)
	b.see("begin with a letter or digit")
	within(b, chromedp.SetValue("#name", "readers"))
	b.press(`main form button.main`)
	b.see("It was not touched")
	within(b, chromedp.SetValue("#name", "billing"))
	within(b, chromedp.SetValue("#group", "money"))
	b.press(`main form button.main`)
	b.see("Assign it to apps")
	b.see("No app has it")
	id := p.Subscription() + "/resourceGroups/money/providers/Microsoft.ManagedIdentity/userAssignedIdentities/billing"
	var made struct{ Properties struct{ PrincipalID string } }
	p.Do(t, http.MethodGet, id+"?api-version=2023-01-31", nil, &made)
	b.press(`form[action$="/roles/add"] button`)
	b.see("The role is given")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/identity")
	within(b, chromedp.SetValue("#assign", id))
	b.press(`form[action$="/assign"] button`)
	b.see("has the identity")
	within(b, chromedp.SetValue("#reads", id))
	b.press(`form[action$="/reads"] button`)
	b.see("read with the chosen identity")
	b.visit(p.Cred.Endpoint + "/portal/identities?q=bill")
	b.see("orders")
	b.see("Key Vault Secrets User")
	b.press(`tbody a[href="/portal/identities/money/billing"]`)
	b.see("references to secrets")
	b.press(`a[href$="/billing/delete"]`)
	for _, text := range []string{"What will stop working", "orders", "references to secrets", "Key Vault Secrets User"} {
		b.see(text)
	}
	b.press(`main form button.danger`)
	b.see("is deleted, with its roles")
	if _, scopes := assignments(t, p, made.Properties.PrincipalID); len(scopes) != 0 {
		t.Errorf("roles are left at %v", scopes)
	}
	b.visit(p.Cred.Endpoint + "/portal/identities/money/billing")
	b.see("Not found")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/identity")
	b.see("was deleted")
}

// TestPagesOfAccessReadWell looks at the pages of identities, and at the question of
// what is given.
func TestPagesOfAccessReadWell(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"identities-none", "/portal/identities", "no user-assigned identity"}, look{"identity-new", "/portal/identities/new", "Make the identity"})
	vault := withVault(t, p)
	readers := p.Subscription() + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/readers"
	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{
		"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": map[string]any{readers: map[string]any{}}}}, &site)
	give := func(secret string) string {
		return "/portal/access/give?" + url.Values{"vault": {vault}, "secret": {secret}, "role": {"Key Vault Secrets User"}, "principal": {site.Identity.PrincipalID}, "back": {"/portal/"}}.Encode()
	}
	lookAt(t, b, p, look{"identities", "/portal/identities", "readers"}, look{"identities-nothing", "/portal/identities?q=" + url.QueryEscape(hostile), "No identity has"},
		look{"identity-one", "/portal/identities/rg/readers", "Assigned to"}, look{"identity-delete", "/portal/identities/rg/readers/delete", "What will stop working"},
		look{"give", give("db"), "Only the secret"}, look{"give-vault", give(""), "All secrets in"},
		look{"identity-mend", "/portal/apps/rg/orders/identity?vault=lab&secret=db&principal=" + site.Identity.PrincipalID, "Give it what is missing"})
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	lookAt(t, b, p, look{"give-chinese", give("db"), "只限"}, look{"identities-chinese", "/portal/identities", "身分識別"})
}
