package portal_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// look is a page to be looked at: its name, its address below that of the
// installation, and something that it says.
type look struct{ name, path, says string }

// lookAt opens pages, light and dark, wide and narrow, by the rules of axe.
func lookAt(t *testing.T, b *browser, p *platformtest.Platform, pages ...look) {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(packages(t), "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pg := range pages {
		b.visit(p.Cred.Endpoint + pg.path)
		b.see(pg.says)
		b.check(pg.name, string(rules))
	}
}

// withoutScripts switches scripts off: forms and links must be enough.
func (b *browser) withoutScripts() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.t.Fatal(err)
	}
}

// refused calls a function of the app orders and gives the id in the answer.
func refused(t *testing.T, p *platformtest.Platform, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Node.FunctionsAddr()+"/api/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "orders.localhost"
	if key != "" {
		r.Header.Set("X-Functions-Key", key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	id := answer.Header.Get("X-Ms-Request-Id")
	if answer.StatusCode != http.StatusUnauthorized || id == "" {
		t.Fatalf("%d with id %q", answer.StatusCode, id)
	}
	return id
}

// TestWhyACallerGets401IsSeen goes from the id in an answer to the reason in words,
// mends what is wrong from there, and the caller gets in. Scripts are off.
func TestWhyACallerGets401IsSeen(t *testing.T) {
	p := start(t)
	_, key := p.HostKeys(t, "orders")
	p.Do(t, http.MethodPost, p.Site("orders")+"/host/default/functionKeys/default/disable", nil, nil)
	id := refused(t, p, key)
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.press(`header a[href="/portal/audit"]`)
	b.see("Audit record")
	b.press(`main a[href="/portal/why"]`)
	within(b, chromedp.SendKeys("#id", id))
	b.press("main form button")
	b.see("is right, but it is disabled")
	b.see("Enable the key")
	b.press(`a[href="/portal/apps/rg/orders/keys/host/default"]`)
	b.press(`a[href$="/do/enable"]`)
	b.press("main form button.main")
	b.see("is enabled")
	if status, _ := p.Call(t, "orders", "/api/hello", key); status != http.StatusOK {
		t.Errorf("after the key was enabled: %d", status)
	}
	for presented, says := range map[string]string{"": "had no key", "nobody's": "is no key of this app"} {
		b.visit(p.Cred.Endpoint + "/portal/why?id=" + refused(t, p, presented))
		b.see(says)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	b.see("Refused lately")
	b.press(`#status a[href^="/portal/why?id="]`)
	b.see("The decision")
	b.visit(p.Cred.Endpoint + "/portal/why?id=" + url.QueryEscape(hostile))
	b.see("Nothing is known of this id")
}

// TestTheRecordIsFilteredVerifiedAndExported narrows the list, pages through it, and
// has the chain checked; the export is what the API exports.
func TestTheRecordIsFilteredVerifiedAndExported(t *testing.T) {
	p := start(t)
	refused(t, p, "")
	const principals = "/providers/Latchkey.Directory/principals"
	p.Do(t, http.MethodPost, principals, map[string]any{"name": "clerk"}, nil)
	for range 60 {
		p.HostKeys(t, "orders")
		p.Do(t, http.MethodPost, p.Site("orders")+"/host/default/listkeys", nil, nil)
	}
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/audit")
	b.press("#filter-h")
	within(b, chromedp.SetValue("#category", "Denied"))
	within(b, chromedp.SendKeys("#scope", "orders"))
	b.press("details form button.main")
	b.see("key: noKey")
	if text := b.text(); strings.Contains(text, "listkeys") {
		t.Errorf("the filter lets others through:\n%s", text)
	}
	b.visit(p.Cred.Endpoint + "/portal/audit?action=Microsoft.Web/sites/host/listkeys/action")
	b.press(`a[rel="next"]`)
	b.see("Newest")
	b.press(`nav.pages a:not([rel])`)
	b.see("Older")
	b.visit(p.Cred.Endpoint + "/portal/audit?principal=nobody+of+this+name")
	b.see("Nobody has this name")
	b.visit(p.Cred.Endpoint + "/portal/audit?from=yesterday")
	b.see("cannot be used as it is")
	b.press(`form[action="/portal/audit/verify"] button`)
	b.see("The record is whole")
	got := eval[string](b, `fetch('/portal/audit/export').then(r => r.headers.get('Content-Disposition') + '\n' + r.status + '\n').then(async h => h + await (await fetch('/portal/audit/export')).text())`)
	if !strings.HasPrefix(got, `attachment; filename="audit-`) || strings.Count(got, "\n") < 50 {
		t.Errorf("the export is %.300s", got)
	}
}

// TestPagesOfTheRecordReadWell looks at them, also in Chinese and with nothing found.
func TestPagesOfTheRecordReadWell(t *testing.T) {
	p := start(t)
	id := refused(t, p, "nobody's")
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"audit", "/portal/audit", "Verify the chain"}, look{"audit-filtered", "/portal/audit?category=Denied&scope=orders", "Refused"},
		look{"audit-nothing", "/portal/audit?action=nothing", "No event fits"}, look{"audit-bad", "/portal/audit?principal=" + url.QueryEscape(hostile), "Nobody has this name"},
		look{"why-empty", "/portal/why", "Without an id"}, look{"why", "/portal/why?id=" + id, "is no key of this app"}, look{"why-unknown", "/portal/why?id=" + url.QueryEscape(hostile), "Nothing is known"},
		look{"overview-refused", "/portal/apps/rg/orders", "Refused lately"})
	b.press(`button[lang="zh-TW"]`)
	lookAt(t, b, p, look{"audit-chinese", "/portal/audit", "稽核記錄"}, look{"why-chinese", "/portal/why?id=" + id, "不是此應用程式的金鑰"})
}
