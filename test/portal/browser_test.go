// Package portal_test witnesses the portal in a real browser: Debian's Chromium,
// driven through its own protocol, against a node with real apps. Where there is no
// Chromium the tests are skipped.
package portal_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

const patience = platformtest.Patience

// require is the environment variable that makes tests fail, not skip, where the
// browser cannot be had.
const require = "LATCHKEY_REQUIRE_WITNESSES"

// thorough is the environment variable that makes all tests run. Without it there is
// one, since browsers take long.
const thorough = "LATCHKEY_TEST_PORTAL"

// smoke is the test that always runs.
const smoke = "TestAKeyIsRenewedInTheBrowser"

// patient skips a test that was not asked for.
func patient(t *testing.T) {
	t.Helper()
	if os.Getenv(thorough) == "" && t.Name() != smoke {
		t.Skip("make test-portal runs it")
	}
}

// browser is a tab of a browser that has its own cookies.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	faults  []string // what pages wrote to the console as errors, blocked content too
	allowed []string // parts of messages that are no faults
}

// chromium gives the program; the test is skipped where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv(require) != "" {
		t.Fatal("there is no Chromium")
	}
	t.Skip("there is no Chromium: install Debian's package chromium")
	return ""
}

// open starts a browser. The installation's authority is not among those that the
// machine trusts, which is all that it is told to overlook.
func open(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.IgnoreCertErrors,
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(patience), chromedp.Flag("lang", "en-US"),
	)
	allocated, free := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(free)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	b := &browser{t: t, ctx: ctx}
	if _, err := chromedp.Run(ctx, chromedp.Navigate("about:blank")); err != nil { // its context is the browser's
		t.Fatalf("Chromium does not start: %v", err)
	}
	reading := []<-chan struct{}{each(chromedp.Console(ctx), b.heard), each(chromedp.Events(ctx, audits.IssueAdded), b.reported)}
	if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end()
		for _, read := range reading {
			select {
			case <-read:
			case <-time.After(patience):
				t.Error("what the browser tells does not end")
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			t.Errorf("on a page: %s", fault)
		}
	})
	return b
}

// watch notes in pages what moved after it was shown, and has it on the console what
// their content policy keeps out.
const watch = `(() => {
	window.__moved = [];
	const name = (s) => s.node ? (s.node.nodeName + '.' + (s.node.className || s.node.id || '') + ' ' + (s.node.textContent || '').trim().slice(0, 30)) : '?';
	new PerformanceObserver((list) => {
		for (const e of list.getEntries()) if (!e.hadRecentInput) window.__moved.push(e.value.toFixed(4) + ' ' + e.sources.map(name).join(', '));
	}).observe({type: 'layout-shift', buffered: true});
	document.addEventListener('securitypolicyviolation', (e) => console.error('content policy: ' + e.violatedDirective + ' ' + e.blockedURI));
})()`

// each calls f with everything that happens, until there is no more.
func each[E any](all iter.Seq2[E, error], f func(E)) <-chan struct{} {
	end := make(chan struct{})
	go func() {
		defer close(end)
		for e, err := range all {
			if err != nil {
				return
			}
			f(e)
		}
	}()
	return end
}

// reported keeps what the content policy kept out and other faults that the browser
// finds with pages.
func (b *browser) reported(e audits.EventIssueAdded) {
	if e.Issue == nil || e.Issue.Code != audits.InspectorIssueCodeContentSecurityPolicyIssue {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf("content policy: %+v", e.Issue.Details.ContentSecurityPolicyIssueDetails))
}

// tolerate makes some messages on the console no faults: those of a test that breaks
// something.
func (b *browser) tolerate(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, text)
}

// heard keeps errors of scripts, and what the content policy keeps out.
func (b *browser) heard(m chromedp.ConsoleMessage) {
	bad := m.IsException() || m.Type == "error"
	// Answers that a test asks for; htmx says them too.
	answer := m.Source == "network" && strings.Contains(m.Text, "status of 4") || strings.HasPrefix(m.Text, "Response Status Error Code 4")
	machine := strings.Contains(m.Text, "ERR_NETWORK_CHANGED") // somebody else's doing
	if bad && !answer && !machine {
		b.mu.Lock()
		defer b.mu.Unlock()
		if slices.ContainsFunc(b.allowed, func(part string) bool { return strings.Contains(m.Text, part) }) {
			return
		}
		b.faults = append(b.faults, m.String()+" "+m.URL)
	}
}

// try does an action within the patience.
func try[T any](b *browser, a chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

// within does an action within the patience.
func within[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	out, err := try(b, a)
	if err != nil {
		b.shoot("failed")
		b.t.Fatalf("%v\nthe page is %s:\n%.2000s", err, b.where(), b.text())
	}
	return out
}

// where gives the address of the page.
func (b *browser) where() string {
	url, _ := try(b, chromedp.Location())
	return url
}

// text gives what the page says; "" while it is on its way.
func (b *browser) text() string {
	text, _ := try(b, chromedp.Evaluate[string](`document.body ? document.body.innerText : ''`))
	return text
}

// eval gives the value of an expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	return within(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// see waits until the page says something.
func (b *browser) see(text string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !strings.Contains(b.text(), text) {
		if time.Now().After(deadline) {
			b.shoot("failed")
			b.t.Fatalf("the page %s does not say %q:\n%.3000s", b.where(), text, b.text())
		}
		time.Sleep(50 * time.Millisecond) // pages change when they like
	}
}

// visit opens an address and waits for its page.
func (b *browser) visit(url string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		_, err := try(b, chromedp.Navigate(url))
		if err == nil {
			break
		}
		if time.Now().After(deadline) || !strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") { // the machine's doing
			b.t.Fatalf("%s: %v", url, err)
		}
	}
	within(b, chromedp.WaitReady("main"))
}

// press clicks what a selector finds and is visible.
func (b *browser) press(selector string) {
	b.t.Helper()
	within(b, chromedp.Click(selector, chromedp.NodeVisible))
}

// theme makes the browser prefer dark or light.
func (b *browser) theme(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// shots is where pictures of pages are left.
func shots() string { return filepath.Join("..", "..", "build", "portal") }

// shoot takes a picture of the whole page.
func (b *browser) shoot(name string) {
	picture, err := try(b, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture of %s: %v", name, err)
		return
	}
	if err := os.MkdirAll(shots(), 0o755); err != nil {
		b.t.Log(err)
		return
	}
	if err := os.WriteFile(filepath.Join(shots(), name+".png"), picture, 0o644); err != nil {
		b.t.Log(err)
	}
}

// start runs a node with an app "orders" whose function "hello" says so.
func start(t *testing.T) *platformtest.Platform {
	t.Helper()
	patient(t)
	chromium(t) // before anything is started for nothing
	p := platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello", "other"}, nil))
	return p
}

// signIn opens a link of the owner's and uses it.
func (b *browser) signIn(p *platformtest.Platform) {
	b.t.Helper()
	b.visit(link(b.t, p))
	b.see("signs you in as")
	b.press("main button")
	b.see("Worth a look")
}

func link(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var answer struct{ URL string }
	p.Do(t, "POST", "/providers/Latchkey.Platform/portal/signInLink", nil, &answer)
	return answer.URL
}

func TestMain(m *testing.M) {
	program()
	testkit.Main(m)
}
