package portal_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestAContainerAppReadsASecret mends a container app whose secret of a vault is red:
// the page leads to its identity, the check gives what is missing, the app starts and
// answers with the value. Then identities come and go, and the lifecycle of each is
// set; what the platform still uses stays. Scripts are off.
func TestAContainerAppReadsASecret(t *testing.T) {
	p := container(t, nil)
	settled(t, p, "Failed")
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.press(`header a[href="/portal/containers"]`)
	b.press(`tbody a[href="/portal/containers/rg/shop"]`)
	b.see("cannot be read from its vault")
	b.press(`main a[href="/portal/containers/rg/shop/secrets"]`)
	b.see("The vault refuses the identity")
	b.press(`#secrets a[href$="#check"]`)
	b.see("No role of")
	b.press(`#check .notice a.main`)
	b.see("Only the secret")
	b.press(`main form button.main`)
	b.see("Key Vault Secrets User allows it")
	b.press(`main a[href="/portal/containers/rg/shop/secrets"]`)
	b.press(`form[action$="/refresh"] button`)
	b.see("are read anew") // a visit would end the form's way
	settled(t, p, "Succeeded")
	platformtest.Until(t, "the app reads the value", func() bool { return callContainer(t, p) == "first-value" })
	b.visit(p.Cred.Endpoint + "/portal/containers/rg/shop/secrets")
	b.see("Resolved")

	at := p.Cred.Endpoint + "/portal/containers/rg/shop/identity"
	b.visit(at)
	b.press(`form[action$="/assign"] button`)
	b.see("has the identity")
	b.press(`input[name="lifecycle-1"][value="Init"]`)
	b.press(`form[action$="/shop/identity"] button.main`)
	b.see("Which containers of")
	identities := func() string {
		var app struct {
			Identity   any
			Properties struct {
				Configuration struct{ IdentitySettings any }
			}
		}
		p.Do(t, http.MethodGet, box(p), nil, &app)
		return fmt.Sprint(app.Identity, app.Properties.Configuration.IdentitySettings)
	}
	if text := identities(); !strings.Contains(text, "readers") || !strings.Contains(text, "Init") {
		t.Errorf("the identities are %s", text)
	}
	b.visit(p.Cred.Endpoint + "/portal/identities/rg/readers")
	b.see("shop")
	b.visit(at)
	b.press(`a[href*="/identity/remove?"]`)
	b.see("nothing restarts")
	b.press(`main form button.danger`)
	b.see("does not have the identity any more")
	if text := identities(); strings.Contains(text, "readers") {
		t.Errorf("the identities are still %s", text)
	}
	b.press(`a[href$="/system/off"]`)
	b.see("the secret db")
	b.press(`main form button.danger`)
	b.see("This was not done")
	if text := identities(); !strings.Contains(text, "SystemAssigned") {
		t.Errorf("the identities are %s", text)
	}
	p.Do(t, http.MethodPatch, box(p), map[string]any{"properties": map[string]any{"configuration": map[string]any{"secrets": []any{
		map[string]any{"name": "db", "value": "plain"}, map[string]any{"name": "plain", "value": "text"}}}}}, nil)
	b.press(`main form button.danger`)
	b.see("The own identity of")
	b.see("Off")
	b.press(`form[action$="/system/on"] button`)
	b.see("is on")
	if text := identities(); !strings.Contains(text, "SystemAssigned") {
		t.Errorf("the identities are %s", text)
	}
}

// TestPagesOfContainerAppsReadWell looks at every page about an app that does well, and
// about one whose secret cannot be read.
func TestPagesOfContainerAppsReadWell(t *testing.T) {
	p := container(t, func(p *platformtest.Platform, body map[string]any) {
		readers := p.Subscription() + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/readers"
		body["identity"] = map[string]any{"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": map[string]any{readers: map[string]any{}}}
	})
	settled(t, p, "Failed")
	b := open(t)
	b.signIn(p)
	const at = "/portal/containers/rg/shop"
	lookAt(t, b, p, look{"container-list-faulty", "/portal/containers", "Faulty"}, look{"container-faulty", at, "cannot be read from its vault"},
		look{"container-secrets-faulty", at + "/secrets", "The vault refuses"}, look{"container-check", at + "/identity?vault=lab&secret=db", "Give it what is missing"})
	var app struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodGet, box(p), nil, &app)
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/rg/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000007?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6", "principalId": app.Identity.PrincipalID}}, nil)
	p.Do(t, http.MethodPost, box(p)+"/secretReferences/refresh", nil, nil)
	revision := settled(t, p, "Succeeded")
	p.Do(t, http.MethodPatch, box(p), map[string]any{"properties": map[string]any{"template": map[string]any{"revisionSuffix": "two"}}}, nil)
	settled(t, p, "Succeeded")
	lookAt(t, b, p, look{"container-list", "/portal/containers", "Running"}, look{"container-none", "/portal/containers?q=nothing", "No container app has"},
		look{"container", at, "No problem is known"}, look{"container-revisions", at + "/revisions", revision},
		look{"container-revision", at + "/revisions/" + revision, "Measured and target"}, look{"container-identity", at + "/identity", "Which containers may use"},
		look{"container-identity-off", at + "/identity/system/off", "What will stop working"}, look{"container-secrets", at + "/secrets", "Resolved"})
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	lookAt(t, b, p, look{"container-identity-chinese", at + "/identity", "身分識別"})
}
