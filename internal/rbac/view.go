package rbac

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/resource"
)

// view is everything known at one moment. It is immutable once it is in force.
type view struct {
	assignments []Assignment // by id
	definitions []Definition // custom ones, by id
	spelled     map[string][]authz.Permission
	roles       map[string]authz.Role        // by id, with patterns in lower case, which are faster to compare
	granted     map[string]map[string]*grant // by principal, then by scope, in lower case
	nobody      *authz.Policy
}

// grant is what one principal holds at one scope.
type grant struct {
	held   []authz.Assignment
	once   sync.Once
	policy *authz.Policy
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
	v.nobody = authz.NewPolicy(nil, nil)
	v.roles = make(map[string]authz.Role, len(v.definitions)+len(builtIn))
	v.spelled = make(map[string][]authz.Permission, len(v.definitions)+len(builtIn))
	for _, d := range slices.Concat(v.definitions, builtIn) { // a built-in role wins over whatever has its id
		v.roles[d.ID], v.spelled[d.ID] = d.lowered(), d.Permissions
	}
	v.granted = make(map[string]map[string]*grant)
	for i := range v.assignments {
		a := &v.assignments[i]
		mine := v.granted[a.Principal]
		if mine == nil {
			mine = map[string]*grant{}
			v.granted[a.Principal] = mine
		}
		if mine[a.scopeKey] == nil {
			mine[a.scopeKey] = &grant{}
		}
		mine[a.scopeKey].held = append(mine[a.scopeKey].held,
			authz.Assignment{ID: a.ID.String(), Principal: a.Principal, Role: a.Role, Scope: a.Scope})
	}
}

// allow decides from what a principal and its groups hold at the scope and around
// it. The time it takes depends on the depth of the scope, not on how many
// assignments there are.
func (v *view) allow(req authz.Request) authz.Decision {
	req.Action = strings.ToLower(req.Action) // once, not for every pattern
	decision, key := v.nobody.Allow(authz.Request{}), req.Scope.Key()
	who, groups := strings.ToLower(req.Principal), req.Groups
	for {
		for g := range v.around(who, key) {
			decision = g.decide(v, authz.Request{Principal: who, Action: req.Action, Data: req.Data, Scope: req.Scope})
			if decision.Allowed {
				return decision
			}
		}
		if len(groups) == 0 {
			return decision
		}
		who, groups = strings.ToLower(groups[0]), groups[1:]
	}
}

// decide asks the policy of just this grant, which is made when it is first needed.
func (g *grant) decide(v *view, req authz.Request) authz.Decision {
	g.once.Do(func() {
		var roles []authz.Role
		for _, a := range g.held {
			if r, known := v.roles[a.Role]; known {
				roles = append(roles, r)
			}
		}
		g.policy = authz.NewPolicy(roles, g.held)
	})
	return g.policy.Allow(req)
}

// around gives what a principal holds at all scopes around one, whose key is given,
// outermost first, and at that one: they are the beginnings of its key.
func (v *view) around(principal, key string) func(yield func(*grant) bool) {
	mine := v.granted[principal]
	return func(yield func(*grant) bool) {
		if len(mine) == 0 || principal == "" {
			return
		}
		if g := mine["/"]; g != nil && !yield(g) {
			return
		}
		for i := 1; i <= len(key); i++ {
			if i < len(key) && key[i] != '/' || key == "/" {
				continue
			}
			if g := mine[key[:i]]; g != nil && !yield(g) {
				return
			}
		}
	}
}

// permissions gives what the roles of a principal and its groups allow at a scope,
// as the roles spell it.
func (v *view) permissions(principal string, groups []string, scope resource.ID) []authz.Permission {
	var list []authz.Permission
	seen := map[string]bool{}
	for _, who := range append([]string{principal}, groups...) {
		for g := range v.around(strings.ToLower(who), scope.Key()) {
			for _, a := range g.held {
				if !seen[a.Role] {
					list = append(list, v.spelled[a.Role]...)
				}
				seen[a.Role] = true
			}
		}
	}
	return list
}

// lowered gives the role with its patterns in lower case.
func (d Definition) lowered() authz.Role {
	r := d.Role
	r.Permissions = make([]authz.Permission, len(d.Permissions))
	for i, p := range d.Permissions {
		r.Permissions[i] = authz.Permission{
			Actions: lower(p.Actions), NotActions: lower(p.NotActions),
			DataActions: lower(p.DataActions), NotDataActions: lower(p.NotDataActions),
		}
	}
	return r
}

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}
