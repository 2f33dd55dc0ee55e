package arm

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// catalogue has the namespaces, types and actions there are, to tell clients what
// they could have asked for. Keys are in lower case.
type catalogue map[string]*namespace

type namespace struct {
	name  string
	types map[string]*catalogued
}

type catalogued struct {
	name    string
	actions map[string]bool
}

// named bounds how many names a message lists.
const named = 40

func (c catalogue) add(rt *route) {
	if rt.namespace == "" {
		return
	}
	key := strings.ToLower(rt.namespace)
	ns := c[key]
	if ns == nil {
		ns = &namespace{name: rt.namespace, types: map[string]*catalogued{}}
		c[key] = ns
	}
	for n := 1; n <= len(rt.types); n++ {
		name := strings.Join(rt.types[:n], "/")
		if ns.types[strings.ToLower(name)] == nil {
			ns.types[strings.ToLower(name)] = &catalogued{name: name, actions: map[string]bool{}}
		}
	}
	if rt.verb != "" && len(rt.types) > 0 {
		ns.types[strings.ToLower(strings.Join(rt.types, "/"))].actions[rt.verb] = true
	}
}

// unknown gives the answer for a path that nothing serves.
func (c catalogue) unknown(method string, segs []string) Fault {
	at := lastIndexFold(segs, "providers")
	if at < 0 || at+1 == len(segs) {
		return Faultf(http.StatusNotFound, "NotFound", "There is nothing at '%s'.", clip("/"+strings.Join(segs, "/")))
	}
	ns := c[strings.ToLower(segs[at+1])]
	if ns == nil {
		return Faultf(http.StatusNotFound, "InvalidResourceNamespace",
			"The resource namespace '%s' is not served. These are: %s.", clip(segs[at+1]), c.namespaces())
	}
	rest := segs[at+2:]
	var asked []string
	for i := 0; i < len(rest); i += 2 {
		asked = append(asked, rest[i])
	}
	if odd := len(rest)%2 == 1; odd && (method == http.MethodPost || len(asked) > 1) {
		owner := ns.types[strings.ToLower(strings.Join(asked[:len(asked)-1], "/"))]
		if owner != nil {
			return unknownAction(ns, owner, asked[len(asked)-1])
		}
	}
	return Faultf(http.StatusNotFound, "InvalidResourceType",
		"The resource type '%s' is not served in the namespace '%s'%s. These are: %s.",
		clip(strings.Join(asked, "/")), ns.name, here(ns, asked), list(ns.typeNames()))
}

// here explains why a type that there is was not found.
func here(ns *namespace, asked []string) string {
	if ns.types[strings.ToLower(strings.Join(asked, "/"))] != nil {
		return " at this path"
	}
	return ""
}

func unknownAction(ns *namespace, owner *catalogued, asked string) Fault {
	have := "It has no actions"
	if len(owner.actions) > 0 {
		have = "Its actions are: " + list(slices.Sorted(maps.Keys(owner.actions)))
	}
	prefix := strings.ToLower(owner.name) + "/"
	var children []string
	for key, t := range ns.types {
		if rest, below := strings.CutPrefix(key, prefix); below && !strings.Contains(rest, "/") {
			children = append(children, t.name[len(prefix):])
		}
	}
	if len(children) > 0 {
		slices.Sort(children)
		have += "; its child types are: " + list(children)
	}
	return Faultf(http.StatusNotFound, "InvalidResourceType",
		"The resource type '%s/%s' has no action or child type '%s'. %s.", ns.name, owner.name, clip(asked), have)
}

func (c catalogue) namespaces() string {
	var names []string
	for _, ns := range c {
		names = append(names, ns.name)
	}
	return list(slices.Sorted(slices.Values(names)))
}

func (n *namespace) typeNames() []string {
	var names []string
	for _, t := range n.types {
		names = append(names, t.name)
	}
	return slices.Sorted(slices.Values(names))
}

func list(names []string) string {
	if len(names) > named {
		return strings.Join(names[:named], ", ") + fmt.Sprintf(" and %d more", len(names)-named)
	}
	return strings.Join(names, ", ")
}

func lastIndexFold(segs []string, word string) int {
	for i := len(segs) - 1; i >= 0; i-- {
		if strings.EqualFold(segs[i], word) {
			return i
		}
	}
	return -1
}
