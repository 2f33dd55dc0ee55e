package portal_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// writer is an app "orders" whose function "tick" writes what it is told to.
type writer struct {
	*platformtest.Platform
	t      *testing.T
	master string

	mu     sync.Mutex
	lines  map[string][]string // by function
	served chan struct{}
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	patient(t)
	chromium(t)
	w := &writer{t: t, lines: map[string][]string{}, served: make(chan struct{}, 1)}
	w.Platform = platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		out.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(out).Encode(map[string]any{"Outputs": map[string]any{}, "Logs": w.lines[path.Base(r.URL.Path)]})
		select {
		case w.served <- struct{}{}:
		default:
		}
	}))
	w.CreateApp(t, "orders", up)
	w.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, map[string]string{
		"tick/function.json":  `{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"0 0 0 1 1 *"}]}`,
		"other/function.json": `{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"0 0 0 1 1 *"}]}`,
	}))
	platformtest.Until(t, "the app serves", func() bool {
		status, _ := w.Call(t, "orders", "/api/hello", "")
		return status == http.StatusUnauthorized
	})
	w.master, _ = w.HostKeys(t, "orders")
	return w
}

// write has a function write lines; they are on their way then.
func (w *writer) write(function string, lines ...string) {
	w.t.Helper()
	w.mu.Lock()
	w.lines[function] = lines
	w.mu.Unlock()
	select {
	case <-w.served: // of somebody else
	default:
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.Node.FunctionsAddr()+"/admin/functions/"+function, strings.NewReader(`{"input":""}`))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Host = "orders.localhost"
	r.Header.Set("x-functions-key", w.master)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		w.t.Fatalf("%s: status %d", function, answer.StatusCode)
	}
	select {
	case <-w.served:
	case <-time.After(patience):
		w.t.Fatal("the function does not run")
	}
}

const logPage = "/portal/apps/rg/orders/logs"

// soon fails if a page does not say something within the time that new lines may take.
func (b *browser) soon(text string) {
	b.t.Helper()
	begin := time.Now()
	b.see(text)
	b.t.Logf("%q was there after %s", text, time.Since(begin).Round(10*time.Millisecond))
}

// TestLinesAppearInThePageThatIsOpen has an app write while its page is open: lines of
// the past are there, new ones come, hostile ones are text, and those that came while
// the page was paused are there when it goes on.
func TestLinesAppearInThePageThatIsOpen(t *testing.T) {
	w := newWriter(t)
	w.write("tick", "before anybody looked")
	b := open(t)
	b.signIn(w.Platform)
	b.visit(w.Cred.Endpoint + "/portal/apps/rg/orders")
	b.press(`.tabs a[href="` + logPage + `"]`)
	b.see("before anybody looked")
	b.see("New lines are added")
	w.write("tick", "an order was taken")
	b.soon("an order was taken")
	w.write("tick", "<img src=x onerror=alert(1)><script>alert(2)</script> \x1b[31mred\x1b[0m \u202eevil", "one\ntwo  three", `{{.}} ${alert(3)}`, strings.Repeat("long", 3000)+" ends")
	b.see("<img src=x onerror=alert(1)><script>alert(2)</script> red \uFFFDevil")
	b.see("two  three")
	if n := eval[int](b, `document.querySelectorAll('#log img, #log script').length`); n != 0 {
		t.Errorf("a line became %d elements", n)
	}
	if wide := eval[bool](b, `document.documentElement.scrollWidth > innerWidth`); wide {
		t.Error("a long line makes the page wide")
	}
	b.press("#log-pause")
	b.see("Paused")
	w.write("tick", "while it was paused")
	time.Sleep(time.Second) // more than lines take
	if strings.Contains(b.text(), "while it was paused") {
		t.Error("a line came while the page was paused")
	}
	b.press("#log-pause")
	b.see("while it was paused")
	if n := eval[int](b, `[...document.querySelectorAll('#log .said')].filter(e => e.textContent === 'an order was taken').length`); n != 1 {
		t.Errorf("a line is there %d times", n)
	}
	if live := eval[string](b, `document.querySelector('#log').getAttribute('role') + ' ' + document.querySelector('#log').tabIndex`); live != "log 0" {
		t.Errorf("the log is %s", live)
	}
	b.shoot("logs-followed")
}

