// Package whose owns the page that tells whose key a value is, for a key that was
// found where it should not be. The value goes to the management API and onto no page.
// It does not know how keys are kept or compared.
package whose

import (
	"embed"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

// Path is the address of the page for all apps.
const Path = page.Base + "whose"

// reads is the action that finding keys needs: whoever asks could read them.
const reads = "Microsoft.Web/sites/host/listkeys/action"

type pages struct{ one *page.Template }

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	one, err := page.Parse(templates, "templates/whose.html")
	p := &pages{one}
	for _, pattern := range []string{Path, place.Pattern + "/whose"} {
		m.Page(pattern, func(v *page.Visit) error { return p.show(v, http.StatusOK, shown{}) })
		m.Action(pattern, p.find)
	}
	return err
}

// owner is a key that has the value.
type owner struct{ App, Kind, Function, Name string }

// unread is an app whose keys were not looked at.
type unread struct{ App, Message string }

// row is an owner as it is shown.
type row struct {
	App                  place.App
	Kind, Function, Name string
	At                   string // page of the key
}

// shown is what the page shows.
type shown struct {
	App    *place.App // nil: all of them
	Asked  bool
	Denied bool   // to look at all apps
	Failed string // what is wrong with the value
	Apps   int
	Rows   []row
	Master bool // one of them is a master key
	Unread []unread
}

// At gives the path of the page.
func (s shown) At() string {
	if s.App != nil {
		return s.App.URL("whose")
	}
	return Path
}

func (p *pages) show(v *page.Visit, status int, s shown) error {
	c := page.Content{Scope: client.Path("subscriptions", v.Site().SubscriptionID), Title: v.Text.Plain("whose.title")}
	if v.R.PathValue("app") != "" {
		a := place.Of(v)
		s.App, c.Scope = &a, a.Path()
		c.Crumbs = a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.keys"), URL: a.URL("keys")})
	}
	s.Denied = s.Denied || !v.May(c.Scope).Do(reads)
	c.Data = s
	return v.ShowAs(status, p.one, c)
}

// find asks the management API.
func (p *pages) find(v *page.Visit) error {
	at := client.Path("subscriptions", v.Site().SubscriptionID, "providers", "Latchkey.Keys", "find")
	if v.R.PathValue("app") != "" {
		at = place.Of(v).Path("host", "default", "findkey")
	}
	var found struct {
		Value  []owner
		Apps   int
		Unread []unread
	}
	err := v.API().Do(v.Context(), http.MethodPost, at, map[string]string{"value": v.R.PostForm.Get("value")}, &found)
	switch {
	case errors.Is(err, problem.Invalid):
		return p.show(v, http.StatusBadRequest, shown{Failed: page.Detail(err)})
	case errors.Is(err, problem.Denied):
		return p.show(v, http.StatusForbidden, shown{Denied: true})
	case err != nil:
		return err
	}
	s := shown{Asked: true, Apps: found.Apps, Unread: found.Unread}
	for i := range s.Unread {
		s.Unread[i].App = appOf(v, s.Unread[i].App).Name
	}
	for _, o := range found.Value {
		s.Rows, s.Master = append(s.Rows, rowOf(v, o)), s.Master || o.Kind == "master"
	}
	return p.show(v, http.StatusOK, s)
}

func rowOf(v *page.Visit, o owner) row {
	r := row{App: appOf(v, o.App), Kind: o.Kind, Function: o.Function, Name: o.Name}
	if o.Kind == "function" {
		r.At = r.App.URL("functions", o.Function, "keys", o.Kind, o.Name)
	} else {
		r.At = r.App.URL("keys", o.Kind, o.Name)
	}
	return r
}

// appOf reads the app of a resource id.
func appOf(v *page.Visit, id string) place.App {
	a := place.App{Subscription: v.Site().SubscriptionID}
	if s := strings.Split(strings.Trim(id, "/"), "/"); len(s) == 8 {
		a.Group, a.Name = s[3], s[7]
	}
	return a
}
