package settings

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// edit is the form for one setting.
type edit struct {
	App       place.App
	Old       string // the name of the setting that is changed; "" for a new one
	Name      string
	Value     string
	Seen      bool // the value is in the form
	Reference bool // the value comes from a vault
	Mark      mark
	Failed    string // why it was not done
	Clash     *clash
	Warn      string // key of a text
}

// warnings are the texts about settings that do more than others, by name in lower
// case.
var warnings = map[string]string{
	"azurewebjobssecretstoragetype": "setting.warn.store", "azurewebencryptionkey": "setting.warn.seal", "machinekey_decryptionkey": "setting.warn.seal",
	"azurewebjobssecretstoragesas": "setting.warn.store", "azurewebjobssecretstoragekeyvaulturi": "setting.warn.store", "azurewebjobsstorage": "setting.warn.storage",
	"latchkey_key_values": "setting.warn.values",
}

// At gives the address of the form.
func (e edit) At() string {
	if e.Old == "" {
		return e.App.URL("configuration", "add")
	}
	return e.App.URL("configuration", "settings", e.Old, "edit")
}

func (p *pages) form(v *page.Visit, status int, e edit) error {
	title := v.Text.Plain("setting.add")
	if e.Old != "" {
		title = v.Text.Plain("setting.edit", "name", e.Old)
	}
	e.Warn = warnings[strings.ToLower(e.Name)]
	return v.ShowAs(status, p.edit, page.Content{Scope: e.App.Path(), Title: title, Crumbs: crumbs(v, e.App, e.Old), Data: e})
}

func crumbs(v *page.Visit, a place.App, name string) []page.Crumb {
	steps := []page.Crumb{{Name: v.Text.Plain("tab.configuration"), URL: a.URL("configuration")}}
	if name != "" {
		steps = append(steps, page.Crumb{Name: name})
	}
	return a.Crumbs(steps...)
}

func (p *pages) showAdd(v *page.Visit) error {
	a := place.Of(v)
	all, err := namesOf(v, a)
	if err != nil {
		return err
	}
	return p.form(v, http.StatusOK, edit{App: a, Seen: true, Mark: markOf(v, all), Name: v.R.URL.Query().Get("name")})
}

func (p *pages) doAdd(v *page.Visit) error {
	a := place.Of(v)
	e := edit{App: a, Seen: true, Mark: sentMark(v), Name: strings.TrimSpace(v.R.PostForm.Get("name")), Value: v.R.PostForm.Get("value")}
	return p.save(v, e)
}

// current gives the form for a setting that there is.
func current(v *page.Visit) (e edit, err error) {
	e = edit{App: place.Of(v)}
	all, err := namesOf(v, e.App)
	if err != nil {
		return e, err
	}
	e.Old, e.Reference, err = all.spelled(v.R.PathValue("setting"))
	e.Name, e.Mark = e.Old, markOf(v, all)
	return e, err
}

func (p *pages) showEdit(v *page.Visit) error {
	e, err := current(v)
	if err != nil {
		return err
	}
	if e.Reference && v.R.URL.Query().Get("as") != "text" {
		return v.Redirect(e.App.URL("configuration", "reference") + "?" + url.Values{"name": {e.Old}}.Encode())
	}
	return p.form(v, http.StatusOK, e)
}

// showValue shows the form with the value in it. Reading it is recorded.
func (p *pages) showValue(v *page.Visit) error {
	e, err := current(v)
	if err != nil {
		return err
	}
	values, err := valuesOf(v, e.App)
	if err != nil {
		return err
	}
	e.Value, e.Seen = values[e.Old], true
	return p.form(v, http.StatusOK, e)
}

func (p *pages) doEdit(v *page.Visit) error {
	e, err := current(v)
	if problem.KindOf(err) == problem.NotFound && page.Detail(err) == "" { // somebody has deleted it: what was filled in stays
		e.Name = v.R.PathValue("setting")
		err = nil
	}
	if err != nil {
		return err
	}
	e.Mark, e.Value, e.Seen = sentMark(v), v.R.PostForm.Get("value"), true
	return p.save(v, e)
}

// save gives the setting its value.
func (p *pages) save(v *page.Visit, e edit) error {
	e.Value = strings.ReplaceAll(e.Value, "\r\n", "\n") // as browsers send line ends
	all, err := namesOf(v, e.App)
	if err != nil {
		return err
	}
	if have, _, err := all.spelled(e.Name); err == nil && e.Old == "" && all.ETag == e.Mark.Tag {
		e.Failed = v.Text.Plain("setting.taken", "name", have)
		return p.form(v, http.StatusConflict, e)
	}
	switch err := write(v, e.App, e.Mark, put(e.Name, e.Value)); {
	case client.Changed(err):
		e.Clash = clashOf(v, e.App, e.Mark)
		e.Mark = markOf(v, all) // as it was before this page is made: who changes it once more is noticed too
		return p.form(v, http.StatusConflict, e)
	case refused(err) != "":
		e.Failed = refused(err)
		return p.form(v, http.StatusBadRequest, e)
	case err != nil:
		return err
	}
	return saved(v, e.App, "setting-saved", e.Name)
}

func saved(v *page.Visit, a place.App, done, name string) error {
	return v.Redirect(a.URL("configuration") + "?" + url.Values{"done": {done}, "setting": {name}}.Encode())
}

func (p *pages) askDelete(v *page.Visit) error { return p.question(v, "", nil) }

func (p *pages) question(v *page.Visit, failed string, c *clash) error {
	e, err := current(v)
	if err != nil {
		return err
	}
	means := v.Text.HTML("setting.delete.means")
	if c != nil {
		failed = v.Text.Plain("setting.clash")
	}
	var breaks []template.HTML
	if warn := warnings[strings.ToLower(e.Old)]; warn != "" {
		breaks = append(breaks, v.Text.HTML(warn))
	}
	return p.ask.Ask(v, page.Content{Scope: e.App.Path(), Title: v.Text.Plain("setting.delete.title", "name", e.Old), Crumbs: crumbs(v, e.App, e.Old)}, confirm.Question{
		Means: means, Breaks: breaks, Action: e.App.URL("configuration", "settings", e.Old, "delete"),
		Fields: []confirm.Field{{Name: "mark", Value: e.Mark.Tag}, {Name: "since", Value: e.Mark.Since}},
		Button: "setting.delete", Danger: true, Back: e.App.URL("configuration"), Failed: failed,
		Lacks: v.Lacking(e.App.Path(), "Microsoft.Web/sites/config/write"),
	})
}

func (p *pages) doDelete(v *page.Visit) error {
	a, name, m := place.Of(v), v.R.PathValue("setting"), sentMark(v)
	err := write(v, a, m, func(all map[string]string) { drop(all, name) })
	switch {
	case client.Changed(err):
		return p.question(v, "", clashOf(v, a, m))
	case refused(err) != "":
		return p.question(v, refused(err), nil)
	case err != nil:
		return err
	}
	return saved(v, a, "setting-deleted", name)
}
