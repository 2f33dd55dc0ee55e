// Package settings owns the pages about an app's configuration: its references to
// secrets of vaults, how resolving each went and what to do about it, and its settings,
// whose values are shown only when somebody asks for them. Of two people who change
// settings at the same time none overwrites what the other has done unseen. It does not
// know vaults.
package settings

import (
	"cmp"
	"embed"
	"errors"
	"net/http"
	"slices"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

type pages struct {
	one, reference, edit, pick *page.Template
	ask                        *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"configuration": &p.one, "reference": &p.reference, "edit": &p.edit, "pick": &p.pick} {
		t, err := page.Parse(templates, "templates/"+name+".html", "templates/parts.html")
		*to = t
		errs = append(errs, err)
	}
	ask, err := confirm.New()
	p.ask = ask
	const at = place.Pattern + "/configuration"
	m.Page(at, p.show)
	m.Action(at+"/show", p.reveal)
	m.Action(at+"/refresh", refresh)
	m.Page(at+"/references/{section}/{setting}", p.showReference)
	m.Page(at+"/add", p.showAdd)
	m.Action(at+"/add", p.doAdd)
	m.Page(at+"/reference", p.showPick)
	m.Action(at+"/reference", p.doPick)
	m.Page(at+"/settings/{setting}/edit", p.showEdit)
	m.Action(at+"/settings/{setting}/edit", p.doEdit)
	m.Action(at+"/settings/{setting}/value", p.showValue)
	m.Page(at+"/settings/{setting}/delete", p.askDelete)
	m.Action(at+"/settings/{setting}/delete", p.doDelete)
	return errors.Join(append(errs, err)...)
}

// setting is an app setting; its value is there when it was asked for.
type setting struct {
	Name      string
	Value     string
	Reference bool // the value comes from a vault
}

// URL gives the address of what is done with the setting.
func (c configuration) URL(name, what string) string {
	return c.App.URL("configuration", "settings", name, what)
}

// configuration is what the page shows.
type configuration struct {
	App        place.App
	References []reference
	Settings   []setting
	Values     bool // were asked for
	Hidden     bool // not even names are for the viewer
}

func (p *pages) show(v *page.Visit) error { return p.showWith(v, nil) }

// showWith shows the page; values, if not nil, are those of the settings.
func (p *pages) showWith(v *page.Visit, values map[string]string) error {
	a := place.Of(v)
	c := configuration{App: a, Values: values != nil}
	for _, s := range sections {
		list, _, err := client.List[reference](v.Context(), v.API(), a.Path("config", "configreferences", s), 1000)
		if err != nil {
			return err
		}
		for i := range list {
			list[i].Section = s
		}
		c.References = append(c.References, list...)
	}
	content := page.Content{
		Scope: a.Path(),
		Title: v.Text.Plain("config.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.configuration"),
		Notice: place.Notice(v, noticed(v, a)), Live: true,
	}
	if v.Partial() {
		content.Data = c
		return v.ShowPart(p.one, "references", content, nil)
	}
	all, err := namesOf(v, a)
	switch {
	case errors.Is(err, problem.Denied):
		c.Hidden = true
	case err != nil:
		return err
	}
	for _, s := range all.Value {
		c.Settings = append(c.Settings, setting{s.Name, values[s.Name], s.Reference})
	}
	content.Data = c
	return v.Show(p.one, content)
}

// noticed names what a notice is about.
func noticed(v *page.Visit, a place.App) string {
	return cmp.Or(v.R.URL.Query().Get("setting"), a.Name)
}

// reveal shows the page with the values of settings. Reading them is recorded.
func (p *pages) reveal(v *page.Visit) error {
	values, err := valuesOf(v, place.Of(v))
	if err != nil {
		return err
	}
	return p.showWith(v, values)
}

func refresh(v *page.Visit) error {
	a := place.Of(v)
	// That of one section resolves all.
	if err := v.API().Do(v.Context(), http.MethodPost, a.Path("config", "configreferences", sections[0], "refresh"), nil, nil); err != nil {
		return err
	}
	to := a.URL("configuration")
	if section, name := v.R.PostForm.Get("section"), v.R.PostForm.Get("setting"); slices.Contains(sections, section) && name != "" {
		to = a.URL("configuration", "references", section, name)
	}
	return v.Redirect(to + "?done=refresh")
}
