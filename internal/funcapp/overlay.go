package funcapp

import (
	"sort"
	"strconv"
	"strings"
)

// jobHostPrefix starts the settings that override host.json, folded.
const jobHostPrefix = "azurefunctionsjobhost:"

const maxOverlayDepth = 32

// override is one setting AzureFunctionsJobHost__a__b.
type override struct {
	setting, value string
	path           []string
}

// overrides finds the settings that override host.json, in an order that does
// not depend on the map.
func overrides(env Env) []override {
	var list []override
	for _, name := range sortedNames(env) {
		key := strings.ReplaceAll(name, "__", ":")
		if len(key) <= len(jobHostPrefix) || !strings.EqualFold(key[:len(jobHostPrefix)], jobHostPrefix) {
			continue
		}
		path := strings.Split(key[len(jobHostPrefix):], ":")
		if len(path) <= maxOverlayDepth {
			list = append(list, override{name, env[name], path})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return len(list[i].path) < len(list[j].path) })
	return list
}

// overlay puts a setting's value into the tree of host.json.
func (n *node) overlay(o override) {
	for _, name := range o.path[:len(o.path)-1] {
		n = n.child(name)
	}
	leaf := n.child(o.path[len(o.path)-1])
	if leaf.kind == listNode || leaf.kind == objectNode && len(leaf.members) > 0 {
		return // a section with entries has no value of its own
	}
	*leaf = node{kind: textNode, text: o.value, setting: o.setting}
}

// child gives the named member of a section, made when missing. A list turns
// into numbered members so that single entries can be set.
func (n *node) child(name string) *node {
	if n.kind == listNode {
		for i, item := range n.items {
			n.members = append(n.members, member{strconv.Itoa(i), item})
		}
		n.items = nil
	}
	n.kind, n.text = objectNode, ""
	if v := n.get(name); v != nil {
		return v
	}
	v := &node{}
	n.members = append(n.members, member{name, v})
	return v
}
