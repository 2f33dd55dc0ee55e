package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// maxKeys is the most of a place that can be chosen of.
const maxKeys = 200

// Choices of a key that are none of the app's.
const (
	noKey    = "none"
	typedKey = "typed"
)

// choice is a key by its name.
type choice struct {
	Value string // section and name: "function/default"
	Kind  string // function, host or master
	Name  string
	State string // as the management API says
}

// Works reports whether whoever presents the key gets in.
func (c choice) Works() bool { return c.State == "active" }

// keyring is where keys lie, at the host of the app or with the function, and what
// reading them is called.
type keyring struct {
	kinds  []string
	path   func(a place.App, function string, segments ...string) string
	action string
}

var rings = []keyring{
	{[]string{"function"}, func(a place.App, function string, segments ...string) string {
		return a.Path(append([]string{"functions", function}, segments...)...)
	}, "Microsoft.Web/sites/functions/listkeys/action"},
	{[]string{"host", "master"}, func(a place.App, _ string, segments ...string) string {
		return a.Path(append([]string{"host", "default"}, segments...)...)
	}, "Microsoft.Web/sites/host/listkeys/action"},
}

// choices are the keys that can be chosen of.
type choices struct {
	Keys   []choice
	Lacks  []string // actions without which some of them are not offered
	Failed string   // why some are not offered, as the management API says
}

// offer reads the names of the keys that open a function, as far as whoever is signed
// in may read their values as well.
func offer(v *page.Visit, a place.App, f function) (choices, error) {
	var out choices
	for _, ring := range rings {
		if f.Admin && ring.kinds[0] == "function" {
			continue
		}
		if !v.May(ring.path(a, f.Name)).Do(ring.action) && !v.May(a.Path()).Do(ring.action) {
			out.Lacks = append(out.Lacks, ring.action)
			continue
		}
		err := out.add(v, a, f, ring)
		switch {
		case errors.Is(err, problem.Unauthenticated):
			return out, err
		case errors.Is(err, problem.Denied):
			out.Lacks = append(out.Lacks, strings.Replace(ring.action, "listkeys/action", "keymetadata/read", 1))
		case err != nil:
			out.Failed = page.Detail(err)
		}
	}
	return out, nil
}

func (c *choices) add(v *page.Visit, a place.App, f function, ring keyring) error {
	type item struct {
		Properties struct {
			Name, Kind, State, Retires string
			HashOnly                   bool
		}
	}
	items, _, err := client.List[item](v.Context(), v.API(), ring.path(a, f.Name, "keyMetadata"), maxKeys)
	if err != nil {
		return err
	}
	var found []choice
	for _, it := range items {
		k := it.Properties
		if slices.Contains(ring.kinds, k.Kind) && k.Retires == "" && !k.HashOnly && (!f.Admin || k.Kind == "master") {
			found = append(found, choice{k.Kind + "/" + k.Name, k.Kind, k.Name, k.State})
		}
	}
	slices.SortStableFunc(found, func(x, y choice) int {
		if byKind := slices.Index(ring.kinds, x.Kind) - slices.Index(ring.kinds, y.Kind); byKind != 0 {
			return byKind
		}
		return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name))
	})
	c.Keys = append(c.Keys, found...)
	return nil
}

// usual gives the key that opens the function and opens the least besides.
func (c choices) usual(f function) string {
	if f.Level == "anonymous" && !f.Admin {
		return noKey
	}
	kinds := []string{"function", "host"}
	if f.Admin || f.Level == "admin" {
		kinds = []string{"master"}
	}
	for _, kind := range kinds {
		best := ""
		for _, k := range c.Keys {
			if k.Kind == kind && k.Works() && (best == "" || k.Name == "default") {
				best = k.Value
			}
		}
		if best != "" {
			return best
		}
	}
	return typedKey
}

// value gives the key that was chosen. Reading one by its name is recorded. An error is
// for whoever has to sign in again.
func (f form) value(v *page.Visit, a place.App, function string) (string, *fault, error) {
	switch {
	case f.Key == noKey || f.Key == "":
		return "", nil, nil
	case f.Key == typedKey && f.typed == "":
		return "", &fault{Text: "console.key.empty"}, nil
	case f.Key == typedKey && strings.ContainsFunc(f.typed, control):
		return "", &fault{Text: "console.key.odd"}, nil
	case f.Key == typedKey:
		return f.typed, nil, nil
	}
	kind, name, _ := strings.Cut(f.Key, "/")
	for _, ring := range rings {
		if !slices.Contains(ring.kinds, kind) {
			continue
		}
		text, err := ring.read(v, a, function, kind, name)
		switch {
		case errors.Is(err, problem.Unauthenticated):
			return "", nil, err
		case errors.Is(err, problem.Denied):
			return "", &fault{"console.key.denied", ring.action, page.Detail(err)}, nil
		case err != nil:
			return "", &fault{"console.key.failed", name, page.Detail(err)}, nil
		case text != "":
			return text, nil, nil
		}
	}
	return "", &fault{Text: "console.key.gone", Name: name}, nil
}

// read gives the value of a key; "" if there is none of the name.
func (k keyring) read(v *page.Visit, a place.App, function, kind, name string) (string, error) {
	path := k.path(a, function, "listkeys")
	if kind == "function" {
		var values map[string]string
		err := v.API().Do(v.Context(), http.MethodPost, path, nil, &values)
		return values[name], err
	}
	var all struct {
		Master    string            `json:"masterKey"`
		Functions map[string]string `json:"functionKeys"`
	}
	err := v.API().Do(v.Context(), http.MethodPost, path, nil, &all)
	if kind == "master" {
		return all.Master, err
	}
	return all.Functions[name], err
}
