package portal_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// focused describes what has the focus: something to recognise it by, its name, and
// whether it can be seen that it has.
type focused struct {
	Match   bool
	Name    string
	Outline float64
	Seen    bool
}

// tab presses Tab until what a selector finds has the focus. Each stop on the way must
// show that it has it, and lie within the window.
func (b *browser) tab(selector string) {
	b.t.Helper()
	var stops []string
	for range 120 {
		within(b, chromedp.KeyEvent(kb.Tab))
		at := eval[focused](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			const x = r.left + r.width/2, y = r.top + r.height/2, top = document.elementFromPoint(x, y);
			return {
				Match: e.matches(`+fmt.Sprintf("%q", selector)+`), Name: (e.getAttribute('aria-label') || e.innerText || e.tagName).slice(0, 40),
				Outline: s.outlineStyle === 'none' ? 0 : parseFloat(s.outlineWidth),
				Seen: r.width > 0 && r.height > 0 && r.bottom > 0 && r.top < innerHeight && (top === null || e.contains(top) || top.contains(e)),
			};
		})()`)
		if at.Name == "BODY" {
			continue // between the end of the page and its beginning
		}
		stops = append(stops, at.Name)
		if at.Outline < 2 || !at.Seen {
			b.t.Errorf("on %s, the focus on %q is not to be seen: %+v", b.where(), at.Name, at)
		}
		if at.Match {
			return
		}
	}
	b.t.Fatalf("no Tab gets to %s on %s; the stops are %q", selector, b.where(), stops)
}

// strike presses Enter.
func (b *browser) strike() {
	b.t.Helper()
	within(b, chromedp.KeyEvent(kb.Enter))
}

// TestAKeyIsRenewedWithTheKeyboardAlone signs in, finds the app, renews a key and
// takes its value with Tab and Enter; the value opens the function. The focus is never
// lost: it stays where a value is shown and hidden.
func TestAKeyIsRenewedWithTheKeyboardAlone(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	b := open(t)
	b.visit(link(t, p))
	b.see("signs you in as")
	b.tab("main button")
	b.strike()
	b.see("Worth a look")
	b.tab(`a[href="/portal/apps/rg/orders"]`)
	b.strike()
	b.see("Instances")
	b.tab(`a[href="/portal/apps/rg/orders/keys"]`)
	b.strike()
	b.see("Master key")
	b.tab(`a[href$="/keys/host/default/do/renew"]`)
	b.strike()
	b.see("Renew and save")
	b.tab("form button.danger")
	b.strike()
	b.see("has a new value")
	b.tab(`form[action$="/host/default/show"] button`)
	b.strike()
	value := within(b, chromedp.Text("code.value", chromedp.NodeVisible))
	if status, _ := p.Call(t, "orders", "/api/hello", value); status != http.StatusOK || value == before {
		t.Errorf("with the new key: %d", status)
	}
	if status, _ := p.Call(t, "orders", "/api/hello", before); status != http.StatusUnauthorized {
		t.Errorf("with the key before: %d", status)
	}
	b.has("Hide the value of default")
	b.strike()
	b.has("Show the value of default")
	if text := b.text(); strings.Contains(text, value) {
		t.Error("the value is still shown")
	}
}

// isolates removes what keeps the direction of a name from turning what is around it.
var isolates = strings.NewReplacer("\u2068", "", "\u2069", "")

// has waits until what has the focus has a name.
func (b *browser) has(name string) {
	b.t.Helper()
	const focus = `document.activeElement ? document.activeElement.getAttribute('aria-label') || document.activeElement.tagName : ''`
	platformtest.Until(b.t, "the focus is on: "+name, func() bool { return isolates.Replace(eval[string](b, focus)) == name })
}

// media makes the browser prefer something.
func (b *browser) media(features ...*emulation.MediaFeature) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
}

// long has names as long as they may be, some of which read from right to left. It
// gives the pages that show them.
func long(t *testing.T, p *platformtest.Platform) []look {
	t.Helper()
	app, function := "a"+strings.Repeat("b", 58)+"c", "f"+strings.Repeat("unction", 18)
	up := platformtest.Upstream(t, http.NotFoundHandler())
	p.CreateApp(t, app, up)
	p.Deploy(t, app, platformtest.Package(t, []string{function}, nil))
	platformtest.Until(t, "the functions are known", func() bool {
		var list struct{ Value []any }
		p.Do(t, http.MethodGet, p.Site(app)+"/functions", nil, &list)
		return len(list.Value) > 0
	})
	key := strings.Repeat("مفتاح", 20)
	p.Do(t, http.MethodPut, p.Site(app)+"/host/default/functionKeys/"+url.PathEscape(key), map[string]any{"properties": map[string]any{"note": strings.Repeat("שלום-", 40), "owner": strings.Repeat("w", 200)}}, nil)
	p.Do(t, http.MethodPut, p.Site(app)+"/functions/"+function+"/keys/"+strings.Repeat("k", 110), map[string]any{}, nil)
	at := "/portal/apps/rg/" + app
	return []look{
		{"long-home", "/portal/", app}, {"long-overview", at, "Instances"}, {"long-keys", at + "/keys", "Master key"}, {"long-functions", at + "/functions", function},
		{"long-function", at + "/functions/" + function, function}, {"long-function-keys", at + "/functions/" + function + "/keys", "kkkk"},
		{"long-key", at + "/keys/host/" + key, "www"}, {"long-renew", at + "/keys/host/" + key + "/do/renew", "Renew and save"}, {"long-configuration", at + "/configuration", "App settings"},
	}
}

// measured is what is wrong with how a page is laid out.
type measured struct {
	Over   float64  // pixels that it is wider than the window
	Small  []string // texts that are smaller than 16 pixels
	Long   []string // texts with lines that are too long to read
	Close  []string // buttons that touch or overlap
	Cut    []string // texts that do not fit into what they are in
	Moving []string // what moves by itself
}

// measure looks at the page as it is laid out.
const measure = `(() => {
	const out = {Over: document.documentElement.scrollWidth - document.documentElement.clientWidth, Small: [], Long: [], Close: [], Cut: [], Moving: []};
	const words = (e) => (e.innerText || '').trim().slice(0, 60);
	const shown = (e) => e.checkVisibility() && !e.closest('.hidden, thead, .skip') && e.getClientRects().length > 0;
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = walk.nextNode();) {
		const e = n.parentElement;
		if (!n.data.trim() || !shown(e)) continue;
		const size = parseFloat(getComputedStyle(e).fontSize);
		if (size < 15.99) out.Small.push(size + ' ' + n.data.trim().slice(0, 40));
	}
	for (const e of document.querySelectorAll('p, li, dd, td, th, label, .hint, small')) {
		const text = (e.innerText || '').trim();
		if (!shown(e) || text.length < 115 || !/\s/.test(text) || e.querySelector('p, li, dd, td, table, ul, form')) continue;
		const box = document.createRange();
		box.selectNodeContents(e);
		const rows = new Set([...box.getClientRects()].map((r) => Math.round(r.top / 8))).size;
		if (text.length / rows > 115) out.Long.push(Math.round(text.length / rows) + ' in a line: ' + words(e));
	}
	const targets = [...document.querySelectorAll('main button, main a.button, main input:not([type=hidden]), main select')].filter(shown);
	for (let i = 0; i < targets.length; i++) {
		const a = targets[i].getBoundingClientRect();
		if (targets[i].scrollWidth > targets[i].clientWidth + 1 && targets[i].tagName !== 'INPUT') out.Cut.push(words(targets[i]));
		for (let j = i + 1; j < targets.length; j++) {
			const b = targets[j].getBoundingClientRect();
			if (a.left < b.right + 3 && b.left < a.right + 3 && a.top < b.bottom + 3 && b.top < a.bottom + 3) out.Close.push(words(targets[i]) + ' | ' + words(targets[j]));
		}
	}
	for (const e of document.querySelectorAll('main *')) {
		const r = e.getBoundingClientRect();
		if (shown(e) && r.right > document.documentElement.clientWidth + 1 && !e.closest('.scroll')) out.Cut.push(e.tagName + ' ' + words(e));
	}
	for (const a of document.getAnimations()) out.Moving.push(String(a.effect && a.effect.target && a.effect.target.tagName));
	return out;
})()`

// TestPagesFitEveryWindow lays every page out in windows from 320 pixels to 4K, one of
// them zoomed to 200 percent, with names as long as they may be: nothing is wider than
// the window, texts are large enough and lines short enough to be read, buttons do not
// touch, and nothing moves after a page was shown.
func TestPagesFitEveryWindow(t *testing.T) {
	p := start(t)
	furnish(t, p)
	b := open(t)
	b.signIn(p)
	b.media(&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	app := "/portal/apps/rg/orders"
	pages := append(long(t, p), look{"look", "/portal/look", "Worth a look"}, look{"whose", "/portal/whose", "Find out"}, look{"why", "/portal/why?id=none", "Nothing is known"},
		look{"audit", "/portal/audit", "Events"}, look{"vaults", "/portal/vaults", "Vaults"}, look{"identities", "/portal/identities", "Identities"}, look{"containers", "/portal/containers", "Container apps"},
		look{"test", app + "/functions/hello/test", "Run"}, look{"identity", app + "/identity", "own identity"}, look{"key-store", app + "/keystore", "Check now"}, look{"logs", app + "/logs", "What the app writes"})
	for _, pg := range everyPage {
		pages = append(pages, look(pg))
	}
	for _, window := range []struct {
		name          string
		width, height int64
		scale         float64
		large         bool // texts are at least 16 pixels
	}{
		{"320", 320, 640, 1, true}, {"390", 390, 844, 1, true}, {"zoom", 640, 450, 2, true}, {"1280", 1280, 900, 1, false}, {"4k", 3840, 2160, 1, true},
	} {
		within(b, chromedp.EmulateViewport(window.width, window.height, chromedp.EmulateScale(window.scale)))
		for _, pg := range pages {
			b.visit(p.Cred.Endpoint + pg.path)
			b.see(pg.says)
			m := eval[measured](b, measure)
			at := pg.name + " at " + window.name
			if m.Over > 0 || len(m.Long)+len(m.Close)+len(m.Cut)+len(m.Moving) > 0 || window.large && len(m.Small) > 0 {
				t.Errorf("%s: %+v", at, m)
			}
			b.still(at)
			if strings.HasPrefix(pg.name, "long-") || window.name == "4k" {
				b.shoot("window-" + window.name + "-" + pg.name)
			}
		}
	}
}

// still finds fault with a page that moved after it was shown, by itself.
func (b *browser) still(at string) {
	b.t.Helper()
	moved := eval[[]string](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(window.__moved || []))))`)
	if len(moved) > 0 {
		b.t.Errorf("%s: moved after it was shown: %q", at, moved)
	}
}

// TestTimesAreTheViewers shows times in the viewer's zone, and takes them in it.
func TestTimesAreTheViewers(t *testing.T) {
	p := start(t)
	furnish(t, p)
	b := open(t)
	b.signIn(p)
	if _, err := chromedp.Call(b.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Taipei"}); err != nil {
		t.Fatal(err)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/partner")
	b.see("Jan 31, 2030, 8:00")
	if said := eval[string](b, `document.querySelector('time[datetime^="2030"]').title`); said != "2030-01-31T12:00:00Z" {
		t.Errorf("the time in UTC is given as %q", said)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/expire")
	eval[any](b, `document.querySelector('#at').value = '2031-03-01T09:30', null`)
	b.press("form button.danger")
	b.see("Mar 1, 2031, 9:30")
	if said := eval[string](b, `document.querySelector('time[datetime^="2031"]').dateTime`); said != "2031-03-01T01:30:00Z" {
		t.Errorf("the end is %q", said)
	}
}
