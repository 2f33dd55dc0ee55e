package sites_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/sites"
)

type logPart struct {
	Value []struct {
		Time, Level, Source, Function, InvocationID, Message string
	}
	After  string
	Missed int
	Node   string
	Others []string
}

func (p logPart) text() string {
	var all []string
	for _, l := range p.Value {
		all = append(all, strings.Join([]string{l.Level, l.Source, l.Function, l.InvocationID, l.Message}, "|"))
	}
	return strings.Join(all, "\n")
}

// logWorld is an app with a log.
type logWorld struct {
	*fixture
	logs   *applog.Logs
	own    *slog.Logger
	opened int
}

func newLogWorld(t *testing.T) *logWorld {
	w := &logWorld{}
	w.fixture = newFixture(t, func(c *sites.Config) {
		c.Logs = sites.Logs{
			Node:   "one",
			Of:     func(a app.App) *applog.Log { return w.logs.Open(a.Name, a.UID) },
			Opened: func(*arm.Call, app.App) { w.opened++ },
		}
		c.Status = twoNodes
	})
	w.logs = applog.New(w.clock)
	w.create()
	w.read("")
	w.own = slog.New(w.logs.Handler(slog.DiscardHandler)).With("app", "orders")
	w.opened = 0
	return w
}

func twoNodes(context.Context, app.App) ([]sites.InstanceStatus, error) {
	return []sites.InstanceStatus{{Node: "one", State: "Running"}, {Node: "two", State: "Running"}}, nil
}

func (w *logWorld) get(query string) *httptest.ResponseRecorder {
	return w.call("GET", siteAt+"/logstream?api-version=2023-12-01&"+query, "")
}

func (w *logWorld) read(query string) logPart {
	w.t.Helper()
	var p logPart
	answer := w.get(query)
	if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil || answer.Code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", query, answer.Code, answer.Body)
	}
	return p
}

func TestLinesAreReadAndFollowed(t *testing.T) {
	w := newLogWorld(t)
	w.own.Info("one", "source", "function", "function", "f", "invocation", "i-1")
	w.own.Error("two")
	w.own.Warn("three", "source", "console")
	all := w.read("")
	want := "Information|function|f|i-1|one\nError|host|||two\nWarning|console|||three"
	if diff := cmp.Diff(want, all.text()); diff != "" || all.Node != "one" || !cmp.Equal(all.Others, []string{"two"}) || all.Missed != 0 {
		t.Errorf("%s %+v", diff, all)
	}
	for query, want := range map[string]string{
		"tail=1": "Warning|console|||three", "tail=0": "", "level=Error": "Error|host|||two", "level=warning&contains=TWO": "Error|host|||two",
		"function=F": "Information|function|f|i-1|one", "Function=g": "",
	} {
		if got := w.read(query); got.text() != want || got.After != all.After {
			t.Errorf("%s: %s", query, got.text())
		}
	}
	if w.opened != 7 || !strings.HasPrefix(w.actions[len(w.actions)-1], "Microsoft.Web/sites/publish/Action ") {
		t.Errorf("opened %d times, with %v", w.opened, w.actions)
	}
	if got := w.read("after=" + url.QueryEscape(all.After)); got.text() != "" || got.After != all.After {
		t.Errorf("%+v", got)
	}
	got := make(chan logPart, 1)
	go func() { got <- w.read("wait=20&level=Error&after=" + url.QueryEscape(all.After)) }()
	w.own.Info("not wanted")
	w.own.Error("four")
	next := <-got
	if next.text() != "Error|host|||four" || next.Missed != 0 {
		t.Errorf("%+v", next)
	}
	if w.opened != 7 {
		t.Error("going on is taken for opening")
	}
	for i := range 1000 {
		w.own.Info(fmt.Sprint("flood ", i))
	}
	last := w.read("tail=10&wait=20&after=" + url.QueryEscape(next.After))
	if len(last.Value) != 10 || last.Missed != 990 || last.Value[9].Message != "flood 999" {
		t.Errorf("%d lines, %d missed: %s", len(last.Value), last.Missed, last.text())
	}
}

func TestACursorIsForSeveralNodes(t *testing.T) {
	w := newLogWorld(t)
	w.own.Info("one")
	got := w.read("after=" + url.QueryEscape("a%2Cb:7,two:9"))
	if w.opened != 0 { // newLogWorld has read
		t.Error("going on is taken for opening")
	}
	if got.text() != "Information|host|||one" || got.Missed != 0 || !strings.HasPrefix(got.After, "one:") || !strings.HasSuffix(got.After, ",a%2Cb:7,two:9") {
		t.Errorf("%+v", got)
	}
}

// TestNobodyMissesLinesOfANodeThatTheyComeToFirst, also when the node keeps not all.
func TestNobodyMissesLinesOfANodeThatTheyComeToFirst(t *testing.T) {
	w := newLogWorld(t)
	for i := range 1000 {
		w.own.Info("line", "n", i)
	}
	for _, query := range []string{"after=two:9", "wait=20&after=two:9"} {
		if got := w.read(query); len(got.Value) == 0 || got.Missed != 0 {
			t.Errorf("%s: %d lines, %d missed", query, len(got.Value), got.Missed)
		}
	}
}

// TestACursorThatNobodyGaveIsRecorded: one can be made up, and must not be a way to read
// a log without a record of that.
func TestACursorThatNobodyGaveIsRecorded(t *testing.T) {
	w := newLogWorld(t)
	w.call("DELETE", siteAt+"?api-version=2023-12-01", "")
	w.create() // another life, whose log nobody has read
	w.read("after=one:1")
	w.own.Info("one")
	if got := w.read("after=one:1"); got.text() != "Information|host|||one" || w.opened != 1 {
		t.Errorf("opened %d times, %+v", w.opened, got)
	}
}

func TestFollowersOfADeletedAppAreTold(t *testing.T) {
	w := newLogWorld(t)
	after := w.read("").After
	got := make(chan int, 1)
	go func() { got <- w.get("wait=20&after=" + url.QueryEscape(after)).Code }()
	for {
		select {
		case code := <-got:
			if code != http.StatusNotFound {
				t.Errorf("%d", code)
			}
			return
		default:
			w.logs.Forget("orders") // once the call has opened it
			runtime.Gosched()
		}
	}
}

func TestLogsAreForThoseWhoMayPublish(t *testing.T) {
	w := newLogWorld(t)
	w.deny = "Microsoft.Web/sites/publish/Action"
	if got := w.get(""); got.Code != http.StatusForbidden {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestBadWishesOfLogsAreRefused(t *testing.T) {
	w := newLogWorld(t)
	for _, query := range []string{
		"tail=-1", "tail=501", "tail=x", "wait=-1", "wait=x", "level=loud", "after=x", "after=one:x", "after=%25zz:1", "after=" + strings.Repeat("n:1,", 40) + "n:1",
	} {
		if got := w.get(query); got.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, got.Code, got.Body)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "one:1", "a%2Cb:7,two:9", ":", ",", "one:18446744073709551616", "\x00:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w := newLogWorld(t)
		if got := w.get("after=" + url.QueryEscape(s)); got.Code >= 500 {
			t.Errorf("%q: %d %s", s, got.Code, got.Body)
		}
	})
}
