package keys

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/record"
)

// mark is what a form was made for: the key as it was seen, and when that was.
type mark struct {
	Tag   string
	Since string // see record.Moment
}

func markOf(v *page.Visit, k key) mark {
	return mark{k.ETag, record.Moment(v)}
}

// sentMark is the mark in a form that was sent. A form without one was made for no key
// that there is.
func sentMark(v *page.Visit) mark {
	return mark{v.R.PostForm.Get("mark"), v.R.PostForm.Get("since")}
}

// change is something that was done with a key meanwhile.
type change struct {
	Time    time.Time
	Text    string // key of a text
	Who     string
	Quietly bool // by nobody
}

// changed is what the page about a form shows that came too late.
type changed struct {
	Where   where
	Action  string // what was wanted
	Key     *cell  // as it is now; nil if it is gone
	Again   string // address of the form; "" if it does not fit any more
	Changes []change
	Hidden  string // key of a text that says why nothing is known of them
}

// changed says that a key was changed by somebody else, by whom, and what to do.
// Nothing was done.
func (p *pages) changed(v *page.Visit, w where, action string, k *key) error {
	c := changed{Where: w, Action: action}
	name := v.R.PathValue("key")
	if now, err := w.current(v.Context(), v); err == nil {
		cell := w.cell(now)
		c.Key, name = &cell, now.Name
		if action == "edit" && !now.Former() || now.Can(action) {
			c.Again = cell.At + "/edit"
			if action != "edit" {
				c.Again = cell.At + "/do/" + action
			}
		}
	} else if k != nil {
		name = k.Name
	}
	c.Changes, c.Hidden = w.changes(v, v.R.PathValue("section"), name)
	return v.ShowAs(http.StatusConflict, p.changes, page.Content{
		Scope: w.Scope(), Title: v.Text.Plain("error.changed.title"), Crumbs: w.crumbs(v, page.Crumb{Name: name}), Data: c,
	})
}

const mostChanges = 5

// changes finds in the audit record what was done with a key since the form was made.
func (w where) changes(v *page.Visit, section, name string) (list []change, hidden string) {
	events, hidden := record.Since(v, w.auditScope(), v.R.PostForm.Get("since"))
	for _, e := range events {
		if text := about(e, section, name); text != "" && len(list) < mostChanges {
			list = append(list, change{e.Time, text, e.Who(), e.Principal.ObjectID == ""})
		}
	}
	return list, hidden
}

// auditScope is the app, where the record has what happened to keys by itself, or its
// function.
func (w where) auditScope() string {
	if w.Function != "" {
		return w.at()
	}
	return w.App.Path()
}

// done are the texts of what the last segment of a call's path does.
var done = map[string]string{
	"rotate": "changed.rotate", "disable": "changed.disable", "enable": "changed.enable", "expire": "changed.expire", "endoverlap": "changed.endoverlap",
}

// about gives the text of what an event did with a key; "" if it did nothing with it.
func about(e record.Event, section, name string) string {
	if e.Category == "System" && strings.EqualFold(e.Details["key"], section+"/"+name) && strings.EqualFold(e.Action, "keys/rotated") {
		return "changed.rotate"
	}
	if e.Category != "Write" || e.Outcome != "" && e.Outcome != "Succeeded" {
		return ""
	}
	path := strings.Split(strings.TrimRight(e.Details["path"], "/"), "/")
	for i := range path {
		path[i], _ = url.PathUnescape(path[i])
	}
	n := len(path)
	if n >= 2 && strings.EqualFold(path[n-2], name) && done[strings.ToLower(path[n-1])] != "" {
		return done[strings.ToLower(path[n-1])]
	}
	if n < 2 || !strings.EqualFold(path[n-1], name) || !ofSection(section, path[n-2]) {
		return ""
	}
	return map[string]string{http.MethodPut: "changed.value", http.MethodPatch: "changed.meta", http.MethodDelete: "changed.delete"}[e.Details["method"]]
}

// ofSection reports whether a segment of a path stands for keys of a section, in any
// of its spellings.
func ofSection(section, segment string) bool {
	want := strings.TrimSuffix(strings.ToLower(sections[section]), "s")
	return want != "" && strings.TrimSuffix(strings.ToLower(segment), "s") == want
}
