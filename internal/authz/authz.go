// Package authz owns the authorisation model: roles, role assignments, and the
// pure decision whether a principal may do something at a scope, with its reason.
// It does not know where assignments are kept, who asks, or what an action does.
package authz

import (
	"strings"

	"github.com/latchkey/latchkey/internal/resource"
)

// Role is a role definition.
type Role struct {
	ID          string // a GUID
	Name        string // "Key Vault Secrets User"
	Description string
	Custom      bool
	Scopes      []string // where it may be assigned; "/" for built-in roles
	Permissions []Permission
}

// Permission is what one part of a role allows. Patterns are action names in
// which * stands for any text; case does not count. NotActions take away from
// Actions of the same permission only.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// Assignment gives a principal a role at a scope and all that lies in it.
type Assignment struct {
	ID        string // its resource id
	Principal string // object id
	Role      string // GUID of the role
	Scope     resource.ID
}

// Request is what somebody wants to do.
type Request struct {
	Principal string      // object id of who asks
	Groups    []string    // object ids of groups who asks is in
	Action    string      // "Microsoft.Web/sites/read"
	Data      bool        // the action is on data, not on the management plane
	Scope     resource.ID // the resource it is about
}

// Decision is the answer with its reason.
type Decision struct {
	Allowed    bool
	Role       string // name of the role that allows it; "" when none does
	Assignment string // id of the assignment that allows it
	Reason     string // for people
}

// Policy is what decisions are made from. It is immutable once it is in use, and
// safe for concurrent use.
type Policy struct {
	roles       map[string]Role         // by lower-cased id
	assignments map[string][]Assignment // by lower-cased principal
}

// NewPolicy makes a policy. Assignments of roles that are not given allow
// nothing.
func NewPolicy(roles []Role, assignments []Assignment) *Policy {
	p := &Policy{roles: make(map[string]Role, len(roles)), assignments: map[string][]Assignment{}}
	for _, r := range roles {
		p.roles[strings.ToLower(r.ID)] = r
	}
	for _, a := range assignments {
		who := strings.ToLower(a.Principal)
		p.assignments[who] = append(p.assignments[who], a)
	}
	return p
}

// Allow decides. Only what a role allows somewhere is allowed; there is no
// assignment that denies.
func (p *Policy) Allow(r Request) Decision {
	held := 0
	for _, who := range append([]string{r.Principal}, r.Groups...) {
		for _, a := range p.assignments[strings.ToLower(who)] {
			if who == "" || !a.Scope.Contains(r.Scope) {
				continue
			}
			held++
			if role, known := p.roles[strings.ToLower(a.Role)]; known && role.allows(r.Action, r.Data) {
				return Decision{Allowed: true, Role: role.Name, Assignment: a.ID, Reason: "role " + role.Name + " at " + a.Scope.String()}
			}
		}
	}
	if held == 0 {
		return Decision{Reason: "no role is assigned at this scope or above it"}
	}
	return Decision{Reason: "no role assigned at this scope or above it has the action"}
}

// AssignmentsOf gives the assignments of a principal.
func (p *Policy) AssignmentsOf(principal string) []Assignment {
	return append([]Assignment(nil), p.assignments[strings.ToLower(principal)]...)
}

// Permissions gives what a principal's roles allow at a scope, for those who show
// it.
func (p *Policy) Permissions(principal string, scope resource.ID) []Permission {
	var list []Permission
	for _, a := range p.assignments[strings.ToLower(principal)] {
		if a.Scope.Contains(scope) {
			list = append(list, p.roles[strings.ToLower(a.Role)].Permissions...)
		}
	}
	return list
}

func (r Role) allows(action string, data bool) bool { return Permits(r.Permissions, action, data) }

// Permits reports whether permissions together allow an action, or an action on data.
// What one takes away another can give.
func Permits(perms []Permission, action string, data bool) bool {
	for _, perm := range perms {
		yes, no := perm.Actions, perm.NotActions
		if data {
			yes, no = perm.DataActions, perm.NotDataActions
		}
		if matchAny(yes, action) && !matchAny(no, action) {
			return true
		}
	}
	return false
}

func matchAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if match(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// match compares text with a pattern in which * stands for any text, also none.
func match(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], after
	}
}
