package route

import (
	"strings"
	"unicode/utf8"
)

// maxLead is how many leading literal segments the index looks at.
const maxLead = 7

// node is one step of the index over leading literal segments. entries are the
// routes whose leading literals end here, in order.
type node struct {
	children map[string]*node // by folded literal
	entries  []int
}

func (n *node) insert(t *Template, entry int) {
	t.lead = min(t.lead, maxLead)
	for i := range t.lead {
		literal, _ := t.segments[i].literalOnly()
		next := n.children[literal]
		if next == nil {
			next = &node{}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[literal] = next
		}
		n = next
	}
	n.entries = append(n.entries, entry)
}

// child finds the next step for an escaped segment, without allocating for
// plain ASCII.
func (n *node) child(segment string) *node {
	if len(n.children) == 0 {
		return nil
	}
	var buf [64]byte
	if len(segment) > len(buf) {
		return n.children[fold(unescape(segment))]
	}
	for i := range len(segment) {
		c := segment[i]
		if c >= utf8.RuneSelf || c == '%' {
			return n.children[fold(unescape(segment))]
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return n.children[string(buf[:len(segment)])]
}

// candidates are the entries that may match a path: one ordered list for each
// number of leading literals.
type candidates struct {
	lists [maxLead + 1][]int
	n     int
}

func (t *Table) candidates(path string, spans []span) (c candidates) {
	n := t.root
	for i := 0; n != nil; i++ {
		if len(n.entries) > 0 {
			c.lists[c.n] = n.entries
			c.n++
		}
		if i == len(spans) || i == maxLead {
			break
		}
		n = n.child(path[spans[i].start:spans[i].end])
	}
	return c
}

// next takes the lowest entry off the lists, -1 when they are empty.
func (c *candidates) next() int {
	best := -1
	for i := range c.n {
		if l := c.lists[i]; len(l) > 0 && (best < 0 || l[0] < c.lists[best][0]) {
			best = i
		}
	}
	if best < 0 {
		return -1
	}
	entry := c.lists[best][0]
	c.lists[best] = c.lists[best][1:]
	return entry
}

// Match finds the first function, in name order, whose methods and template
// fit, and appends the values of its route parameters to params. The path is
// the request's escaped path without query: an escaped slash does not split
// segments. nil means no route; a wrong method is just that. Optional
// parameters without a value are left out.
func (t *Table) Match(method, escapedPath string, params []Param) (*Entry, []Param) {
	var buf [24]span
	spans, ok := split(escapedPath, buf[:0])
	if !ok {
		return nil, params
	}
	before := len(params)
	c := t.candidates(escapedPath, spans)
	for i := c.next(); i >= 0; i = c.next() {
		e := &t.entries[i]
		if !e.allows(method) {
			continue
		}
		if params, ok = e.Template.match(escapedPath, spans, params); ok {
			return e, params
		}
		params = params[:before]
	}
	return nil, params
}

func (e *Entry) allows(method string) bool {
	for _, m := range e.methods {
		if m == method || strings.EqualFold(m, method) {
			return true
		}
	}
	return len(e.methods) == 0
}
