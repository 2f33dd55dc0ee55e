package portal_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// startTelling is start with an app whose function "hello" says what the variables of
// its worker's environment are.
func startTelling(t *testing.T, names ...string) *platformtest.Platform {
	t.Helper()
	patient(t)
	chromium(t)
	p := platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var told []string
		for _, name := range names {
			told = append(told, name+"="+r.Header.Get(testkit.TellHeader+name))
		}
		_, _ = io.WriteString(w, strings.Join(told, " "))
	}))
	p.CreateApp(t, "orders", up)
	settings(t, p, func(all map[string]string) { all[testkit.TellSetting] = strings.Join(names, ",") })
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	return p
}

// settings changes the app's settings by the management API and gives what they were.
func settings(t *testing.T, p *platformtest.Platform, change func(map[string]string)) map[string]string {
	t.Helper()
	var s struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/config/appsettings/list", nil, &s)
	if change != nil {
		change(s.Properties)
		p.Do(t, http.MethodPut, p.Site("orders")+"/config/appsettings", s, nil)
	}
	return s.Properties
}

// says waits until the app's function says something.
func says(t *testing.T, p *platformtest.Platform, want string) {
	t.Helper()
	_, key := p.HostKeys(t, "orders")
	platformtest.Until(t, "the app says "+want, func() bool {
		status, body, err := p.TryCall(t.Context(), "orders", "/api/hello", key)
		return err == nil && status == http.StatusOK && body == want
	})
}

// secretReads counts the reads of settings in the audit record.
func secretReads(t *testing.T, p *platformtest.Platform) int {
	t.Helper()
	var answer struct{ Value []map[string]any }
	p.Do(t, http.MethodGet, "/providers/Latchkey.Audit/events?"+url.Values{"action": {"Microsoft.Web/sites/config/list/action"}, "category": {"SecretRead"}}.Encode(), nil, &answer)
	return len(answer.Value)
}

// TestASettingIsAddedChangedAndDeleted with the effect on what the app gets. Values are
// hidden until somebody asks for them, which is recorded; what cannot be is refused with
// its reason, and what was filled in stays. Scripts are off.
func TestASettingIsAddedChangedAndDeleted(t *testing.T) {
	p := startTelling(t, "GREETING")
	settings(t, p, func(all map[string]string) { all["HIDDEN"] = "a-hidden-value" })
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	at := p.Cred.Endpoint + "/portal/apps/rg/orders/configuration"
	before := secretReads(t, p)
	b.visit(at)
	b.see("HIDDEN")
	if strings.Contains(within(b, chromedp.OuterHTML("main")), "a-hidden-value") || secretReads(t, p) != before {
		t.Error("the page has values that nobody asked for")
	}
	b.press(`form[action$="/configuration/show"] button`)
	b.see("a-hidden-value")
	if n := secretReads(t, p); n != before+1 {
		t.Errorf("%d reads are recorded, want %d", n, before+1)
	}

	b.press(`a[href$="/configuration/add"]`)
	b.see("A change restarts the app")
	within(b, chromedp.SendKeys("#name", "not=a name"))
	within(b, chromedp.SendKeys("#value", "hello"))
	b.press("main form button.main")
	b.see("is no name of a setting")
	if kept := within(b, chromedp.Value("#value")); kept != "hello" {
		t.Errorf("what was filled in is %q", kept)
	}
	within(b, chromedp.SetValue("#name", "HIDDEN"))
	b.press("main form button.main")
	b.see("already. It was not touched")
	within(b, chromedp.SetValue("#name", "GREETING"))
	b.press("main form button.main")
	b.see("GREETING is saved. The app restarts with it.")
	says(t, p, "GREETING=hello")

	b.press(`a[href$="/settings/GREETING/edit"]`)
	b.see("The present value is not shown")
	b.press(`form[action$="/value"] button`)
	if kept := within(b, chromedp.Value("#value")); kept != "hello" {
		t.Errorf("the present value is shown as %q", kept)
	}
	within(b, chromedp.SetValue("#value", "hello again"))
	b.press("main form button.main")
	b.see("GREETING is saved")
	says(t, p, "GREETING=hello again")

	b.press(`a[href$="/settings/GREETING/delete"]`)
	b.see("its value is lost")
	b.press("main form button.danger")
	b.see("GREETING is deleted")
	says(t, p, "GREETING=")
	if all := settings(t, p, nil); all["HIDDEN"] != "a-hidden-value" || all["GREETING"] != "" {
		t.Errorf("the settings are %v", all)
	}
}

