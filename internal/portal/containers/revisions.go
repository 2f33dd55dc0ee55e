package containers

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// revisions is what the page about the revisions shows.
type revisions struct {
	At       at
	List     []revision // newest first
	Latest   string
	Multiple bool // several can be active, so that there is something to share
	Serves   bool
	Rows     []row
	Mark     string // what the form was made from
}

// row is a part of the requests in the form.
type row struct {
	Revision, Label string
	Latest          bool
	Weight          string // as it was typed
}

func (a at) revisions(v *page.Visit) ([]revision, error) {
	all, _, err := client.List[revision](v.Context(), v.API(), a.path("revisions"), most)
	slices.SortStableFunc(all, func(x, y revision) int { return y.Properties.Created.Compare(x.Properties.Created) })
	return all, err
}

func (p *pages) showRevisions(v *page.Visit) error { return p.revisionsWith(v, nil, nil) }

// revisionsWith shows the page, after a form that was refused with its rows.
func (p *pages) revisionsWith(v *page.Visit, typed []row, said *page.Notice) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	data := revisions{At: a, Latest: x.Properties.Latest, Multiple: strings.EqualFold(x.Properties.Configuration.Mode, "Multiple")}
	if data.List, err = a.revisions(v); err != nil {
		return err
	}
	if g := x.Properties.Configuration.Ingress; g != nil {
		data.Serves, data.Mark, data.Rows = true, markOf(g.Traffic), rows(g.Traffic, data.List)
	}
	if typed != nil {
		data.Rows = typed
	}
	c := a.content(v, "tab.revisions", v.Text.Plain("revisions.title", "app", x.Name), data)
	if said != nil {
		c.Notice = said
		return v.ShowAs(http.StatusBadRequest, p.revisions, c)
	}
	return v.Show(p.revisions, c)
}

// rows gives every share there is, and what could have one.
func rows(traffic []share, all []revision) []row {
	var list []row
	latest := false
	for _, s := range traffic {
		latest = latest || s.Latest
		list = append(list, row{s.Revision, s.Label, s.Latest, strconv.Itoa(s.Weight)})
	}
	if !latest {
		list = append(list, row{Latest: true, Weight: "0"})
	}
	for _, r := range all {
		named := slices.ContainsFunc(traffic, func(s share) bool { return strings.EqualFold(s.Revision, r.Name) })
		if r.Properties.Active && !named {
			list = append(list, row{Revision: r.Name, Weight: "0"})
		}
	}
	return list
}

// markOf tells whether something is still as it was.
func markOf(what any) string {
	text, _ := json.Marshal(what) // it is plain data
	return string(text)
}

// setTraffic shares out the requests anew, if they are still as the form had them.
func (p *pages) setTraffic(v *page.Visit) error {
	a, form := of(v), v.R.PostForm
	typed, next, wrong := shares(form["revision"], form["weight"], form["label"])
	if wrong != "" {
		return p.revisionsWith(v, typed, &page.Notice{Kind: "bad", Text: v.Text.HTML(wrong)})
	}
	x, err := a.read(v)
	if err != nil {
		return err
	}
	if g := x.Properties.Configuration.Ingress; g == nil || markOf(g.Traffic) != form.Get("mark") {
		return errChanged
	}
	err = a.patch(v, map[string]any{"ingress": map[string]any{"traffic": next}})
	if errors.Is(err, problem.Invalid) {
		return p.revisionsWith(v, typed, &page.Notice{Kind: "bad", Text: v.Text.HTML("traffic.refused", "why", page.Detail(err))})
	}
	if err != nil {
		return err
	}
	return v.Redirect(a.URL("revisions") + "?done=container-traffic")
}

// shares reads the form; wrong is the key of a text about what cannot be.
func shares(names, weights, labels []string) (typed []row, list []share, wrong string) {
	if len(names) != len(weights) || len(names) != len(labels) {
		return nil, nil, "traffic.incomplete"
	}
	sum := 0
	for i, name := range names {
		r := row{Revision: name, Label: strings.TrimSpace(labels[i]), Latest: name == "", Weight: strings.TrimSpace(weights[i])}
		typed = append(typed, r)
		n, err := strconv.Atoi(r.Weight)
		if r.Weight != "" && (err != nil || n < 0 || n > 100) {
			wrong = "traffic.number"
			continue
		}
		if sum += n; n > 0 || r.Label != "" {
			list = append(list, share{r.Revision, r.Latest, n, r.Label})
		}
	}
	if wrong == "" && sum != 100 {
		wrong = "traffic.sum"
	}
	return typed, list, wrong
}

// one is what the page about a revision shows.
type one struct {
	At       at
	Revision revision
	Replicas []replica
	Latest   bool
	Min, Max int
	Stopped  bool
}

func (p *pages) showRevision(v *page.Visit) error {
	a, name := of(v), v.R.PathValue("revision")
	x, err := a.read(v)
	if err != nil {
		return err
	}
	data := one{At: a, Stopped: x.stopped(), Max: 10}
	if err := v.API().Get(v.Context(), a.path("revisions", name), &data.Revision); err != nil {
		return err
	}
	if data.Replicas, _, err = client.List[replica](v.Context(), v.API(), a.path("revisions", name, "replicas"), most); err != nil {
		return err
	}
	if s := data.Revision.Properties.Template.Scale; s != nil {
		if s.Min != nil {
			data.Min = *s.Min
		}
		if s.Max != nil {
			data.Max = *s.Max
		}
	}
	data.Latest = strings.EqualFold(x.Properties.Latest, data.Revision.Name)
	crumbs := []page.Crumb{{Name: v.Text.Plain("tab.revisions"), URL: a.URL("revisions")}, {Name: data.Revision.Name, URL: a.URL("revisions", data.Revision.Name)}}
	return v.Show(p.revision, a.content(v, "tab.revisions", data.Revision.Name, data, crumbs...))
}
