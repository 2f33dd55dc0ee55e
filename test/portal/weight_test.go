package portal_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// maxWeight bounds the first page with all that it needs, in bytes as they are sent.
const maxWeight = 100 << 10

// TestTheFirstPageIsLight opens the first page full of apps in a browser that has
// nothing of it: it weighs little, and what it needs is named in the page itself, so
// that nothing waits for more than one answer before it.
func TestTheFirstPageIsLight(t *testing.T) {
	p := start(t)
	for i := range 30 {
		p.CreateApp(t, fmt.Sprintf("app-%d", i), platformtest.Upstream(t, http.NotFoundHandler()))
	}
	b := open(t)
	b.signIn(p)
	for _, call := range []func() error{
		func() error { _, err := chromedp.Call(b.ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(b.ctx, network.ClearBrowserCache, cdp.Empty{}); return err },
	} {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	w := &weight{asked: map[network.RequestID]*network.EventRequestWillBeSent{}, sizes: map[network.RequestID]float64{}}
	each(chromedp.Events(b.ctx, network.RequestWillBeSent), w.begins)
	each(chromedp.Events(b.ctx, network.LoadingFinished), w.ends)
	b.visit(p.Cred.Endpoint + "/portal/")
	b.see("app-0")
	platformtest.Until(t, "all of the page is there", w.whole)
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0.0
	for id, r := range w.asked {
		t.Logf("%7.0f bytes %-12s %-8s %s", w.sizes[id], r.Type, r.Initiator.Type, r.Request.URL)
		total += w.sizes[id]
		if r.Type != network.ResourceTypeEventSource && r.Type != network.ResourceTypeDocument && r.Type != network.ResourceTypeOther && r.Initiator.Type != network.InitiatorTypeParser {
			t.Errorf("%s is asked for by a %s, not by the page", r.Request.URL, r.Initiator.Type)
		}
	}
	t.Logf("%7.0f bytes together", total)
	if total > maxWeight || total < 1000 {
		t.Errorf("the first page weighs %.0f bytes", total)
	}
}

// weight is what a page asks for and how large that is.
type weight struct {
	mu    sync.Mutex
	asked map[network.RequestID]*network.EventRequestWillBeSent
	sizes map[network.RequestID]float64
}

func (w *weight) begins(e network.EventRequestWillBeSent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[e.RequestID] = &e
}

func (w *weight) ends(e network.EventLoadingFinished) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sizes[e.RequestID] = e.EncodedDataLength
}

// whole reports whether everything has come but events, which do not end.
func (w *weight) whole() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.asked {
		if _, ended := w.sizes[id]; !ended && r.Type != network.ResourceTypeEventSource {
			return false
		}
	}
	return len(w.asked) >= 5 // the page, its style, two scripts, an icon
}

// TestPagesCanBeSeenInForcedColors looks at pages as the system colours them: what is
// a button looks like one, and where one is is to be seen.
func TestPagesCanBeSeenInForcedColors(t *testing.T) {
	p := start(t)
	furnish(t, p)
	b := open(t)
	b.signIn(p)
	b.media(&emulation.MediaFeature{Name: "forced-colors", Value: "active"}, &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"})
	for _, pg := range everyPage {
		b.visit(p.Cred.Endpoint + pg.path)
		b.see(pg.says)
		flat := eval[[]string](b, `[...document.querySelectorAll('main button:not(.link), main a.button, .state, .notice, .card, [aria-current=page]')].filter((e) => {
			const s = getComputedStyle(e);
			return e.checkVisibility() && ![s.borderTopWidth, s.borderBottomWidth].some((w) => parseFloat(w) >= 1);
		}).map((e) => e.className + ' ' + e.innerText.slice(0, 40))`)
		if len(flat) > 0 {
			t.Errorf("%s: without an edge: %q", pg.name, flat)
		}
		b.shoot("forced-" + pg.name)
	}
	b.tab("main a")
}

var update = flag.Bool("update", false, "write what a screen reader is told anew")

// silent are parts of a page that say nothing themselves.
var silent = map[string]bool{"generic": true, "StaticText": true, "InlineTextBox": true, "LineBreak": true, "none": true, "paragraph": true, "rowgroup": true, "ListMarker": true, "RootWebArea": true}

// times are in what pages say where there are times, and other things of the day.
var times = regexp.MustCompile(`[A-Z][a-z]{2} \d+, \d{4}, \d+:\d+\s(AM|PM)`)

// told gives what a screen reader is told of the content of the page, by part and name.
func (b *browser) told() string {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	nodes := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range tree.Nodes {
		nodes[n.NodeID] = n
	}
	var out strings.Builder
	within := false
	var say func(n *accessibility.Node, depth int)
	say = func(n *accessibility.Node, depth int) {
		role := text(n.Role)
		switch {
		case role == "main":
			within = true
			defer func() { within = false }()
		case role == "navigation":
			return // every page has it
		}
		if within && !n.Ignored && !silent[role] {
			name := times.ReplaceAllString(isolates.Replace(text(n.Name)), "(time)")
			fmt.Fprintf(&out, "%s%s %s\n", strings.Repeat("  ", depth), role, strings.Join(strings.Fields(name), " "))
			depth++
		}
		for _, id := range n.ChildIDs {
			if c := nodes[id]; c != nil {
				say(c, depth)
			}
		}
	}
	say(tree.Nodes[0], 0)
	return strings.ReplaceAll(out.String(), " \n", "\n")
}

func text(v *accessibility.Value) string {
	var s string
	if v != nil {
		_ = json.Unmarshal(v.Value, &s) // what is no text has no name
	}
	return s
}

// TestAScreenReaderIsToldWhatKeysThereAre compares what the page with the keys of an
// app tells with what was found good. Write it anew with -update, and read it.
func TestAScreenReaderIsToldWhatKeysThereAre(t *testing.T) {
	p := start(t)
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/partner", map[string]any{"properties": map[string]any{"note": "Example Inc.", "expires": "2030-01-31T12:00:00Z"}}, nil)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys")
	b.see("Master key")
	b.press(`form[action$="/host/partner/show"] button`)
	b.has("Hide the value of partner")
	value := within(b, chromedp.Text("code.value", chromedp.NodeVisible))
	got := []byte(strings.ReplaceAll(b.told(), value, "(value)"))
	golden := filepath.Join("testdata", "keys.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("what is told differs (-want +got):\n%s", cmp.Diff(string(want), string(got)))
	}
}
