package logs

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// appWait is how long one question waits for lines, in seconds.
const appWait = "20"

// part is what the management API gives of a log.
type part struct {
	Value []struct {
		Time       time.Time
		Level      string
		Source     string
		Function   string
		Invocation string `json:"invocationId"`
		Message    string
	}
	After  string
	Missed int
	Node   string
	Others []string
}

// appLog is what the page about an app's log shows.
type appLog struct {
	App       place.App
	Wish      wish
	Lines     []Line
	Node      string
	Others    []string
	Functions []string
	Follow    string // the address of what comes
	Here      string // the page with the wish, to be read again
	May       bool
}

// levels are those that can be asked for, with their texts.
var levels = []struct{ Name, Text string }{
	{"", "log.level.all"}, {"Warning", "log.level.warning.up"}, {"Error", "log.level.error.up"},
}

// Levels are the levels that can be asked for.
func (appLog) Levels() []struct{ Name, Text string } { return levels }

func (p *Pages) showApp(v *page.Visit) error {
	a, w := place.Of(v), wishOf(v)
	data := appLog{App: a, Wish: w, May: true, Here: a.URL("logs") + w.query()}
	got, err := readApp(v.Context(), v.API(), a, w, "")
	if errors.Is(err, problem.Denied) {
		if err := v.API().Get(v.Context(), a.Path(), nil); err != nil { // whether there is the app is not told by that
			return err
		}
		v.Lacks(Right)
		data.May = false
	} else if err != nil {
		return err
	}
	if data.May {
		data.Lines, data.Node, data.Others = linesOf(v, got), got.Node, got.Others
		data.Follow = a.URL("logs", "follow") + w.query("after", got.After)
		data.Functions = functionsOf(v, a, w.Function)
	}
	return v.Show(p.app, page.Content{Scope: a.Path(), Title: v.Text.Plain("log.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.logs"), Data: data, Script: "logs.js"})
}

// functionsOf names the functions that lines can be of, the wanted one in any case.
func functionsOf(v *page.Visit, a place.App, wanted string) []string {
	list, _, err := client.List[struct{ Properties struct{ Name string } }](v.Context(), v.API(), a.Path("functions"), shown)
	var names []string
	there := wanted == "" || err != nil
	for _, f := range list {
		names = append(names, f.Properties.Name)
		there = there || f.Properties.Name == wanted
	}
	if !there || err != nil && wanted != "" {
		names = append(names, wanted)
	}
	return names
}

// readApp reads the last lines of an app, or waits for those after a cursor.
func readApp(ctx context.Context, api *client.Client, a place.App, w wish, after string) (got part, err error) {
	q := url.Values{"tail": {strconv.Itoa(shown)}}
	for name, value := range map[string]string{"level": w.Level, "function": w.Function, "contains": w.Text, "after": after} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if after != "" {
		q.Set("wait", appWait)
		api.Reads = 0 // it is bounded by that
	}
	err = api.Get(ctx, a.Path("logstream")+"?"+q.Encode(), &got)
	return got, err
}

// linesOf makes lines of what the API gave.
func linesOf(v *page.Visit, p part) []Line {
	var list []Line
	for _, l := range p.Value {
		x := Line{At: l.Time.UTC().Format(time.RFC3339Nano), Clock: l.Time.UTC().Format("15:04:05.000"), Of: l.Function, Run: l.Invocation, Text: plain(l.Message)}
		if x.Of == "" {
			x.Of = v.Text.Plain("log.source." + sourceOf(l.Source))
		}
		x.Level, x.Kind = level(v, l.Level)
		list = append(list, x)
	}
	return list
}

func sourceOf(name string) string {
	switch name {
	case "console", "worker", "metric", "function":
		return name
	}
	return "host"
}

// level names a level that is not the usual one.
func level(v *page.Visit, name string) (text, kind string) {
	switch name {
	case "Error":
		return v.Text.Plain("log.level.error"), "bad"
	case "Warning":
		return v.Text.Plain("log.level.warning"), "warn"
	case "Debug":
		return v.Text.Plain("log.level.debug"), ""
	}
	return "", ""
}

// followApp tells a browser of new lines of an app.
func (p *Pages) followApp(v *page.Visit) error {
	a, w := place.Of(v), wishOf(v)
	after := v.R.Header.Get("Last-Event-ID")
	if after == "" {
		after = v.R.URL.Query().Get("after")
	}
	return p.follow(v, func(ctx context.Context) (told, error) {
		got, err := readApp(ctx, v.API(), a, w, after)
		if err != nil {
			return told{}, err
		}
		after = got.After
		return told{ID: after, Lines: linesOf(v, got), Missed: got.Missed}, nil
	})
}
