package keys

import (
	"context"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// maxKeys is the most that are listed of a place.
const maxKeys = 2000

// where is where keys lie: at the host of an app, or with one of its functions.
type where struct {
	App      place.App
	Function string // "" for the host's
}

func whereOf(v *page.Visit) where { return where{place.Of(v), v.R.PathValue("function")} }

// URL gives the address of the page with the keys, or of one below it.
func (w where) URL(segments ...string) string {
	if w.Function == "" {
		return w.App.URL(append([]string{"keys"}, segments...)...)
	}
	return w.App.URL(append([]string{"functions", w.Function, "keys"}, segments...)...)
}

// at gives the path of the place in the management API.
func (w where) at(segments ...string) string {
	if w.Function == "" {
		return w.App.Path(append([]string{"host", "default"}, segments...)...)
	}
	return w.App.Path(append([]string{"functions", w.Function}, segments...)...)
}

// Scope gives the path of the resource that the keys lie in.
func (w where) Scope() string {
	if w.Function == "" {
		return w.App.Path()
	}
	return w.App.Path("functions", w.Function)
}

// Reads names the action of reading values.
func (w where) Reads() string {
	if w.Function == "" {
		return "Microsoft.Web/sites/host/listkeys/action"
	}
	return "Microsoft.Web/sites/functions/listkeys/action"
}

// rights are the actions on kinds of keys, without write or delete.
var rights = map[string]string{
	"master": "Microsoft.Web/sites/host/masterkey/", "host": "Microsoft.Web/sites/host/functionkeys/",
	"system": "Microsoft.Web/sites/host/systemkeys/", "function": "Microsoft.Web/sites/functions/keys/",
}

// Kinds are those of which keys are made.
func (w where) Kinds() []string {
	if w.Function == "" {
		return []string{"host", "system"}
	}
	return []string{"function"}
}

// Write names the action of making and changing keys of a kind.
func (where) Write(kind string) string { return rights[kind] + "write" }

// Delete names that of deleting them.
func (where) Delete(kind string) string { return rights[kind] + "delete" }

// sections are the kinds of keys by the part of an address, as the management API
// spells them.
var sections = map[string]string{"master": "masterKey", "host": "functionKeys", "system": "systemKeys", "function": "keys"}

// path gives the path of a key, or of something that is done with it.
func (w where) path(section, name string, segments ...string) (string, error) {
	typ, known := sections[section]
	if !known || (section == "function") != (w.Function != "") {
		return "", problem.New(problem.NotFound, "there are no such keys")
	}
	return w.at(append([]string{typ, name}, segments...)...), nil
}

// list reads what is known of the keys.
func (w where) list(ctx context.Context, api *client.Client) ([]key, error) {
	type item struct {
		Name       string
		Properties key
	}
	items, _, err := client.List[item](ctx, api, w.at("keyMetadata"), maxKeys)
	if err != nil {
		return nil, err
	}
	all := make([]key, len(items))
	for i, it := range items {
		all[i] = it.Properties
	}
	return listed(all), nil
}

// find reads what is known of one key.
func (w where) find(ctx context.Context, api *client.Client, section, name string) (key, error) {
	all, err := w.list(ctx, api)
	if err != nil {
		return key{}, err
	}
	return pick(all, section, name)
}

// pick finds one of several keys.
func pick(all []key, section, name string) (key, error) {
	for _, k := range all {
		if k.Kind == section && (strings.EqualFold(k.Name, name) || section == "master" && k.Retires == "" && strings.EqualFold(name, "_master")) {
			return k, nil
		}
	}
	return key{}, problem.New(problem.NotFound, "there is no such key")
}

// values are those of all keys of a place. Former values of the master key are given
// to nobody.
type values struct {
	Master    string            `json:"masterKey"`
	Functions map[string]string `json:"functionKeys"`
	System    map[string]string `json:"systemKeys"`
}

// values reads them. Reading them is recorded.
func (w where) values(ctx context.Context, api *client.Client) (all values, err error) {
	if w.Function != "" {
		err = api.Do(ctx, http.MethodPost, w.at("listkeys"), nil, &all.Functions)
		return all, err
	}
	err = api.Do(ctx, http.MethodPost, w.at("listkeys"), nil, &all)
	return all, err
}

// of gives the value of a key; "" when there is none that can be shown.
func (all values) of(k key) string {
	switch {
	case k.Kind == "system":
		return all.System[k.Name]
	case k.Kind == "master" && k.Former():
		return ""
	case k.Kind == "master":
		return all.Master
	}
	return all.Functions[k.Name]
}

// crumbs are the steps to a page about the keys.
func (w where) crumbs(v *page.Visit, more ...page.Crumb) []page.Crumb {
	if w.Function == "" {
		return w.App.Crumbs(append([]page.Crumb{{Name: v.Text.Plain("tab.keys"), URL: w.URL()}}, more...)...)
	}
	steps := []page.Crumb{
		{Name: v.Text.Plain("tab.functions"), URL: w.App.URL("functions")}, {Name: w.Function, URL: w.App.URL("functions", w.Function)},
		{Name: v.Text.Plain("tab.functionkeys"), URL: w.URL()},
	}
	return w.App.Crumbs(append(steps, more...)...)
}

func (w where) tabs() []page.Tab {
	if w.Function == "" {
		return w.App.Tabs("tab.keys")
	}
	return w.App.FunctionTabs(w.Function, "tab.functionkeys")
}