// TestNoneOfTwoWhoChangeSettingsLosesWhatTheOtherDid: who comes second is told who was
// first, keeps what was filled in, and saves it again beside the other's.
func TestNoneOfTwoWhoChangeSettingsLosesWhatTheOtherDid(t *testing.T) {
	p := startTelling(t, "GREETING")
	settings(t, p, func(all map[string]string) { all["GREETING"] = "first" })
	at := p.Cred.Endpoint + "/portal/apps/rg/orders/configuration"
	one, two := open(t), open(t)
	one.signIn(p)
	two.useLink(admit(t, p, "robin", contributor, p.Site("orders")))
	one.visit(at + "/settings/GREETING/edit")
	two.visit(at + "/add")
	within(two, chromedp.SendKeys("#name", "OTHER"))
	within(two, chromedp.SendKeys("#value", "of robin's"))
	within(one, chromedp.SendKeys("#value", "of the owner's"))
	two.press("main form button.main")
	two.see("OTHER is saved")
	one.press("main form button.main")
	one.see("Nothing of yours was saved")
	one.see("robin changed settings")
	one.shoot("setting-conflict")
	if all := settings(t, p, nil); all["GREETING"] != "first" || all["OTHER"] != "of robin's" {
		t.Errorf("the settings are %v", all)
	}
	one.press("main form button.main")
	one.see("GREETING is saved")
	if all := settings(t, p, nil); all["GREETING"] != "of the owner's" || all["OTHER"] != "of robin's" {
		t.Errorf("the settings are %v", all)
	}
	one.visit(at + "/settings/OTHER/delete")
	two.visit(at + "/settings/OTHER/edit")
	within(two, chromedp.SendKeys("#value", "newer"))
	two.press("main form button.main")
	two.see("OTHER is saved")
	one.press("main form button.danger")
	one.see("Nothing of yours was saved")
	if all := settings(t, p, nil); all["OTHER"] != "newer" {
		t.Errorf("the settings are %v", all)
	}
	two.visit(at + "/settings/OTHER/edit")
	one.press("main form button.danger")
	one.see("OTHER is deleted")
	within(two, chromedp.SendKeys("#value", "newest"))
	two.press("main form button.main")
	two.see("Nothing of yours was saved")
	two.press("main form button.main")
	two.see("OTHER is saved")
	says(t, p, "GREETING=of the owner's")
}

