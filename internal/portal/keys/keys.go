// Package keys owns the pages about access keys: those of an app's host and those
// of its functions. Values are hidden until somebody asks for one, which is
// recorded. It does not know how keys are kept or what makes a value.
package keys

import (
	"embed"
	"errors"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

type pages struct{ list, one, act, edit, add, changes *page.Template }

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"list": &p.list, "one": &p.one, "act": &p.act, "edit": &p.edit, "add": &p.add, "changed": &p.changes} {
		t, err := page.Parse(templates, "templates/"+name+".html", "templates/parts.html")
		*to = t
		errs = append(errs, err)
	}
	for _, base := range []string{place.Pattern + "/keys", place.FunctionPattern + "/keys"} {
		one := base + "/{section}/{key}"
		m.Page(base, p.showList)
		m.Page(base+"/add", p.showAdd)
		m.Action(base+"/add", p.doAdd)
		m.Action(base+"/show", p.revealAll)
		m.Page(one, p.showOne)
		m.Page(one+"/show", p.hide)
		m.Action(one+"/show", p.reveal)
		m.Page(one+"/edit", p.showEdit)
		m.Action(one+"/edit", p.doEdit)
		m.Page(one+"/do/{action}", p.ask)
		m.Action(one+"/do/{action}", p.do)
	}
	return errors.Join(errs...)
}

// group is keys of one kind.
type group struct {
	Kind string // master, host, system or function
	Keys []cell
}

// cell is a key with its place on a page.
type cell struct {
	key
	At    string // address of its own page
	Where where
	ID    string // of the element with its value
	Value string // "" while it is hidden
	Gone  bool   // it was asked for, and cannot be shown
}

// groupsOf are the kinds of keys at a place, in the order in which they are shown.
func (w where) groupsOf() []string {
	if w.Function != "" {
		return []string{"function"}
	}
	return []string{"host", "master", "system"}
}

type list struct {
	Where  where
	Groups []group
	Host   bool
	Shown  bool // all values are, that can be
}

// listOf puts the keys of a place together; shown are those whose values are shown,
// by the addresses of their pages.
func (w where) listOf(all []key, shown map[string]cell) list {
	l := list{Where: w, Host: w.Function == ""}
	for _, kind := range w.groupsOf() {
		g := group{Kind: kind}
		for _, k := range all {
			if k.Kind != kind {
				continue
			}
			c := w.cell(k)
			if s, is := shown[c.At]; is {
				c.Value, c.Gone = s.Value, s.Gone
			}
			g.Keys = append(g.Keys, c)
		}
		l.Groups = append(l.Groups, g)
	}
	return l
}

func (w where) cell(k key) cell {
	return cell{key: k, Where: w, At: w.URL(k.Section(), k.Name), ID: "value-" + elementID(k.Kind+" "+k.Name)}
}

// reveal puts the value into a cell, which says so when there is none to show.
func (c *cell) reveal(value string) {
	c.Gone = value == "" || c.HashOnly
	if !c.Gone {
		c.Value = value
	}
}

func (p *pages) showList(v *page.Visit) error {
	w := whereOf(v)
	all, err := w.list(v.Context(), v.API())
	if err != nil {
		return err
	}
	return p.showListWith(v, w, w.listOf(all, nil))
}

func (p *pages) showListWith(v *page.Visit, w where, l list) error {
	title := v.Text.Plain("keys.title", "app", w.App.Name)
	if w.Function != "" {
		title = v.Text.Plain("functionkeys.title", "function", w.Function)
	}
	return v.Show(p.list, page.Content{
		Scope: w.Scope(), Title: title, Crumbs: w.crumbs(v), Tabs: w.tabs(), Notice: place.Notice(v, v.R.URL.Query().Get("key")), Data: l,
	})
}

// reveal shows the value of a key, in the page or as a part of it.
func (p *pages) reveal(v *page.Visit) error {
	w := whereOf(v)
	all, err := w.list(v.Context(), v.API())
	if err != nil {
		return err
	}
	k, err := pick(all, v.R.PathValue("section"), v.R.PathValue("key"))
	if err != nil {
		return err
	}
	read, err := w.values(v.Context(), v.API())
	if err != nil {
		return err
	}
	c := w.cell(k)
	c.reveal(read.of(k))
	if v.Partial() {
		return v.ShowPart(p.list, "value", page.Content{Scope: w.Scope()}, c)
	}
	return p.showListWith(v, w, w.listOf(all, map[string]cell{c.At: c}))
}

// revealAll shows all values of the page.
func (p *pages) revealAll(v *page.Visit) error {
	w := whereOf(v)
	all, err := w.list(v.Context(), v.API())
	if err != nil {
		return err
	}
	read, err := w.values(v.Context(), v.API())
	if err != nil {
		return err
	}
	shown := map[string]cell{}
	for _, k := range all {
		c := w.cell(k)
		c.reveal(read.of(k))
		shown[c.At] = c
	}
	l := w.listOf(all, shown)
	l.Shown = true
	return p.showListWith(v, w, l)
}

// hide is the way back from reveal.
func (p *pages) hide(v *page.Visit) error {
	w := whereOf(v)
	if !v.Partial() {
		return v.Redirect(w.URL())
	}
	k, err := w.find(v.Context(), v.API(), v.R.PathValue("section"), v.R.PathValue("key"))
	if err != nil {
		return err
	}
	return v.ShowPart(p.list, "value", page.Content{}, w.cell(k))
}

type one struct {
	Where where
	Key   cell
}

func (p *pages) showOne(v *page.Visit) error {
	w := whereOf(v)
	k, err := w.find(v.Context(), v.API(), v.R.PathValue("section"), v.R.PathValue("key"))
	if err != nil {
		return err
	}
	return v.Show(p.one, page.Content{
		Scope: w.Scope(), Title: k.Name, Crumbs: w.crumbs(v, page.Crumb{Name: k.Name}), Tabs: w.tabs(),
		Notice: place.Notice(v, k.Name), Data: one{w, w.cell(k)},
	})
}

// refused reports whether an error is about what was filled in, so that the form is
// shown again with it.
func refused(err error) bool {
	return errors.Is(err, problem.Invalid) || errors.Is(err, problem.Conflict)
}
