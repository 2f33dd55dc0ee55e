package keys

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// fields are what is filled in about a key.
type fields struct {
	Note, Owner               string
	Methods, Functions, CIDRs string // separated by commas
	RateN, RatePer            string
	QuotaN, QuotaPer          string
	NotBefore, Expires        string // in UTC; with scripts the form shows them in the viewer's zone
}

type edit struct {
	Where  where
	Key    cell
	Fields fields
	Mark   mark
	Failed string
	Bad    bool
}

func fieldsOf(k key) fields {
	f := fields{
		Note: k.Note, Owner: k.Owner, Methods: strings.Join(k.Methods, ", "), Functions: strings.Join(k.Functions, ", "),
		CIDRs: strings.Join(k.CIDRs, ", "), RatePer: "1m", QuotaPer: "day",
		NotBefore: shownTime(k.NotBefore), Expires: shownTime(k.Expires),
	}
	if k.Rate != nil {
		f.RateN, f.RatePer = strconv.Itoa(k.Rate.N), k.Rate.Per
	}
	if k.Quota != nil {
		f.QuotaN, f.QuotaPer = strconv.Itoa(k.Quota.N), k.Quota.Per
	}
	return f
}

func shownTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(formTime)
}

// read takes what was filled in.
func read(form url.Values) fields {
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	return fields{
		Note: get("note"), Owner: get("owner"), Methods: get("methods"), Functions: get("functions"), CIDRs: get("cidrs"),
		RateN: get("rate"), RatePer: get("rateper"), QuotaN: get("quota"), QuotaPer: get("quotaper"),
		NotBefore: inUTC(form, "notbefore"), Expires: inUTC(form, "expires"),
	}
}

// change makes the change of the management API: what is left empty is taken away.
// Times that stay are not sent, for the form shows less of them than there is.
func (f fields) change(was fields) map[string]any {
	body := map[string]any{
		"note": text(f.Note), "owner": text(f.Owner), "methods": parts(strings.ToUpper(f.Methods)), "functions": parts(f.Functions),
		"cidrs": parts(f.CIDRs), "rate": nil, "quota": nil,
	}
	if f.RateN != "" {
		body["rate"] = map[string]any{"n": number(f.RateN), "per": f.RatePer}
	}
	if f.QuotaN != "" {
		body["quota"] = map[string]any{"n": number(f.QuotaN), "per": f.QuotaPer}
	}
	if f.NotBefore != was.NotBefore {
		body["notBefore"] = moment(f.NotBefore)
	}
	if f.Expires != was.Expires {
		body["expires"] = moment(f.Expires)
	}
	return body
}

// text is null for nothing.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// number is the number, or the text for the API to say what is wrong with it.
func number(s string) any {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return s
}

// inUTC gives a time that was filled in as the form shows it without scripts; what is
// no time stays as it is, for the API to say so.
func inUTC(form url.Values, field string) string {
	t, err := viewersTime(form, field)
	if err != nil || t.IsZero() {
		return strings.TrimSpace(form.Get(field))
	}
	return shownTime(&t)
}

func moment(s string) any {
	if t, err := time.Parse(formTime, s); err == nil {
		return t.Format(time.RFC3339)
	}
	return text(s)
}

// parts are what commas, blanks and lines separate; null for nothing.
func parts(s string) any {
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	if len(list) == 0 {
		return nil
	}
	return list
}

func (p *pages) showEdit(v *page.Visit) error {
	w := whereOf(v)
	k, err := w.current(v.Context(), v)
	if err != nil {
		return err
	}
	return p.editWith(v, http.StatusOK, edit{Where: w, Key: w.cell(k), Fields: fieldsOf(k), Mark: markOf(v, k)})
}

func (p *pages) editWith(v *page.Visit, status int, e edit) error {
	return v.ShowAs(status, p.edit, page.Content{
		Scope: e.Where.Scope(), Title: v.Text.Plain("edit.title", "name", e.Key.Name), Crumbs: e.Where.crumbs(v, page.Crumb{Name: e.Key.Name, URL: e.Key.At}), Data: e,
	})
}

func (p *pages) doEdit(v *page.Visit) error {
	w, seen := whereOf(v), sentMark(v)
	k, err := w.current(v.Context(), v)
	if errors.Is(err, problem.NotFound) {
		return p.changed(v, w, "edit", nil)
	}
	if err != nil {
		return err
	}
	path, err := w.path(k.Section(), k.Name)
	if err != nil {
		return err
	}
	f := read(v.R.PostForm)
	err = v.API().If(seen.Tag).Do(v.Context(), http.MethodPatch, path, map[string]any{"properties": f.change(fieldsOf(k))}, nil)
	if client.Changed(err) {
		return p.changed(v, w, "edit", &k)
	}
	if err != nil && refused(err) {
		return p.editWith(v, http.StatusBadRequest, edit{Where: w, Key: w.cell(k), Fields: f, Mark: seen, Failed: page.Detail(err), Bad: true})
	}
	if err != nil {
		return err
	}
	return v.Redirect(w.cell(k).At + "?done=key-edit")
}

// addition is the form for a new key.
type addition struct {
	Where  where
	Kinds  []string
	Kind   string
	Name   string
	Failed string
	Bad    bool
}

func (p *pages) showAdd(v *page.Visit) error {
	w := whereOf(v)
	return p.addWith(v, http.StatusOK, addition{Where: w, Kind: w.groupsOf()[0]})
}

func (p *pages) addWith(v *page.Visit, status int, a addition) error {
	may := v.May(a.Where.Scope())
	a.Kinds = slices.DeleteFunc(a.Where.Kinds(), func(kind string) bool { return !may.Do(a.Where.Write(kind)) })
	return v.ShowAs(status, p.add, page.Content{Scope: a.Where.Scope(), Title: v.Text.Plain("add.title"), Crumbs: a.Where.crumbs(v), Data: a})
}

// doAdd makes a key. One of the same name stays as it is: it may be in use.
func (p *pages) doAdd(v *page.Visit) error {
	w := whereOf(v)
	a := addition{Where: w, Kind: v.R.PostForm.Get("kind"), Name: strings.TrimSpace(v.R.PostForm.Get("name")), Bad: true}
	path, err := w.path(a.Kind, a.Name)
	if err != nil || a.Kind == "master" {
		return err
	}
	if a.Name == "" || len(a.Name) > 128 {
		a.Failed = v.Text.Plain("add.noname")
		return p.addWith(v, http.StatusBadRequest, a)
	}
	body := map[string]any{"properties": map[string]any{"name": a.Name, "created": true}}
	if value := strings.TrimSpace(v.R.PostForm.Get("value")); value != "" {
		body["properties"].(map[string]any)["value"] = value
	}
	err = v.API().Create(v.Context(), path, body, nil)
	if client.Changed(err) {
		a.Failed = v.Text.Plain("add.taken", "name", a.Name)
		return p.addWith(v, http.StatusConflict, a)
	}
	if err != nil && refused(err) {
		a.Failed = page.Detail(err)
		return p.addWith(v, http.StatusBadRequest, a)
	}
	if err != nil {
		return err
	}
	return v.Redirect(w.URL(a.Kind, a.Name) + "?done=key-add")
}
