package portal_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// testable runs an app "orders": "hello" echoes what it gets, "order" has parameters in
// its address, "tick" is run by a timer that never comes, and "page" answers with a page
// of somebody who wishes ill.
func testable(t *testing.T) (p *platformtest.Platform, ticks *atomic.Int64) {
	t.Helper()
	patient(t)
	chromium(t)
	ticks = &atomic.Int64{}
	p = platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tick"):
			ticks.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"Outputs":{},"Logs":[]}`))
		case strings.HasSuffix(r.URL.Path, "/page"):
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("X-Hostile", "<img src=x onerror=alert(1)>")
			_, _ = w.Write([]byte(hostile + strings.Repeat("long", 1000)))
		default:
			_, _ = w.Write([]byte(r.Method + " " + r.URL.Path + " says hello, key " + r.Header.Get("X-Functions-Key") + ", x=" + r.URL.Query().Get("x") + ", trace=" + r.Header.Get("X-Trace")))
		}
	}))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello", "page"}, map[string]string{
		"order/function.json": testkit.HTTPFunction("function", `"route":"orders/{id:int}/{line?}","methods":["post","get"]`),
		"tick/function.json":  `{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"0 0 0 1 1 *"}]}`,
	}))
	platformtest.Until(t, "the app serves", func() bool {
		status, _ := p.Call(t, "orders", "/api/hello", "")
		return status == http.StatusUnauthorized
	})
	return p, ticks
}

const functions = "/portal/apps/rg/orders/functions/"

// TestAFunctionIsRunFromItsPage runs one with a key that is picked by name, with a wrong
// one whose refusal is explained, with values in its address, and one of a timer. No
// page and no address has a key, and the record says who ran what.
func TestAFunctionIsRunFromItsPage(t *testing.T) {
	p, ticks := testable(t)
	_, host := p.HostKeys(t, "orders")
	var own map[string]string
	p.Do(t, http.MethodPost, p.Site("orders")+"/functions/hello/listkeys", nil, &own)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + functions + "hello")
	b.press(`.tabs a[href="` + functions + `hello/test"]`)
	b.see("really runs")
	within(b, chromedp.SendKeys("#query", "x=1 & 2"))
	within(b, chromedp.SendKeys("#headers", "X-Trace: abc"))
	b.press("main form button.main")
	b.see("200 OK after")
	b.see("GET /api/hello says hello, key , x=1 & 2, trace=abc")
	b.see("function/default")
	if eval[int](b, `document.querySelectorAll('#ran[role=status] .notice.good').length`) != 1 {
		t.Error("the outcome is not where screen readers hear of it")
	}
	for _, key := range []string{host, own["default"]} {
		if text := eval[string](b, `document.documentElement.outerHTML`); key == "" || strings.Contains(text, key) {
			t.Error("a key is on the page")
		}
	}
	within(b, chromedp.SetValue("#key", "typed"))
	within(b, chromedp.SendKeys("#typed", "nobody's key"))
	b.press("main form button.main")
	b.see("401 Unauthorized")
	b.press(`#ran a[href^="/portal/why?id="]`)
	b.see("is no key of this app")

	b.visit(p.Cred.Endpoint + functions + "order/test")
	within(b, chromedp.SendKeys("#p0", "42"))
	b.press("main form button.main")
	b.see("POST /api/orders/42 says hello")

	b.visit(p.Cred.Endpoint + functions + "tick/test")
	within(b, chromedp.SendKeys("#body", "from the page"))
	b.press("main form button.main")
	b.see("The function was started")
	platformtest.Until(t, "the timer's function runs", func() bool { return ticks.Load() > 0 })

	b.visit(p.Cred.Endpoint + "/portal/audit?action=Latchkey.Platform/portal/run/action")
	for _, says := range []string{"orders/functions/hello", "orders/functions/order", "orders/functions/tick"} {
		b.see(says)
	}
}

// TestAFunctionIsRunWithoutScripts does it with forms only, says what is wrong with what
// was filled in, and keeps the rest of it; a key that was typed is not kept.
func TestAFunctionIsRunWithoutScripts(t *testing.T) {
	p, _ := testable(t)
	_, host := p.HostKeys(t, "orders")
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	b.visit(p.Cred.Endpoint + functions + "order/test")
	within(b, chromedp.SendKeys("#p0", ".."))
	within(b, chromedp.SetValue("#key", "typed"))
	within(b, chromedp.SendKeys("#typed", host))
	b.press("main form button.main")
	b.see("The function was not run")
	within(b, chromedp.SetValue("#p0", "7"))
	b.press("main form button.main")
	b.see("Type a key")
	within(b, chromedp.SendKeys("#typed", host))
	within(b, chromedp.SetValue("#method", "GET"))
	b.press("main form button.main")
	b.see("200 OK after")
	b.see("GET /api/orders/7 says hello")
}

// TestTheURLOfAFunctionIsCopied takes the address with a key from the page, and calls it.
func TestTheURLOfAFunctionIsCopied(t *testing.T) {
	p, _ := testable(t)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + functions + "hello")
	b.press(`a[href="` + functions + `hello/address"]`)
	b.press("main form button.main")
	address := within(b, chromedp.Text("#address", chromedp.NodeVisible))
	at, err := url.Parse(address)
	if err != nil || at.Query().Get("code") == "" {
		t.Fatalf("%q, %v", address, err)
	}
	if status, body := p.Call(t, "orders", at.RequestURI(), ""); status != http.StatusOK || at.Hostname() != "orders.localhost" {
		t.Errorf("%s: %d %s", address, status, body)
	}
	b.visit(p.Cred.Endpoint + "/portal/audit?action=Microsoft.Web/sites/functions/listkeys/action")
	b.see("orders/functions/hello")
}

// TestPagesOfTheConsoleReadWell looks at them, before and after a run.
func TestPagesOfTheConsoleReadWell(t *testing.T) {
	p, _ := testable(t)
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"test", functions + "order/test", "really runs"}, look{"test-timer", functions + "tick/test", "runtime API"},
		look{"function-tabs", functions + "order", "Get function URL"}, look{"function-url", functions + "order/address", "Show the URL"})
	b.press("main form button.main")
	within(b, chromedp.WaitReady("#address"))
	b.check("function-url-shown", axe(t))
	rules := axe(t)
	b.visit(p.Cred.Endpoint + functions + "page/test")
	b.press("main form button.main")
	b.see("200 OK after")
	b.press("#outcome summary")
	b.check("test-answer", rules)
	within(b, chromedp.SetValue("#key", "typed"))
	within(b, chromedp.SendKeys("#typed", "nobody's"))
	b.press("main form button.main")
	b.see("401")
	b.check("test-refused", rules)
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	lookAt(t, b, p, look{"test-chinese", functions + "order/test", "執行"})
}

// axe gives the rules of accessibility.
func axe(t *testing.T) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(packages(t), "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(rules)
}
