package funcapp

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"
)

type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	textNode
	listNode
	objectNode
)

// node is one JSON value with its place. Methods accept nil, which stands for
// an absent value.
type node struct {
	kind    nodeKind
	text    string // of a scalar: the text, the number as written, true or false
	items   []*node
	members []member
	line    int    // 1-based; 0 for values that come from a setting
	setting string // the setting the value comes from, "" for the file
}

type member struct {
	name  string
	value *node
}

// absent reports a missing or null value; configuration treats them alike.
func (n *node) absent() bool { return n == nil || n.kind == nullNode }

func (n *node) scalar() bool {
	return n != nil && (n.kind == textNode || n.kind == numberNode || n.kind == boolNode)
}

// get finds a member ignoring case; nil when there is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.members {
		if strings.EqualFold(n.members[i].name, name) {
			return n.members[i].value
		}
	}
	return nil
}

// at follows member names.
func (n *node) at(names ...string) *node {
	for _, name := range names {
		n = n.get(name)
	}
	return n
}

// elements gives the entries of a list. An object whose names are all numbers
// is a list too: that is how settings spell one (..__functions__0).
func (n *node) elements() ([]*node, bool) {
	if n.absent() {
		return nil, true
	}
	if n.kind == listNode {
		return n.items, true
	}
	if n.kind != objectNode {
		return nil, false
	}
	return numberedMembers(n.members)
}

func numberedMembers(members []member) ([]*node, bool) {
	numbers := make(map[*node]int, len(members))
	list := make([]*node, 0, len(members))
	for _, m := range members {
		i, err := strconv.Atoi(m.name)
		if err != nil || i < 0 {
			return nil, false
		}
		numbers[m.value] = i
		list = append(list, m.value)
	}
	sort.SliceStable(list, func(a, b int) bool { return numbers[list[a]] < numbers[list[b]] })
	return list, true
}

// plain gives the value as Go values: string, bool, json.Number, nil, []any
// and map[string]any.
func (n *node) plain() any {
	if n == nil {
		return nil
	}
	switch n.kind {
	case boolNode:
		return n.text == "true"
	case numberNode:
		return json.Number(n.text)
	case textNode:
		return n.text
	case listNode:
		return plainList(n.items)
	case objectNode:
		return plainObject(n.members)
	}
	return nil
}

func plainList(items []*node) []any {
	list := make([]any, len(items))
	for i, v := range items {
		list[i] = v.plain()
	}
	return list
}

func plainObject(members []member) map[string]any {
	m := make(map[string]any, len(members))
	for _, e := range members {
		m[e.name] = e.value.plain()
	}
	return m
}
