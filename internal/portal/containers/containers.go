// Package containers owns the pages about container apps: which there are, how
// their revisions and replicas do, where requests go, which containers may use which
// identity, and how secrets of vaults stand. It does not know engines, and decides
// nothing: roles and the management API do.
package containers

import (
	"embed"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

//go:embed templates
var templates embed.FS

// List is the path of the list of container apps.
const List = page.Base + "containers"

const (
	pattern         = List + "/{group}/{app}"
	revisionPattern = pattern + "/revisions/{revision}"
)

// version is that of the API, which every call names.
const version = "?api-version=2025-07-01"

type pages struct {
	list, overview, revisions, revision, identity, secrets *page.Template
	ask                                                    *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{
		"list": &p.list, "overview": &p.overview, "revisions": &p.revisions, "revision": &p.revision, "identity": &p.identity, "secrets": &p.secrets,
	} {
		t, err := page.Parse(templates, "templates/"+name+".html", "templates/parts.html")
		if err == nil {
			err = access.Parts(t)
		}
		*to = t
		errs = append(errs, err)
	}
	ask, err := confirm.New()
	p.ask = ask
	p.mountIdentity(m)
	m.Page(List, p.showList)
	m.Page(pattern, p.showOverview)
	m.Page(pattern+"/revisions", p.showRevisions)
	m.Page(revisionPattern, p.showRevision)
	m.Page(pattern+"/identity", p.showIdentity)
	m.Page(pattern+"/secrets", p.showSecrets)
	for _, action := range []string{"start", "stop"} {
		m.Action(pattern+"/"+action, act(action))
	}
	for _, action := range []string{"activate", "deactivate", "restart"} {
		m.Action(revisionPattern+"/"+action, actOnRevision(action))
	}
	m.Action(pattern+"/traffic", p.setTraffic)
	m.Action(pattern+"/identity", p.setLifecycles)
	m.Action(pattern+"/secrets/refresh", refresh)
	return errors.Join(append(errs, err)...)
}

// at is an app by its names.
type at struct{ Subscription, Group, Name string }

func of(v *page.Visit) at {
	return at{v.Site().SubscriptionID, v.R.PathValue("group"), v.R.PathValue("app")}
}

// URL gives the address of a page about the app, below its own by segments.
func (a at) URL(segments ...string) string {
	return List + client.Path(append([]string{a.Group, a.Name}, segments...)...)
}

// path gives the path of the app in the management API, or of what is below it.
func (a at) path(segments ...string) string {
	return client.Path(append([]string{"subscriptions", a.Subscription, "resourceGroups", a.Group, "providers", "Microsoft.App", "containerApps", a.Name}, segments...)...) + version
}

// content makes the frame of a page about the app.
func (a at) content(v *page.Visit, tab, title string, data any, more ...page.Crumb) page.Content {
	tabs := []page.Tab{
		{Text: "tab.overview", URL: a.URL()}, {Text: "tab.revisions", URL: a.URL("revisions")},
		{Text: "tab.identity", URL: a.URL("identity")}, {Text: "tab.secrets", URL: a.URL("secrets")}, {Text: "tab.logs", URL: a.URL("logs")},
	}
	for i := range tabs {
		tabs[i].Current = tabs[i].Text == tab
	}
	crumbs := append([]page.Crumb{{Name: v.Text.Plain("containers.title"), URL: List}, {Name: a.Name, URL: a.URL()}}, more...)
	return page.Content{Scope: a.path(), Title: title, Crumbs: crumbs, Tabs: tabs, Notice: place.Notice(v, a.Name), Data: data, Live: true}
}

// read reads the app.
func (a at) read(v *page.Visit) (app, error) {
	var x app
	err := v.API().Get(v.Context(), a.path(), &x)
	return x, err
}

// patch changes the configuration of the app.
func (a at) patch(v *page.Visit, configuration any) error {
	body := map[string]any{"properties": map[string]any{"configuration": configuration}}
	return v.API().Do(v.Context(), http.MethodPatch, a.path(), body, nil)
}

// act starts or stops an app.
func act(action string) page.Handler {
	return func(v *page.Visit) error {
		a := of(v)
		if err := v.API().Do(v.Context(), http.MethodPost, a.path(action), nil, nil); err != nil {
			return err
		}
		return v.Redirect(a.URL() + "?done=container-" + action)
	}
}

// actOnRevision changes the run state of a revision.
func actOnRevision(action string) page.Handler {
	return func(v *page.Visit) error {
		a := of(v)
		if err := v.API().Do(v.Context(), http.MethodPost, a.path("revisions", v.R.PathValue("revision"), action), nil, nil); err != nil {
			return err
		}
		return v.Redirect(a.URL("revisions") + "?done=container-" + action)
	}
}

// errChanged is the answer for a form about something that others changed meanwhile.
var errChanged = &page.Plain{Status: http.StatusConflict, Title: "error.changed.title", Body: "containers.changed"}

func lastOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
