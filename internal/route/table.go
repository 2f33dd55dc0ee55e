package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// Entry is one function's route.
type Entry struct {
	Function *funcapp.Function
	Template *Template // prefix included
	methods  []string  // upper-cased; empty is every method
}

// Conflict is a function that cannot have its route. The caller adds Fault to
// the function; the table leaves the function out.
type Conflict struct {
	Index int // into the functions given to Build
	Fault funcapp.Fault
}

// Table finds the function for a request. It does not change after Build and
// may be used from several goroutines.
type Table struct {
	entries []Entry
	root    *node
}

// Build makes the table of all runnable HTTP functions, in function-name order.
// prefix is host.json's routePrefix. The table points into functions, which
// must not change while it is in use. Functions whose route is faulty,
// reserved, or taken by an earlier function are left out and returned.
func Build(prefix string, functions []funcapp.Function) (*Table, []Conflict) {
	t := &Table{root: &node{}}
	taken := map[string][]int{}
	var conflicts []Conflict
	for _, i := range inOrder(functions) {
		f := &functions[i]
		e, message := newEntry(prefix, f)
		key := strings.ToLower(strings.Trim(URLTemplate(prefix, f), "/"))
		for _, j := range taken[key] {
			if message == "" && overlap(e.methods, t.entries[j].methods) {
				message = fmt.Sprintf("route %s is taken by function %s", show(e.Template.text), t.entries[j].Function.Name)
			}
		}
		if message != "" {
			conflicts = append(conflicts, Conflict{i, fault(f, message)})
			continue
		}
		taken[key] = append(taken[key], len(t.entries))
		t.root.insert(e.Template, len(t.entries))
		t.entries = append(t.entries, e)
	}
	return t, append(conflicts, faultyRoutes(prefix, functions)...)
}

// faultyRoutes finds what is wrong with the routes of functions that are left out
// for other faults, so that everything is said at once.
func faultyRoutes(prefix string, functions []funcapp.Function) (conflicts []Conflict) {
	for i := range functions {
		f := &functions[i]
		if f.Excluded || len(f.Faults) == 0 || f.HTTP() == nil {
			continue
		}
		if _, message := newEntry(prefix, f); message != "" {
			conflicts = append(conflicts, Conflict{i, fault(f, message)})
		}
	}
	return conflicts
}

// Entries lists the routes in matching order.
func (t *Table) Entries() []Entry { return slices.Clone(t.entries) }

// URLTemplate gives a function's route as listings show it: the template as
// written, with prefix and leading slash. "" for functions without HTTP.
func URLTemplate(prefix string, f *funcapp.Function) string {
	h := f.HTTP()
	if h == nil {
		return ""
	}
	route := strings.Trim(strings.TrimPrefix(h.Route, "~/"), "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		route = strings.TrimSuffix(prefix+"/"+route, "/")
	}
	return "/" + route
}

// inOrder gives the indices of the functions that take part, by name.
func inOrder(functions []funcapp.Function) []int {
	var order []int
	for i := range functions {
		if functions[i].Runnable() && functions[i].HTTP() != nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return funcapp.CompareNames(functions[a].Name, functions[b].Name)
	})
	return order
}

func newEntry(prefix string, f *funcapp.Function) (e Entry, message string) {
	tmpl, err := Parse(URLTemplate(prefix, f))
	if err != nil {
		return e, err.Error()
	}
	e = Entry{Function: f, Template: tmpl, methods: f.HTTP().Methods}
	own := strings.TrimPrefix(f.HTTP().Route, "~/")
	if reserved(own) || reserved(tmpl.text) {
		message = fmt.Sprintf("route %s begins with admin or runtime, which belong to the host", show(own))
	}
	return e, message
}

// reserved reports whether a route's first segment is one of the host's own.
func reserved(route string) bool {
	first, _, _ := strings.Cut(strings.Trim(route, "/"), "/")
	return strings.EqualFold(first, "admin") || strings.EqualFold(first, "runtime")
}

func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

func fault(f *funcapp.Function, message string) funcapp.Fault {
	file := f.Name + "/function.json"
	if f.Directory == "" {
		file = "host.json"
	}
	return funcapp.Fault{File: file, Function: f.Name, Message: message, Next: "give the function another route"}
}
