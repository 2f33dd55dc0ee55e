// Package record owns the pages about the audit record: what was done and refused,
// whether the record is whole, and why a request was refused. It does not know how
// the record is kept, or who may read it.
package record

import (
	"cmp"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/text"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

// Paths of the pages.
const (
	Path = page.Base + "audit"
	Why  = page.Base + "why"
)

const api = "/providers/Latchkey.Audit/"

type pages struct{ list, why *page.Template }

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"list": &p.list, "why": &p.why} {
		t, err := page.Parse(templates, "templates/"+name+".html")
		*to = t
		errs = append(errs, err)
	}
	m.Page(Path, func(v *page.Visit) error { return p.show(v, nil) })
	m.Action(Path+"/verify", p.verify)
	m.Page(Path+"/export", export)
	m.Page(Why, p.explain)
	return errors.Join(errs...)
}

// Event is something that was done or refused, as the management API shows it.
type Event struct {
	Sequence  uint64
	Time      time.Time
	Category  string
	Action    string
	Scope     string
	Principal struct{ ObjectID, AppID, Name string }
	Source    string
	Outcome   string
	Status    int
	Reason    string
	ID        string `json:"correlationId"`
	Node      string
	Details   map[string]string
	Count     int
	Until     time.Time
}

// Who names whoever did it, or where it came from.
func (e Event) Who() string {
	name := e.Principal.Name
	if strings.HasPrefix(name, "/subscriptions/") { // the identity of what has this id
		name = Event{Scope: name}.Thing()
	}
	for _, name := range []string{name, e.Principal.AppID, e.Principal.ObjectID, e.Source} {
		if name != "" {
			return name
		}
	}
	return "–"
}

// Thing names what it is about, shortly.
func (e Event) Thing() string {
	_, rest, ok := strings.Cut(e.Scope, "/providers/")
	if !ok {
		return cmp.Or(strings.TrimPrefix(e.Scope, "/"), "–")
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return rest
	}
	return strings.Join(parts[1:], "/")
}

// Target names what was called, for sentences.
func (e Event) Target() string { return cmp.Or(e.Details["function"], e.Thing()) }

// Words says why it was decided so.
func (e Event) Words(l text.Language) template.HTML {
	_, key, _ := strings.Cut(e.Details["key"], "/")
	return l.HTML(textOf(e), "target", e.Target(), "key", key, "who", e.Who(), "action", e.Action, "status", e.Status,
		"source", e.Source, "method", e.Details["method"], "reason", e.Reason)
}

// Shown gives the text of the outcome, and how it is shown.
func (e Event) Shown() struct{ Text, Kind string } {
	switch strings.ToLower(e.Outcome) {
	case "", "succeeded":
		return struct{ Text, Kind string }{"outcome.succeeded", "good"}
	case "denied":
		return struct{ Text, Kind string }{"outcome.denied", "bad"}
	case "admitted":
		return struct{ Text, Kind string }{"outcome.admitted", ""}
	}
	return struct{ Text, Kind string }{"outcome.failed", "warn"}
}

// WhyURL gives the page that explains it; "" for what was not refused.
func (e Event) WhyURL() string {
	if e.ID == "" || !strings.EqualFold(e.Outcome, "denied") {
		return ""
	}
	return Why + "?" + url.Values{"id": {e.ID}}.Encode()
}

// filter is what the list is narrowed to, as it was filled in.
type filter struct{ From, To, Zone, Principal, Category, Outcome, Action, Scope, After string }

func filterOf(q url.Values) filter {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return filter{get("from"), get("to"), get("zone"), get("principal"), get("category"), get("outcome"), get("action"), get("scope"), get("after")}
}

// URL gives the address of the list from somewhere on.
func (f filter) URL(after string) string {
	q := url.Values{}
	for name, value := range map[string]string{"from": f.From, "to": f.To, "zone": f.Zone, "principal": f.Principal,
		"category": f.Category, "outcome": f.Outcome, "action": f.Action, "scope": f.Scope, "after": after} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return Path
	}
	return Path + "?" + q.Encode()
}

// Any reports whether it leaves something out.
func (f filter) Any() bool { f.Zone, f.After = "", ""; return f != filter{} }

// query gives what to ask the management API.
func (f filter) query(v *page.Visit) (url.Values, error) {
	q := url.Values{"$top": {strconv.Itoa(perPage)}}
	for name, text := range map[string]string{"from": f.From, "to": f.To} {
		at, err := viewersTime(text, f.Zone)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() {
			q.Set(name, at.Format(time.RFC3339))
		}
	}
	scope, err := resourceID(v, f.Scope)
	if err != nil {
		return nil, err
	}
	who, err := objectID(v, f.Principal)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"principal": who, "category": f.Category, "outcome": f.Outcome, "action": f.Action, "scope": scope, "$skiptoken": f.After} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q, nil
}

// viewersTime reads a time of a form, in the viewer's zone as far as the browser has
// told it.
func viewersTime(text, zone string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	minutes, _ := strconv.Atoi(zone) // none is UTC
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Add(time.Duration(minutes) * time.Minute).UTC(), nil
		}
	}
	return time.Time{}, problem.New(problem.Invalid, "this is no time")
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

// objectID finds a principal by its name; ids stay as they are.
func objectID(v *page.Visit, text string) (string, error) {
	if text == "" || guid.MatchString(text) {
		return text, nil
	}
	type principal struct {
		Properties struct {
			Name     string `json:"displayName"`
			ObjectID string `json:"objectId"`
		}
		Name     string
		ObjectID string
	}
	list, _, err := client.List[principal](v.Context(), v.API(), "/providers/Latchkey.Directory/principals", 10000)
	if err != nil {
		return "", err
	}
	for _, p := range list {
		for _, name := range []string{p.Properties.Name, p.Name} {
			if strings.EqualFold(name, text) {
				return p.Properties.ObjectID + p.ObjectID, nil
			}
		}
	}
	return "", errNoPrincipal
}

// resourceID finds a resource by its name; ids stay as they are.
func resourceID(v *page.Visit, text string) (string, error) {
	if text == "" || strings.HasPrefix(text, "/") {
		return text, nil
	}
	query := "resources | where name =~ '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "' | project id"
	var answer struct{ Data []struct{ ID string } }
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": query,
	}, &answer)
	if err == nil && len(answer.Data) == 0 {
		return "", errNoResource
	}
	if err != nil {
		return "", err
	}
	return answer.Data[0].ID, nil
}

var (
	errNoPrincipal = problem.New(problem.Invalid, "no principal has this name")
	errNoResource  = problem.New(problem.Invalid, "no resource has this name")
)
