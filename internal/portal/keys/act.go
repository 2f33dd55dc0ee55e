package keys

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// elementID makes a text fit for the id of an element.
func elementID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// action is something that is done with a key.
type action struct {
	Name   string
	Danger bool // whoever uses the key may be locked out
	fits   func(k key) bool
	call   func(v *page.Visit, api *client.Client, path string) error
}

// post makes a call that says nothing more than its path.
func post(segment string) func(*page.Visit, *client.Client, string) error {
	return func(v *page.Visit, api *client.Client, path string) error {
		return api.Do(v.Context(), http.MethodPost, path+"/"+segment, nil, nil)
	}
}

var actions = []action{
	{"renew", true, func(k key) bool { return !k.Former() && !k.HashOnly }, func(v *page.Visit, api *client.Client, path string) error {
		return api.Do(v.Context(), http.MethodPut, path, struct{}{}, nil)
	}},
	{"rotate", false, func(k key) bool { return !k.Former() && !k.HashOnly }, rotate},
	{"disable", true, func(k key) bool { return !k.Former() && !k.Disabled }, post("disable")},
	{"enable", false, func(k key) bool { return !k.Former() && k.Disabled }, post("enable")},
	{"expire", true, func(k key) bool { return k.Works() || k.State == "notYetValid" }, expire},
	{"endoverlap", true, func(k key) bool { return len(k.Retiring) > 0 }, post("endOverlap")},
	{"delete", true, func(k key) bool { return !k.Master() || k.Former() }, func(v *page.Visit, api *client.Client, path string) error {
		return api.Do(v.Context(), http.MethodDelete, path, nil, nil)
	}},
}

// Actions are what can be done with the key.
func (k key) Actions() []action {
	var list []action
	for _, a := range actions {
		if a.fits(k) {
			list = append(list, a)
		}
	}
	return list
}

// Can reports whether something can be done with the key.
func (k key) Can(name string) bool {
	for _, a := range k.Actions() {
		if a.Name == name {
			return true
		}
	}
	return false
}

// overlaps are how long a former value may work.
var overlaps = []string{"1h", "24h", "7d", "30d"}

func rotate(v *page.Visit, api *client.Client, path string) error {
	body := map[string]string{"overlap": v.R.PostForm.Get("overlap")}
	return api.Do(v.Context(), http.MethodPost, path+"/rotate", body, nil)
}

func expire(v *page.Visit, api *client.Client, path string) error {
	var body any
	at, err := viewersTime(v.R.PostForm, "at")
	if err != nil {
		return err
	}
	if !at.IsZero() {
		body = map[string]string{"expires": at.Format(time.RFC3339)}
	}
	return api.Do(v.Context(), http.MethodPost, path+"/expire", body, nil)
}

// viewersTime reads a time of a form: in the viewer's zone, if the browser has told how
// far that is from UTC on that day. The zero time stands for none.
func viewersTime(form url.Values, field string) (time.Time, error) {
	text := strings.TrimSpace(form.Get(field))
	if text == "" {
		return time.Time{}, nil
	}
	minutes, _ := strconv.Atoi(form.Get(field + "-zone")) // none is UTC
	for _, layout := range []string{formTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Add(time.Duration(minutes) * time.Minute).UTC(), nil
		}
	}
	return time.Time{}, problem.New(problem.Invalid, "this is no time")
}

// formTime is how forms have times.
const formTime = "2006-01-02T15:04"

// question is what the page asks before something is done.
type question struct {
	Where    where
	Key      cell
	Action   action
	Mark     mark
	Overlaps []string
	Failed   string // why it was not done, of the API
	Bad      bool   // what was filled in is not right
}

// target finds the key and the action that an address is about.
func target(v *page.Visit) (w where, k key, a action, err error) {
	w = whereOf(v)
	if k, err = w.find(v.Context(), v.API(), v.R.PathValue("section"), v.R.PathValue("key")); err != nil {
		return w, k, a, err
	}
	for _, a := range actions {
		if a.Name == v.R.PathValue("action") {
			return w, k, a, nil
		}
	}
	return w, k, a, problem.New(problem.NotFound, "there is no such action")
}

// known reports whether there is an action of a name.
func known(name string) bool {
	return slices.ContainsFunc(actions, func(a action) bool { return a.Name == name })
}

func (p *pages) ask(v *page.Visit) error {
	w, k, a, err := target(v)
	if err != nil {
		return err
	}
	if !a.fits(k) {
		return p.changed(v, w, a.Name, &k)
	}
	return p.question(v, http.StatusOK, question{Where: w, Key: w.cell(k), Action: a, Mark: markOf(v, k), Overlaps: overlaps})
}

func (p *pages) question(v *page.Visit, status int, q question) error {
	return v.ShowAs(status, p.act, page.Content{
		Scope:  q.Where.Scope(),
		Title:  v.Text.Plain("act."+q.Action.Name+".title", "name", q.Key.Name),
		Crumbs: q.Where.crumbs(v, page.Crumb{Name: q.Key.Name, URL: q.Key.At}), Data: q,
	})
}

// do does what was asked about, if the key is still as it was shown.
func (p *pages) do(v *page.Visit) error {
	w, k, a, err := target(v)
	if errors.Is(err, problem.NotFound) && w.App.Name != "" && known(v.R.PathValue("action")) {
		return p.changed(v, w, v.R.PathValue("action"), nil)
	}
	if err != nil {
		return err
	}
	seen := sentMark(v)
	if !a.fits(k) {
		return p.changed(v, w, a.Name, &k)
	}
	path, err := w.path(k.Section(), k.Name)
	if err != nil {
		return err
	}
	err = a.call(v, v.API().If(seen.Tag), path)
	if client.Changed(err) {
		return p.changed(v, w, a.Name, &k)
	}
	if err != nil && refused(err) {
		return p.question(v, http.StatusConflict, question{
			Where: w, Key: w.cell(k), Action: a, Mark: seen, Overlaps: overlaps, Failed: page.Detail(err), Bad: true,
		})
	}
	if err != nil {
		return err
	}
	to := w.cell(k).At
	if a.Name == "delete" || k.Former() {
		to = w.URL()
	}
	return v.Redirect(to + "?" + url.Values{"done": {"key-" + a.Name}, "key": {k.Name}}.Encode())
}

// current reads a key again, for forms that are shown anew.
func (w where) current(ctx context.Context, v *page.Visit) (key, error) {
	return w.find(ctx, v.API(), v.R.PathValue("section"), v.R.PathValue("key"))
}
