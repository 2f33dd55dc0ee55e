// Package place owns where things are: the pages about an app and its functions,
// and the paths of the management API that they read. It does not know what pages
// show.
package place

import (
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
)

// App is an app by its names.
type App struct {
	Subscription string
	Group, Name  string
}

// Of reads the app that a page is about from its address, "…/apps/{group}/{app}/…".
func Of(v *page.Visit) App {
	return App{v.Site().SubscriptionID, v.R.PathValue("group"), v.R.PathValue("app")}
}

// Pattern is the path of an app's pages in patterns of a mux.
const Pattern = page.Base + "apps/{group}/{app}"

// FunctionPattern is that of a function's pages.
const FunctionPattern = Pattern + "/functions/{function}"

// URL gives the address of a page about the app, below its own by segments.
func (a App) URL(segments ...string) string {
	return strings.TrimSuffix(page.Base, "/") + client.Path(append([]string{"apps", a.Group, a.Name}, segments...)...)
}

// Path gives the path of the app in the management API, or of what is below it by
// segments.
func (a App) Path(segments ...string) string {
	return client.Path(append([]string{"subscriptions", a.Subscription, "resourceGroups", a.Group, "providers", "Microsoft.Web", "sites", a.Name}, segments...)...)
}

// Crumbs are the steps to a page about the app.
func (a App) Crumbs(more ...page.Crumb) []page.Crumb {
	return append([]page.Crumb{{Name: a.Name, URL: a.URL()}}, more...)
}

// Tabs are the pages about the app; current is the text of the one that is shown.
func (a App) Tabs(current string) []page.Tab {
	return tabs(current, page.Tab{Text: "tab.overview", URL: a.URL()}, page.Tab{Text: "tab.functions", URL: a.URL("functions")},
		page.Tab{Text: "tab.keys", URL: a.URL("keys")}, page.Tab{Text: "tab.configuration", URL: a.URL("configuration")},
		page.Tab{Text: "tab.identity", URL: a.URL("identity")}, page.Tab{Text: "tab.keystore", URL: a.URL("keystore")}, page.Tab{Text: "tab.logs", URL: a.URL("logs")})
}

// FunctionTabs are the pages about a function of the app.
func (a App) FunctionTabs(function, current string) []page.Tab {
	return tabs(current, page.Tab{Text: "tab.function", URL: a.URL("functions", function)},
		page.Tab{Text: "tab.test", URL: a.URL("functions", function, "test")},
		page.Tab{Text: "tab.functionkeys", URL: a.URL("functions", function, "keys")})
}

func tabs(current string, list ...page.Tab) []page.Tab {
	for i := range list {
		list[i].Current = list[i].Text == current
	}
	return list
}

// Notice makes what is told after a form was taken, by the page's query: only texts
// that there are can be asked for.
func Notice(v *page.Visit, name string) *page.Notice {
	key := "done." + v.R.URL.Query().Get("done")
	if v.R.Method != http.MethodGet || !v.Text.Has(key) {
		return nil
	}
	return &page.Notice{Kind: "good", Text: v.Text.HTML(key, "name", name)}
}
