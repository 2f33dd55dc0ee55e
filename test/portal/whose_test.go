package portal_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestALeakedKeyIsFoundAndReplaced goes from a value that lay somewhere to its end:
// whose key it is, and another value for it while callers change over.
func TestALeakedKeyIsFoundAndReplaced(t *testing.T) {
	p := start(t)
	_, leaked := p.HostKeys(t, "orders")
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/audit")
	b.press(`a[href="/portal/whose"]`)
	b.see("compared and not kept")
	b.ask("nobody's")
	b.see("is no key of the")
	b.ask("https://orders.example/api/hello?code=" + strings.ReplaceAll(leaked, "=", "%3D"))
	b.see("It is a key of this installation")
	if html := within(b, chromedp.OuterHTML("html")); strings.Contains(html, leaked) {
		t.Error("the page has the value")
	}
	b.press(`main a.button[href$="/keys/host/default"]`)
	b.press(`a[href$="/keys/host/default/do/rotate"]`)
	b.press("form button.main")
	b.see("Former values that still work")
	_, after := p.HostKeys(t, "orders")
	for _, value := range []string{leaked, after} {
		if status, _ := p.Call(t, "orders", "/api/hello", value); status != http.StatusOK || after == leaked {
			t.Errorf("during the overlap: %d", status)
		}
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/whose")
	b.ask(leaked)
	b.press(`main th a[href*="/keys/host/default.until-"]`) // a former value is a key of its own
	b.see("former value of")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/endoverlap")
	b.press("form button.danger")
	b.see("are ended")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/whose")
	b.ask(leaked)
	b.see("is no key of the")
	if status, _ := p.Call(t, "orders", "/api/hello", leaked); status != http.StatusUnauthorized {
		t.Errorf("the leaked value at the end: %d", status)
	}
}

// ask asks whose key a value is.
func (b *browser) ask(value string) {
	b.t.Helper()
	within(b, chromedp.SetValue("#value", value, chromedp.NodeVisible))
	b.press("main form button.main")
}

// TestPagesAboutFoundKeysReadWell looks at them before and after the question.
func TestPagesAboutFoundKeysReadWell(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"whose", "/portal/whose", "Paste it"}, look{"whose-app", "/portal/apps/rg/orders/whose", "Only keys of"})
}
