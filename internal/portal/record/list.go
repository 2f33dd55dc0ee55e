package record

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

const perPage = 50

// list is what the page shows.
type list struct {
	Filter     filter
	Events     []Event
	Next       string // address of the page with older ones
	Newest     string // that of the newest, if these are not
	Bad        string // what is wrong with what was filled in: key of a text
	Report     *report
	Categories []string
	Outcomes   []string
}

// report is what the verification of the chain found.
type report struct {
	Intact bool
	Events uint64
	Head   struct {
		Sequence uint64
		Hash     string
		Time     time.Time
	}
	Faults []struct {
		Kind          string
		From, Through uint64
	}
	More bool
}

// faults are the texts of what can be wrong with the chain.
var faults = map[string]string{
	"Changed": "fault.changed", "Missing": "fault.missing", "Reordered": "fault.reordered", "Surplus": "fault.surplus", "NoHead": "fault.nohead",
}

// Fault gives the text of a kind of fault.
func (report) Fault(kind string) string {
	if text, known := faults[kind]; known {
		return text
	}
	return "fault.changed"
}

func (p *pages) show(v *page.Visit, r *report) error {
	l := list{
		Filter: filterOf(v.R.URL.Query()), Report: r,
		Categories: []string{"Write", "SecretRead", "Denied", "SignIn", "System"}, Outcomes: []string{"Succeeded", "Failed", "Denied"},
	}
	status := http.StatusOK
	err := l.read(v)
	switch {
	case errors.Is(err, errNoPrincipal):
		l.Bad, status = "audit.noprincipal", http.StatusBadRequest
	case errors.Is(err, errNoResource):
		l.Bad, status = "audit.noresource", http.StatusBadRequest
	case errors.Is(err, problem.Invalid):
		l.Bad, status = "audit.badfilter", http.StatusBadRequest
	case err != nil:
		return err
	}
	return v.ShowAs(status, p.list, page.Content{Scope: "/", Title: v.Text.Plain("audit.title"), Data: l})
}

// read reads one page of events.
func (l *list) read(v *page.Visit) error {
	q, err := l.Filter.query(v)
	if err != nil {
		return err
	}
	var answer struct {
		Value []Event
		Next  string `json:"nextLink"`
	}
	if err := v.API().Get(v.Context(), api+"events?"+q.Encode(), &answer); err != nil {
		return err
	}
	l.Events = answer.Value
	if next, err := url.Parse(answer.Next); err == nil && answer.Next != "" {
		l.Next = l.Filter.URL(next.Query().Get("$skiptoken"))
	}
	if l.Filter.After != "" {
		l.Newest = l.Filter.URL("")
	}
	return nil
}

func (p *pages) verify(v *page.Visit) error {
	var r report
	if err := v.API().Do(v.Context(), http.MethodPost, api+"verify", nil, &r); err != nil {
		return err
	}
	return p.show(v, &r)
}

// export gives the whole record as a file that latchkey audit verify checks.
func export(v *page.Visit) error {
	text, err := v.API().Raw(v.Context(), api+"export")
	if errors.Is(err, client.ErrTooLarge) {
		return &page.Plain{Status: http.StatusRequestEntityTooLarge, Title: "audit.toolarge.title", Body: "audit.toolarge.body"}
	}
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Content-Disposition", `attachment; filename="audit-`+v.Site().Clock.Now().UTC().Format("20060102-150405")+`.jsonl"`)
	_, _ = v.W.Write(text) // a browser that went away
	return nil
}
