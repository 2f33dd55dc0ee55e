package portal_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// hostile is a name as strangers choose them: it would be an element, ends
// attributes, and turns the direction of what follows.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>' ` + "\u202e" + `{{.}} مرحبا`

// furnish gives the app what pages show: references that do not resolve, and keys of
// every kind with hostile notes.
func furnish(t *testing.T, p *platformtest.Platform) {
	t.Helper()
	site := p.Site("orders")
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, site+"/config/appsettings/list", nil, &settings)
	settings.Properties["DB_PASSWORD"] = "@Microsoft.KeyVault(VaultName=lab;SecretName=db)"
	settings.Properties["BROKEN"] = "@Microsoft.KeyVault(<script>alert(3)</script>)"
	settings.Properties["GREETING"] = hostile
	p.Do(t, http.MethodPut, site+"/config/appsettings", settings, nil)
	key := func(path string, properties map[string]any) {
		p.Do(t, http.MethodPut, site+path, map[string]any{"properties": properties}, nil)
	}
	key("/host/default/functionKeys/partner", map[string]any{"note": hostile, "owner": hostile, "expires": "2030-01-31T12:00:00Z", "methods": []string{"GET"}})
	key("/host/default/functionKeys/"+url.PathEscape("a<b>&'c"), map[string]any{"note": "odd name"})
	key("/host/default/systemKeys/queue_extension", map[string]any{"note": "for the queue"})
	key("/functions/hello/keys/mobile", map[string]any{"note": strings.Repeat("long", 100)})
	p.Do(t, http.MethodPost, site+"/host/default/functionKeys/partner/rotate", map[string]string{"overlap": "7d"}, nil)
	p.Do(t, http.MethodPost, site+"/functions/hello/keys/mobile/disable", nil, nil)
}

// everyPage has a name for each page, with its address below that of the installation.
var everyPage = []struct{ name, path, says string }{
	{"home", "/portal/", "Worth a look"},
	{"home-nothing-found", "/portal/?q=nothing", "No app has"},
	{"overview", "/portal/apps/rg/orders", "Instances"},
	{"functions", "/portal/apps/rg/orders/functions", "hello"},
	{"function", "/portal/apps/rg/orders/functions/hello", "Switch off"},
	{"app-keys", "/portal/apps/rg/orders/keys", "Master key"},
	{"key", "/portal/apps/rg/orders/keys/host/partner", "Former values"},
	{"key-renew", "/portal/apps/rg/orders/keys/host/default/do/renew", "Renew and save"},
	{"key-rotate", "/portal/apps/rg/orders/keys/host/default/do/rotate", "Both values work for"},
	{"key-expire", "/portal/apps/rg/orders/keys/host/partner/do/expire", "Set the end"},
	{"key-delete", "/portal/apps/rg/orders/keys/host/partner/do/delete", "gone for good"},
	{"key-edit", "/portal/apps/rg/orders/keys/host/partner/edit", "Limits"},
	{"key-new", "/portal/apps/rg/orders/keys/add", "Make the key"},
	{"function-keys", "/portal/apps/rg/orders/functions/hello/keys", "mobile"},
	{"configuration", "/portal/apps/rg/orders/configuration", "References to secrets"},
	{"missing", "/portal/apps/rg/none", "Not found"},
}

// violation is a rule of accessibility that a page breaks.
type violation struct {
	ID    string
	Help  string
	Nodes []struct{ HTML string }
}

// TestEveryPageReadsWell opens every page, light and dark, in a wide window and in a
// narrow one: no rule of accessibility is broken, nothing is wider than the window,
// nothing goes wrong on the console, and what strangers wrote stays text.
func TestEveryPageReadsWell(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(packages(t), "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	p := start(t)
	furnish(t, p)
	b := open(t)
	b.visit(p.Cred.Endpoint + "/portal/signin")
	b.check("signin", string(rules))
	b.signIn(p)
	for _, pg := range everyPage {
		b.visit(p.Cred.Endpoint + pg.path)
		b.see(pg.says)
		b.check(pg.name, string(rules))
	}
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`)) // a visit would end the form's way
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys")
	b.see("應用程式金鑰")
	b.check("app-keys-chinese", string(rules))
	b.press(`form[action$="/host/partner/show"] button`)
	b.see("複製")
	b.check("app-keys-shown", string(rules))
	if title := eval[string](b, `document.title`); !strings.Contains(title, "Latchkey") {
		t.Errorf("the title is %q", title)
	}
}

// check looks at the page that is shown.
func (b *browser) check(name, rules string) {
	b.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		for _, window := range []struct {
			name  string
			width int64
		}{{"wide", 1280}, {"narrow", 320}} {
			within(b, chromedp.EmulateViewport(window.width, 900))
			b.shoot(name + "-" + theme + "-" + window.name)
			if over := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				b.t.Errorf("%s is %d pixels wider than a window of %d", name, over, window.width)
			}
			within(b, chromedp.Evaluate[chromedp.Void](rules))
			found := eval[[]violation](b, `axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)`)
			for _, v := range found {
				b.t.Errorf("%s, %s, %s: %s: %s: %.300v", name, theme, window.name, v.ID, v.Help, v.Nodes)
			}
		}
	}
	if n := eval[int](b, `document.querySelectorAll('main script, main img, main style, [onerror], [style]').length`); n > 0 {
		b.t.Errorf("%s has %d elements that it should not have", name, n)
	}
}
