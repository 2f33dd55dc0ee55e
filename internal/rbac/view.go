package rbac

import (
	"cmp"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/resource"
)

// view is everything known at one moment. It is immutable once it is in force.
type view struct {
	assignments []Assignment // by id
	definitions []Definition // custom ones, by id
	roles       map[string]Definition
	granted     map[string]map[string][]authz.Assignment // by principal, then by scope, in lower case
}

// newView copies what is held; index does the rest, without a lock.
func newView(h documents) *view {
	v := &view{assignments: make([]Assignment, 0, len(h.assignments)), definitions: make([]Definition, 0, len(h.definitions))}
	for _, a := range h.assignments {
		v.assignments = append(v.assignments, a)
	}
	for _, d := range h.definitions {
		v.definitions = append(v.definitions, d)
	}
	return v
}

func (v *view) index() {
	slices.SortFunc(v.assignments, func(a, b Assignment) int { return strings.Compare(a.key, b.key) })
	slices.SortFunc(v.definitions, func(a, b Definition) int { return cmp.Compare(a.ID, b.ID) })
	v.roles = make(map[string]Definition, len(v.definitions)+30)
	for _, d := range slices.Concat(v.definitions, BuiltIn()) { // a built-in role wins over whatever has its id
		v.roles[d.ID] = d
	}
	v.granted = make(map[string]map[string][]authz.Assignment)
	for i := range v.assignments {
		a := &v.assignments[i]
		if v.granted[a.Principal] == nil {
			v.granted[a.Principal] = map[string][]authz.Assignment{}
		}
		at := a.scopeKey
		v.granted[a.Principal][at] = append(v.granted[a.Principal][at],
			authz.Assignment{ID: a.ID.String(), Principal: a.Principal, Role: a.Role, Scope: a.Scope})
	}
}

// policyFor gives the policy of all assignments that principals have at a scope
// and above it. Making it takes time by the depth of the scope, not by how many
// assignments there are.
func (v *view) policyFor(principal string, groups []string, scope resource.ID) *authz.Policy {
	var held []authz.Assignment
	key := scope.Key()
	held = v.grants(held, principal, key)
	for _, g := range groups {
		held = v.grants(held, g, key)
	}
	var roles []authz.Role
	for i, a := range held {
		seen := slices.ContainsFunc(held[:i], func(b authz.Assignment) bool { return b.Role == a.Role })
		if role, known := v.roles[a.Role]; known && !seen {
			roles = append(roles, role.Role)
		}
	}
	return authz.NewPolicy(roles, held)
}

// grants adds what a principal holds at a scope, whose key is given, and at all
// scopes around it, which are beginnings of that key.
func (v *view) grants(held []authz.Assignment, principal, key string) []authz.Assignment {
	mine := v.granted[strings.ToLower(principal)]
	if len(mine) == 0 {
		return held
	}
	held = append(held, mine["/"]...)
	for i := 1; i < len(key); i++ {
		if key[i] == '/' {
			held = append(held, mine[key[:i]]...)
		}
	}
	if key != "/" {
		held = append(held, mine[key]...)
	}
	return held
}
