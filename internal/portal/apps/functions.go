package apps

import (
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// maxFunctions is the most that are listed of an app.
const maxFunctions = 1000

// row is a function as pages show it.
type row struct {
	Name    string
	URL     string // of its page
	Trigger string
	Level   string // key of a text, "" for functions that no request starts
	Methods string
	Address string // where it is called
	Off     bool
	HTTP    bool
}

func rowOf(a place.App, f function) row {
	t := f.trigger()
	r := row{Name: f.Properties.Name, URL: a.URL("functions", f.Properties.Name), Trigger: t.Type, Off: f.Properties.Off}
	if r.HTTP = strings.EqualFold(t.Type, "httpTrigger"); r.HTTP {
		r.Level = "level.function"
		switch strings.ToLower(t.AuthLevel) {
		case "anonymous", "admin":
			r.Level = "level." + strings.ToLower(t.AuthLevel)
		}
		r.Methods = strings.ToUpper(strings.Join(t.Methods, ", "))
	}
	if f.Properties.URL != nil {
		r.Address = *f.Properties.URL
	}
	return r
}

type functionList struct {
	App  place.App
	Rows []row
	More bool
}

func (p *pages) showFunctions(v *page.Visit) error {
	a := place.Of(v)
	list, more, err := client.List[function](v.Context(), v.API(), a.Path("functions"), maxFunctions)
	if err != nil {
		return err
	}
	shown := functionList{App: a, More: more}
	for _, f := range list {
		shown.Rows = append(shown.Rows, rowOf(a, f))
	}
	slices.SortFunc(shown.Rows, func(x, y row) int { return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)) })
	return v.Show(p.functions, page.Content{
		Title: v.Text.Plain("functions.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.functions"), Data: shown,
	})
}

type oneFunction struct {
	App place.App
	Row row
}

func (p *pages) showFunction(v *page.Visit) error {
	a, name := place.Of(v), v.R.PathValue("function")
	var f function
	if err := v.API().Get(v.Context(), a.Path("functions", name), &f); err != nil {
		return err
	}
	r := rowOf(a, f)
	return v.Show(p.function, page.Content{
		Scope: a.Path("functions", name), Title: r.Name, Crumbs: a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.functions"), URL: a.URL("functions")}, page.Crumb{Name: r.Name}),
		Tabs: a.FunctionTabs(r.Name, "tab.function"), Notice: place.Notice(v, r.Name), Data: oneFunction{a, r},
	})
}

// setFunction switches a function on or off.
func setFunction(to string) page.Handler {
	return func(v *page.Visit) error {
		a, name := place.Of(v), v.R.PathValue("function")
		body := map[string]string{"properties": to}
		if err := v.API().Do(v.Context(), http.MethodPut, a.Path("functions", name, "properties", "state"), body, nil); err != nil {
			return err
		}
		return v.Redirect(a.URL("functions", name) + "?done=function-" + to)
	}
}
