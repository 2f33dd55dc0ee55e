package settings

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/portal/record"
	"github.com/latchkey/latchkey/internal/problem"
)

// names are the settings without their values, and the entity tag of all of them.
type names struct {
	Value []struct {
		Name      string
		Reference bool
	}
	ETag string
}

// namesOf reads them; it is not recorded.
func namesOf(v *page.Visit, a place.App) (all names, err error) {
	err = v.API().Get(v.Context(), a.Path("config", "appsettings", "names"), &all)
	return all, err
}

// spelled gives a name as the app has it; problem.NotFound if there is no such setting.
func (n names) spelled(name string) (string, bool, error) {
	for _, s := range n.Value {
		if strings.EqualFold(s.Name, name) {
			return s.Name, s.Reference, nil
		}
	}
	return "", false, problem.New(problem.NotFound, "there is no such setting")
}

// valuesOf reads settings. It is recorded.
func valuesOf(v *page.Visit, a place.App) (map[string]string, error) {
	var answer struct{ Properties map[string]string }
	err := v.API().Do(v.Context(), http.MethodPost, a.Path("config", "appsettings", "list"), nil, &answer)
	if answer.Properties == nil {
		answer.Properties = map[string]string{}
	}
	return answer.Properties, err
}

// mark is what a form was made for: all settings as they were, and when that was.
type mark struct{ Tag, Since string }

func markOf(v *page.Visit, all names) mark { return mark{all.ETag, record.Moment(v)} }

func sentMark(v *page.Visit) mark {
	return mark{v.R.PostForm.Get("mark"), v.R.PostForm.Get("since")}
}

// write makes a change of the settings if they are as they were when the form was
// made. The management API replaces all of them, so all are read and sent back; an
// error of client.Changed says that somebody else changed some, and nothing was done.
func write(v *page.Visit, a place.App, m mark, change func(all map[string]string)) error {
	all, err := valuesOf(v, a)
	if err != nil {
		return err
	}
	change(all)
	return v.API().If(m.Tag).Do(v.Context(), http.MethodPut, a.Path("config", "appsettings"), map[string]any{"properties": all}, nil)
}

// drop takes a setting away, however its name is spelled.
func drop(all map[string]string, name string) {
	for have := range all {
		if strings.EqualFold(have, name) {
			delete(all, have)
		}
	}
}

// put gives a setting a value, under the name that is given.
func put(name, value string) func(map[string]string) {
	return func(all map[string]string) {
		drop(all, name)
		all[name] = value
	}
}

// clash tells of a form that came too late.
type clash struct {
	Who    []record.Event
	Hidden string // key of a text that says why nothing is known of them
}

const mostClash = 5

// clashOf finds out who changed settings since the form was made.
func clashOf(v *page.Visit, a place.App, m mark) *clash {
	c := &clash{}
	events, hidden := record.Since(v, a.Path(), m.Since)
	c.Hidden = hidden
	for _, e := range events {
		path := strings.ToLower(e.Details["path"])
		ours := strings.HasSuffix(path, "/config/appsettings") || strings.HasSuffix(path, "/sites/"+strings.ToLower(a.Name)) || strings.HasSuffix(path, "/host/default/migratekeys")
		if e.Category == "Write" && ours && (e.Outcome == "" || e.Outcome == "Succeeded") && len(c.Who) < mostClash {
			c.Who = append(c.Who, e)
		}
	}
	return c
}

// refused gives the reason of an error that is about what was filled in; "" for others.
func refused(err error) string {
	var said *client.Error
	if errors.As(err, &said) && (said.Status == http.StatusBadRequest || said.Status == http.StatusRequestEntityTooLarge || said.Status == http.StatusConflict) {
		return said.Message
	}
	return ""
}
