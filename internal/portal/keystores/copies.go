package keystores

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// keyCopy is a copy of a key document, as the management API shows it.
type keyCopy struct {
	Document string
	Copy     string
	Opens    bool
	Keys     int
	Reason   string
	Now      string // what the document itself is: same, other, damaged or missing
}

// Shown gives the text of how the copy is, and how it is shown.
func (c keyCopy) Shown() (s struct{ Text, Kind string }) {
	s.Text, s.Kind = "copies.opens", "good"
	if !c.Opens {
		s.Text, s.Kind = "copies.shut", "bad"
	}
	return s
}

// nows are the texts of what the documents are that copies are of.
var nows = map[string]string{"same": "copies.same", "other": "copies.other", "damaged": "copies.damaged", "missing": "copies.missing"}

// NowText gives the text of what the document is.
func (c keyCopy) NowText() string {
	if text, known := nows[c.Now]; known {
		return text
	}
	return "copies.other"
}

// Damaged reports whether the document itself cannot be used.
func (c keyCopy) Damaged() bool { return c.Now == "damaged" }

// Restorable reports whether the copy can take the document's place and would change
// something.
func (c keyCopy) Restorable() bool { return c.Opens && c.Now != "same" }

// gone are the keys of a function that is gone.
type gone struct {
	Function string
	Keys     []string
	Until    time.Time
}

// copies is what the page shows.
type copies struct {
	App    place.App
	Copies []keyCopy
	Gone   []gone
	Failed string // why copies cannot be listed
}

const most = 2000

func (p *pages) showCopies(v *page.Visit) error {
	c := copies{App: place.Of(v)}
	var err error
	if c.Copies, _, err = client.List[keyCopy](v.Context(), v.API(), c.App.Path("host", "default", "keycopies"), most); err != nil {
		if page.Detail(err) == "" || errors.Is(err, problem.NotFound) || errors.Is(err, problem.Denied) {
			return err
		}
		c.Failed = page.Detail(err)
	}
	if c.Gone, err = goneOf(v, c.App); err != nil && c.Failed == "" {
		return err
	}
	return v.Show(p.copies, page.Content{
		Scope: c.App.Path(), Title: v.Text.Plain("copies.title", "app", c.App.Name), Crumbs: crumbs(v, c.App),
		Tabs: c.App.Tabs("tab.keystore"), Notice: place.Notice(v, v.R.URL.Query().Get("document")), Data: c,
	})
}

func crumbs(v *page.Visit, a place.App) []page.Crumb {
	return a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.keystore"), URL: a.URL("keystore")}, page.Crumb{Name: v.Text.Plain("copies.crumb"), URL: a.URL("keystore", "copies")})
}

// goneOf gives the keys of functions that are gone, by function.
func goneOf(v *page.Visit, a place.App) ([]gone, error) {
	type item struct {
		Properties struct {
			Name, Function string
			Until          time.Time `json:"quarantinedUntil"`
		}
	}
	list, _, err := client.List[item](v.Context(), v.API(), a.Path("host", "default", "quarantinedKeyMetadata"), most)
	var all []gone
	for _, i := range list {
		p := i.Properties
		at := slices.IndexFunc(all, func(g gone) bool { return g.Function == p.Function })
		if at < 0 {
			all, at = append(all, gone{Function: p.Function, Until: p.Until}), len(all)
		}
		all[at].Keys = append(all[at].Keys, p.Name)
	}
	return all, err
}

// deed is something that is done with a copy, or with the document that it is of.
type deed struct {
	Call   string // of the management API
	Breaks bool   // keys that work stop working
}

var deeds = map[string]deed{"restore": {"restorekeys", true}, "remove": {"removekeycopy", false}, "discard": {"discardkeys", true}}

// asked gives what an address and its query ask for.
func asked(v *page.Visit, values url.Values) (d deed, name, document, kept string, err error) {
	name, document, kept = v.R.PathValue("deed"), values.Get("document"), values.Get("copy")
	d, known := deeds[name]
	if !known || document == "" || kept == "" && name != "discard" {
		return d, name, document, kept, problem.New(problem.NotFound, "there is nothing of the kind")
	}
	return d, name, document, kept, nil
}

func (p *pages) askDeed(v *page.Visit) error {
	_, name, document, kept, err := asked(v, v.R.URL.Query())
	if err != nil {
		return err
	}
	return p.questionDeed(v, name, document, kept, "")
}

func (p *pages) questionDeed(v *page.Visit, name, document, kept, failed string) error {
	a := place.Of(v)
	var site struct{ Name string }
	if err := v.API().Get(v.Context(), a.Path(), &site); err != nil { // there is nothing to ask about an app that is not
		return err
	}
	var breaks []template.HTML
	if deeds[name].Breaks {
		breaks = append(breaks, v.Text.HTML("copies."+name+".breaks", "document", document))
	}
	return p.ask.Ask(v, page.Content{Scope: a.Path(), Title: v.Text.Plain("copies."+name+".title", "document", document), Crumbs: crumbs(v, a)}, confirm.Question{
		Means: v.Text.HTML("copies."+name+".means", "copy", kept, "document", document), Breaks: breaks,
		Action: a.URL("keystore", "copies", name), Fields: []confirm.Field{{Name: "document", Value: document}, {Name: "copy", Value: kept}},
		Button: "copies." + name, Danger: true, Back: a.URL("keystore", "copies"), Failed: failed,
		Lacks: v.Lacking(a.Path(), "Microsoft.Web/sites/host/"+deeds[name].Call+"/action"),
	})
}

func (p *pages) doDeed(v *page.Visit) error {
	d, name, document, kept, err := asked(v, v.R.PostForm)
	if err != nil {
		return err
	}
	a := place.Of(v)
	var answer struct{ NotMade, Next string }
	err = v.API().Do(v.Context(), http.MethodPost, a.Path("host", "default", d.Call), map[string]string{"document": document, "copy": kept}, &answer)
	if err != nil && page.Detail(err) != "" && !errors.Is(err, problem.Denied) {
		return p.questionDeed(v, name, document, kept, page.Detail(err))
	}
	if err != nil {
		return err
	}
	if answer.NotMade != "" {
		return p.questionDeed(v, name, document, kept, strings.TrimSpace(v.Text.Plain("copies.notmade")+" "+answer.NotMade+" "+answer.Next))
	}
	return v.Redirect(a.URL("keystore", "copies") + "?" + url.Values{"done": {"copies-" + name}, "document": {document}}.Encode())
}
