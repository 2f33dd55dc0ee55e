package arm

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/resource"
)

// router finds operations. A match walks the path's segments down a tree, so that
// it does not matter how many operations there are. It does not change once made.
type router struct {
	fixed    node // patterns from the root
	anywhere node // what comes after {scope}
	types    catalogue
}

// node is a place in the tree of segments.
type node struct {
	next   map[string]*node // by segment in lower case
	param  *node
	routes map[string]*route // by method
}

func newRouter(operations []Operation) (*router, error) {
	r := &router{types: catalogue{}}
	for _, op := range operations {
		rt, err := newRoute(op)
		if err != nil {
			return nil, err
		}
		if err := r.add(rt); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *router) add(rt *route) error {
	n := &r.fixed
	if rt.anywhere {
		n = &r.anywhere
	}
	for _, s := range rt.segs {
		n = n.child(s)
	}
	if other := n.routes[rt.Method]; other != nil {
		return fmt.Errorf("arm: operations %s %s and %s are the same", rt.Method, rt.Pattern, other.Pattern)
	}
	if n.routes == nil {
		n.routes = map[string]*route{}
	}
	n.routes[rt.Method] = rt
	r.types.add(rt)
	return nil
}

// child gives the node of a segment, and makes it when there is none.
func (n *node) child(s segment) *node {
	if s.param {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	if n.next == nil {
		n.next = map[string]*node{}
	}
	key := strings.ToLower(s.text)
	if n.next[key] == nil {
		n.next[key] = &node{}
	}
	return n.next[key]
}

// match is what a path leads to.
type match struct {
	route *route
	base  resource.ID // what {scope} stands for
	segs  []string    // without {scope}'s
}

// find gives the operation for a method and the segments of a path. It fails with
// 404 for a path that nothing serves, and with 405 and the methods that would be
// served.
func (r *router) find(method string, segs []string) (match, []string, error) {
	lower := make([]string, len(segs))
	for i, s := range segs {
		lower[i] = strings.ToLower(s)
	}
	s := search{method: method, allow: map[string]bool{}}
	if s.visit(&r.fixed, lower) {
		return match{route: s.found, segs: segs}, nil, nil
	}
	for at := len(segs); at >= 0; at-- {
		if at == len(segs) || r.anywhere.next[lower[at]] == nil {
			continue
		}
		base, err := scopeOf(segs[:at])
		if err == nil && s.visit(&r.anywhere, lower[at:]) {
			return match{route: s.found, base: base, segs: segs[at:]}, nil, nil
		}
	}
	if len(s.allow) > 0 {
		return match{}, slices.Sorted(maps.Keys(s.allow)), Faultf(http.StatusMethodNotAllowed, "MethodNotAllowed",
			"The method %s is not served here; these are: %s.", clip(method), strings.Join(slices.Sorted(maps.Keys(s.allow)), ", "))
	}
	return match{}, nil, r.types.unknown(method, segs)
}

func scopeOf(segs []string) (resource.ID, error) {
	for _, s := range segs {
		if err := checkName(s); err != nil {
			return resource.ID{}, err
		}
	}
	return resource.Parse("/" + strings.Join(segs, "/"))
}

// search walks the tree for a method and collects the methods that it passes.
type search struct {
	method string
	found  *route
	allow  map[string]bool
}

// visit looks for the rest of a path below a node; fixed segments come before
// parameters.
func (s *search) visit(n *node, lower []string) bool {
	if len(lower) == 0 {
		return s.take(n)
	}
	if next := n.next[lower[0]]; next != nil && s.visit(next, lower[1:]) {
		return true
	}
	return n.param != nil && s.visit(n.param, lower[1:])
}

func (s *search) take(n *node) bool {
	s.found = n.routes[s.method]
	if s.found == nil && s.method == http.MethodHead {
		s.found = n.routes[http.MethodGet]
	}
	if s.found != nil {
		return true
	}
	for method := range n.routes {
		s.allow[method] = true
		if method == http.MethodGet {
			s.allow[http.MethodHead] = true
		}
	}
	return false
}
