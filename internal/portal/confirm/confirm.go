// Package confirm owns the page that asks before something is done: what it means,
// what it will break as far as that is known, and the form that does it. It does not
// know what is done.
package confirm

import (
	"embed"
	"html/template"
	"net/http"

	"github.com/latchkey/latchkey/internal/portal/page"
)

//go:embed templates
var templates embed.FS

// Field is a hidden field of the form.
type Field struct{ Name, Value string }

// Question is what is asked.
type Question struct {
	Means  template.HTML
	Breaks []template.HTML // what will not work any more; nil where nothing is known
	Calm   string          // key of the text for no such thing; "" says nothing
	Action string          // address of the form
	Fields []Field
	Button string // key of its text
	Danger bool
	Back   string // address of the page to go back to
	Failed string // why it was not done, of the API
	Lacks  string // the action that whoever is asked may not do, as page.Visit.Lacking gives it: there is no form then
}

// Page shows questions. It is safe for concurrent use.
type Page struct{ one *page.Template }

// New makes the page.
func New() (*Page, error) {
	t, err := page.Parse(templates, "templates/confirm.html")
	return &Page{t}, err
}

// Ask shows a question in the frame that c says.
func (p *Page) Ask(v *page.Visit, c page.Content, q Question) error {
	status := http.StatusOK
	if q.Failed != "" {
		status = http.StatusConflict
	}
	c.Data = q
	return v.ShowAs(status, p.one, c)
}