// TestARedReferenceIsMended from the form that makes it: the secret is missing, which
// the page says, with what to do; once it is made the reference is green, and the app
// has the value. Then the right to read it is taken away: the page says so, the app
// keeps its value, and who gives the right again from there mends that too. What became
// of it all is told.
func TestARedReferenceIsMended(t *testing.T) {
	p := startTelling(t, "LATE")
	vault := withVault(t, p)
	const officer, reads = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "4633458b-17de-408a-b874-0445c86b69e6"
	give := func(id, role, principal string) string {
		path := vault + "/providers/Microsoft.Authorization/roleAssignments/" + id
		p.Do(t, http.MethodPut, path+"?api-version=2022-04-01", map[string]any{"properties": map[string]any{
			"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal}}, nil)
		return path
	}
	give("00000000-0000-4000-8000-000000000001", officer, ownerID(t, p))
	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, &site)
	role := give("00000000-0000-4000-8000-000000000002", reads, site.Identity.PrincipalID)

	b := open(t)
	b.signIn(p)
	at := p.Cred.Endpoint + "/portal/apps/rg/orders/configuration"
	b.visit(at + "/reference")
	b.see("Those that you may see are offered")
	b.shoot("reference-vault")
	if offered := eval[string](b, `document.querySelector('#vaults option').value`); offered != "lab" {
		t.Errorf("offered is %s", offered)
	}
	within(b, chromedp.SendKeys("#vault", "lab"))
	b.press(`main form[method="get"] button`)
	b.see("Those in the vault are offered")
	within(b, chromedp.SendKeys("#name", "LATE"))
	within(b, chromedp.SendKeys("#secret", "late")) // not there yet
	b.press(`main form[method="post"] button.main`)
	b.see("LATE is saved")
	b.see("No such secret")
	b.see("Check the secret's name, or set it in the vault.")
	says(t, p, "LATE=@Microsoft.KeyVault(VaultName=lab;SecretName=late)")

	b.press(`main a.button[href="/portal/vaults/rg/lab"]`)
	within(b, chromedp.SendKeys("#name", "late"))
	within(b, chromedp.SendKeys("#value", "better-late"))
	b.press(`form[action$="/add"] button`)
	b.see("has a new version")
	b.visit(at + "/references/appsettings/LATE")
	b.see("Resolved") // by itself, or:
	b.press(`form[action$="/refresh"] button`)
	b.see("were read again")
	if n := eval[int](b, `document.querySelectorAll('#reference dl ~ *, #reference table tbody tr').length`); n < 2 {
		t.Errorf("%d changes are told", n)
	}
	says(t, p, "LATE=better-late")

	p.Do(t, http.MethodDelete, role+"?api-version=2022-04-01", nil, nil)
	platformtest.Until(t, "the vault refuses", func() bool {
		b.visit(at + "/references/appsettings/LATE")
		b.press(`form[action$="/refresh"] button`)
		b.see("were read again")
		return strings.Contains(b.text(), "The vault refuses the identity")
	})
	b.see("The app goes on with the last good value")
	says(t, p, "LATE=better-late")
	b.shoot("reference-denied")
	b.press(`main a.button[href^="/portal/access/give"]`)
	b.press("main form button.main")
	b.see("How it stands")
	platformtest.Until(t, "the vault gives it again", func() bool {
		b.visit(at + "/references/appsettings/LATE")
		b.press(`form[action$="/refresh"] button`)
		b.see("were read again")
		return eval[int](b, `document.querySelectorAll('#reference section:first-child .state.good').length`) == 1
	})
	told := eval[string](b, `[...document.querySelectorAll('#reference tbody tr td:nth-child(2)')].map(e => e.innerText.replace(/\s+/g, ' ').trim()).join(', ')`)
	if want := "✓ Resolved, ✗ The vault refuses the identity, ✓ Resolved, ✗ No such secret"; told != want {
		t.Errorf("what became of it: %s, want %s", told, want)
	}
	b.shoot("reference-mended")
}

// TestPagesOfTheConfigurationReadWell looks at them, in both languages and also for
// somebody who may read no settings.
func TestPagesOfTheConfigurationReadWell(t *testing.T) {
	p := start(t)
	withVault(t, p)
	furnish(t, p)
	b := open(t)
	b.signIn(p)
	const at = "/portal/apps/rg/orders/configuration"
	lookAt(t, b, p, look{"configuration-names", at, "New setting"}, look{"setting-new", at + "/add", "name of an environment variable"},
		look{"setting-change", at + "/settings/GREETING/edit", "not shown"}, look{"setting-delete", at + "/settings/FUNCTIONS_WORKER_RUNTIME/delete", "value is lost"},
		look{"setting-warned", at + "/add?name=AzureWebJobsSecretStorageType", "access keys are kept"},
		look{"setting-reference", at + "/reference", "Next: the secret"}, look{"setting-reference-secret", at + "/reference?vault=lab&name=NEW", "Secret in"},
		look{"setting-reference-change", at + "/reference?name=DB_PASSWORD", "Secret in"},
		look{"reference", at + "/references/appsettings/DB_PASSWORD", "How it stands"}, look{"reference-syntax", at + "/references/appsettings/BROKEN", "Not a valid reference"})
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	lookAt(t, b, p, look{"configuration-chinese", at, "新增設定"}, look{"reference-chinese", at + "/references/appsettings/DB_PASSWORD", "至今的變化"})
	other := open(t)
	other.useLink(admit(t, p, "robin", reader, p.Site("orders")))
	lookAt(t, other, p, look{"configuration-reader", at, "Your roles do not let you read the settings"})
}
