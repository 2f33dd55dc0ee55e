// Package apps owns the pages about apps and their functions: which there are, how
// they do, and starting and stopping them. It does not know keys or settings.
package apps

import (
	"embed"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/chart"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/portal/record"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

type pages struct{ home, look, overview, functions, function *page.Template }

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"home": &p.home, "look": &p.look, "overview": &p.overview, "functions": &p.functions, "function": &p.function} {
		t, err := page.Parse(templates, "templates/"+name+".html", "templates/parts.html")
		*to = t
		if err == nil {
			err = chart.Parts(t)
		}
		errs = append(errs, err)
	}
	m.Page(page.Home+"{$}", p.showHome)
	m.Page(lookPath, p.showLooks)
	m.Page(place.Pattern, p.showOverview)
	m.Page(place.Pattern+"/functions", p.showFunctions)
	m.Page(place.FunctionPattern, p.showFunction)
	for _, action := range []string{"start", "stop", "restart"} {
		m.Action(place.Pattern+"/"+action, act(action))
	}
	m.Action(place.FunctionPattern+"/enable", setFunction("enabled"))
	m.Action(place.FunctionPattern+"/disable", setFunction("disabled"))
	return errors.Join(errs...)
}

// overview is what the page about an app shows.
type overview struct {
	App     place.App
	State   state
	URL     string
	Site    site
	Running []shownInstance
	Stopped bool
	Traffic requests

	Denials    []record.Event
	MayDenials bool
	AuditURL   string
}

type shownInstance struct {
	instance
	Shown state
}

func (p *pages) showOverview(v *page.Visit) error {
	a := place.Of(v)
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	o := overview{App: a, State: s.state(), URL: s.url(), Site: s, Stopped: !strings.EqualFold(s.Properties.State, "Running")}
	for _, i := range s.Properties.Latchkey.Instances {
		o.Running = append(o.Running, shownInstance{i, stateOf(i.State)})
	}
	view := ofHour
	if v.R.URL.Query().Get("span") == "day" {
		view = ofDay
	}
	var err error
	if o.Traffic, err = readRequests(v.Context(), v.API(), a, view); err != nil {
		return err
	}
	if !wantsTraffic(v) {
		err = o.refused(v, a)
	}
	if err != nil {
		return err
	}
	c := page.Content{Scope: a.Path(), Title: s.Name, Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.overview"), Notice: place.Notice(v, s.Name), Data: o, Live: true}
	if wantsTraffic(v) {
		return v.ShowPart(p.overview, trafficPart, c, nil)
	}
	if v.Partial() {
		return v.ShowPart(p.overview, "status", c, nil)
	}
	return v.Show(p.overview, c)
}

// refused reads who was refused lately, for those who may know.
func (o *overview) refused(v *page.Visit, a place.App) (err error) {
	o.AuditURL = record.Path + "?" + url.Values{"scope": {a.Path()}, "category": {"Denied"}}.Encode()
	if o.Denials, err = denials(v, a.Path()); errors.Is(err, problem.Denied) {
		return nil
	}
	o.MayDenials = err == nil
	return err
}

// act starts, stops or restarts an app.
func act(action string) page.Handler {
	return func(v *page.Visit) error {
		a := place.Of(v)
		if err := v.API().Do(v.Context(), http.MethodPost, a.Path(action), nil, nil); err != nil {
			return err
		}
		return v.Redirect(a.URL() + "?done=" + action)
	}
}
