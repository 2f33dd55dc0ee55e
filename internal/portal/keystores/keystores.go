// Package keystores owns the pages about where an app keeps its keys: how the store
// does, copying keys to another one, first as a plan, and what is kept of documents that
// could not be used and of functions that are gone. Values stay at the API. It does not
// know stores.
package keystores

import (
	"embed"
	"errors"
	"net/http"
	"slices"

	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

type pages struct {
	one, copies *page.Template
	ask         *confirm.Page
}

// Mount adds the page to a mux.
func Mount(m *page.Mux) error {
	one, err := page.Parse(templates, "templates/keystore.html")
	kept, err2 := page.Parse(templates, "templates/copies.html")
	ask, err3 := confirm.New()
	p := &pages{one, kept, ask}
	m.Page(place.Pattern+"/keystore", func(v *page.Visit) error { return p.show(v, http.StatusOK, shown{}) })
	m.Action(place.Pattern+"/keystore/check", p.check)
	m.Action(place.Pattern+"/keystore/migrate", p.migrate)
	m.Page(place.Pattern+"/keystore/copies", p.showCopies)
	m.Page(place.Pattern+"/keystore/copies/{deed}", p.askDeed)
	m.Action(place.Pattern+"/keystore/copies/{deed}", p.doDeed)
	return errors.Join(err, err2, err3)
}

// finding is one thing that the check found.
type finding struct{ Check, Status, Message, Next string }

// Kind says how the finding is shown.
func (f finding) Kind() string {
	return map[string]string{"ok": "good", "warn": "warn", "fail": "bad"}[f.Status]
}

// plan is how the documents of a migration stand.
type plan struct {
	From, To  string
	Done      bool
	Documents []struct {
		Document     string
		Keys         int
		State        string
		Replaced     []string
		Reason, Next string
	}
}

// states are the texts of how a document stands.
var states = map[string]string{"missing": "store.missing", "same": "store.same", "differs": "store.differs", "blocked": "store.blocked"}

// State gives the text of how a document stands.
func (plan) State(name string) string {
	if text, known := states[name]; known {
		return text
	}
	return "store.done"
}

// shown is what the page shows.
type shown struct {
	App      place.App
	Stores   []string
	Findings []finding
	Plan     *plan
	From, To string
	Replace  bool
	Failed   string
}

// stores are those that an installation moves keys between.
var stores = []string{"controlplane", "blob", "keyvault"}

func (p *pages) show(v *page.Visit, status int, s shown) error {
	s.App, s.Stores = place.Of(v), stores
	if s.From == "" {
		s.From, s.To = "controlplane", "blob"
		var site struct{ Name string }
		if err := v.API().Get(v.Context(), s.App.Path(), &site); err != nil {
			return err
		}
	}
	return v.ShowAs(status, p.one, page.Content{
		Scope: s.App.Path(),
		Title: v.Text.Plain("store.title", "app", s.App.Name), Crumbs: s.App.Crumbs(), Tabs: s.App.Tabs("tab.keystore"), Data: s,
	})
}

func (p *pages) check(v *page.Visit) error {
	var answer struct{ Value []finding }
	if err := v.API().Do(v.Context(), http.MethodPost, place.Of(v).Path("host", "default", "checkkeys"), nil, &answer); err != nil {
		return err
	}
	return p.show(v, http.StatusOK, shown{Findings: answer.Value})
}

// migrate shows the plan, or does what the plan said.
func (p *pages) migrate(v *page.Visit) error {
	form := v.R.PostForm
	s := shown{From: form.Get("from"), To: form.Get("to"), Replace: form.Get("replace") == "true", Plan: &plan{}}
	if !slices.Contains(stores, s.From) {
		s.From = stores[0]
	}
	err := v.API().Do(v.Context(), http.MethodPost, place.Of(v).Path("host", "default", "migratekeys"), map[string]any{
		"from": s.From, "to": s.To, "replace": s.Replace, "apply": form.Get("apply") == "true",
	}, s.Plan)
	if err != nil && page.Detail(err) != "" && !errors.Is(err, problem.Denied) {
		s.Plan, s.Failed = nil, page.Detail(err)
		return p.show(v, http.StatusConflict, s)
	}
	if err != nil {
		return err
	}
	return p.show(v, http.StatusOK, s)
}
