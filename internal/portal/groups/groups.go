// Package groups owns the field of forms that says which resource group something is
// made in, and makes the group if there is none of the name. It does not know what is
// made.
package groups

import (
	"embed"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

const (
	most     = 500 // groups that a field offers
	first    = "apps"
	location = "local" // of what has no other
)

// Parts adds the part "group-field" to the templates of a page, which shows a [Field].
func Parts(t *page.Template) error { return t.Add(templates, "templates/group.html") }

// Field is the field "group" of a form.
type Field struct {
	Chosen string
	There  []string
}

// Read reads which groups there are. Without a choice the only group is chosen, or the
// one that commands take.
func Read(v *page.Visit, chosen string) (Field, error) {
	list, _, err := client.List[struct{ Name string }](v.Context(), v.API(), client.Path("subscriptions", v.Site().SubscriptionID, "resourceGroups"), most)
	f := Field{Chosen: chosen}
	for _, g := range list {
		f.There = append(f.There, g.Name)
	}
	slices.SortFunc(f.There, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	switch {
	case chosen != "":
	case len(f.There) == 1:
		f.Chosen = f.There[0]
	default:
		f.Chosen = first
	}
	return f, err
}

// looked is how many groups are looked at for one in which something may be made.
const looked = 100

// Lacking gives an action that whoever is signed in may do in no group that there is,
// noted for the page, and "" if there is one.
func Lacking(v *page.Visit, action string) string {
	within := client.Path("subscriptions", v.Site().SubscriptionID)
	if v.May(within).Do(action) {
		return ""
	}
	list, more, err := client.List[struct{ Name string }](v.Context(), v.API(), within+"/resourceGroups", looked)
	for _, g := range list {
		if v.May(within + client.Path("resourceGroups", g.Name)).Do(action) {
			return ""
		}
	}
	if more || err != nil { // it is not known
		return ""
	}
	v.Lacks(action)
	return action
}

// Chosen gives what was filled in.
func Chosen(v *page.Visit) string { return strings.TrimSpace(v.R.PostForm.Get("group")) }

// Ensure makes a group unless it is there, and gives its path and its location.
func Ensure(v *page.Visit, name string) (path, where string, err error) {
	path = client.Path("subscriptions", v.Site().SubscriptionID, "resourceGroups", name)
	var g struct{ Location string }
	err = v.API().Get(v.Context(), path, &g)
	if errors.Is(err, problem.NotFound) {
		err = v.API().Do(v.Context(), http.MethodPut, path, map[string]any{"location": location}, &g)
	}
	if g.Location == "" {
		g.Location = location
	}
	return path, g.Location, err
}