// TestLogsAreReadAndFilteredWithoutScripts reads the page again, and by function and text.
func TestLogsAreReadAndFilteredWithoutScripts(t *testing.T) {
	w := newWriter(t)
	b := open(t)
	b.withoutScripts()
	b.signIn(w.Platform)
	b.visit(w.Cred.Endpoint + logPage)
	w.write("tick", "of tick", "special of tick")
	w.write("other", "of other")
	platformtest.Until(t, "the lines are there when the page is read again", func() bool {
		b.press(`a.button[href="` + logPage + `"]`)
		return strings.Contains(b.text(), "special of tick") && strings.Contains(b.text(), "of other")
	})
	filter := func(field, value string) {
		t.Helper()
		within(b, chromedp.SetValue("#"+field, value))
		b.press("form.logform button")
		platformtest.Until(t, "the page is filtered by "+field, func() bool { return strings.Contains(b.where(), field+"="+value) })
		within(b, chromedp.WaitReady("footer"))
	}
	filter("function", "tick")
	b.see("of tick")
	if strings.Contains(b.text(), "of other") {
		t.Error("the filter lets another function through")
	}
	filter("text", "SPECIAL")
	b.see("special of tick")
	if n := eval[int](b, `document.querySelectorAll('#log .line').length`); n != 1 {
		t.Errorf("%d lines", n)
	}
	filter("level", "Error")
	b.see("No line that is kept matches")
}

// TestAFloodOfLinesLeavesSomeOut has an app write ten thousand lines at once, again and
// again: the page says that there are more than it shows, and neither the node nor the
// page keeps them.
func TestAFloodOfLinesLeavesSomeOut(t *testing.T) {
	w := newWriter(t)
	b := open(t)
	b.signIn(w.Platform)
	b.visit(w.Cred.Endpoint + logPage)
	b.see("New lines are added")
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprintf("flood %d of many lines that say next to nothing, each as long as lines are", i)
	}
	before := heap()
	for range 5 {
		w.write("tick", many...)
	}
	b.see("lines were left out here")
	platformtest.Until(t, "what comes after the flood is there", func() bool {
		w.write("tick", "the end of it")
		return strings.Contains(b.text(), "the end of it")
	})
	if grown := heap() - before; grown > 40<<20 {
		t.Errorf("%d MiB are kept", grown>>20)
	}
	if n := eval[int](b, `document.querySelectorAll('#log .line').length`); n > 1000 {
		t.Errorf("the page keeps %d lines", n)
	}
	if live := eval[string](b, `document.querySelector('#log').getAttribute('aria-live')`); live != "off" {
		t.Errorf("a flood is read aloud: aria-live is %s", live)
	}
}

// heap gives the bytes in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLogsAreForThoseWhoMay looks as a reader, who may see the app and not what it writes.
func TestLogsAreForThoseWhoMay(t *testing.T) {
	w := newWriter(t)
	w.write("tick", "confidential")
	b := open(t)
	b.useLink(admit(t, w.Platform, "looker", reader, w.Site("orders")))
	b.visit(w.Cred.Endpoint + logPage)
	b.see("Your roles do not let you read what this app writes")
	b.see("Microsoft.Web/sites/publish/Action")
	b.visit(w.Cred.Endpoint + "/portal/apps/rg/none/logs")
	b.see("Not allowed")
}

// TestFollowingEndsWithTheSession signs out elsewhere while a page follows.
func TestFollowingEndsWithTheSession(t *testing.T) {
	w := newWriter(t)
	b, other := open(t), open(t)
	b.signIn(w.Platform)
	other.signIn(w.Platform)
	b.visit(w.Cred.Endpoint + logPage)
	b.see("New lines are added")
	other.press(`form[action="/portal/signout-everywhere"] button`)
	other.see("You are signed out")
	w.write("tick", "not for them any more")
	time.Sleep(2 * time.Second) // more than lines take
	if strings.Contains(b.text(), "not for them any more") {
		t.Error("a page whose session has ended goes on")
	}
}

// TestPagesOfLogsReadWell looks at them.
func TestPagesOfLogsReadWell(t *testing.T) {
	w := newWriter(t)
	w.write("tick", "an order was taken: 17 things", "Error: the table is missing\n    at take (/home/site/wwwroot/orders.js:17:9)\n    at process", strings.Repeat("wide", 60), "<b>not bold</b> \u05e9\u05dc\u05d5\u05dd")
	b := open(t)
	b.signIn(w.Platform)
	lookAt(t, b, w.Platform,
		look{"logs", logPage, "an order was taken"}, look{"logs-filtered", logPage + "?text=nothing&level=Error", "No line that is kept matches"})
}
