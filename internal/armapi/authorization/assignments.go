package authorization

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
)

// assignmentBody is what clients send. What they read and send back, such as
// times, is ignored.
type assignmentBody struct {
	Properties *struct {
		RoleDefinitionID  string  `json:"roleDefinitionId"`
		PrincipalID       string  `json:"principalId"`
		PrincipalType     string  `json:"principalType"`
		Description       *string `json:"description"`
		Condition         *string `json:"condition"`
		DelegatedIdentity *string `json:"delegatedManagedIdentityResourceId"`
	} `json:"properties"`
}

func (s *Service) putAssignment(c *arm.Call) (arm.Reply, error) {
	var body assignmentBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	p := body.Properties
	if p == nil {
		return arm.Reply{}, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Message: "The member 'properties' is missing.", Target: "properties"}
	}
	a, created, err := s.roles.Assign(c.Context(), rbac.Assign{
		Scope: c.Scope, Name: c.Params["name"], Principal: p.PrincipalID, PrincipalType: p.PrincipalType, Role: p.RoleDefinitionID,
		Description: text(p.Description), Condition: text(p.Condition), DelegatedIdentity: text(p.DelegatedIdentity), By: c.Caller.ObjectID,
	})
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	if created {
		return arm.Created(showAssignment(a)), nil
	}
	return arm.OK(showAssignment(a)), nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (s *Service) getAssignment(c *arm.Call) (arm.Reply, error) {
	a, err := s.roles.Assignment(c.Context(), rbac.AssignmentID(c.Scope, c.Params["name"]))
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	return arm.OK(showAssignment(a)), nil
}

func (s *Service) deleteAssignment(c *arm.Call) (arm.Reply, error) {
	a, err := s.roles.Unassign(c.Context(), rbac.AssignmentID(c.Scope, c.Params["name"]))
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	return arm.OK(showAssignment(a)), nil
}

// listAssignments lists those at the scope, above it and below it, unless the
// filter says less.
func (s *Service) listAssignments(c *arm.Call) (arm.Reply, error) {
	terms, err := filter.Parse(c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, badFilter(err)
	}
	f, err := assignmentFilter(terms)
	if err != nil {
		return arm.Reply{}, err
	}
	if f.who, err = s.holders(c.Context(), f); err != nil {
		return arm.Reply{}, err
	}
	all, err := s.roles.Assignments()
	if err != nil {
		return arm.Reply{}, err
	}
	var list []rbac.Assignment
	at := c.Scope.Key()
	for _, a := range all {
		if f.matches(a, at) {
			list = append(list, a)
		}
	}
	return answer(c, list, func(a rbac.Assignment) string { return a.ID.Key() }, showAssignment)
}

// wanted says which assignments to list.
type wanted struct {
	principal string // "" is any
	groups    bool   // also those of the groups that the principal is in
	above     bool   // those at scopes around the one asked
	below     bool   // those at scopes in it

	who map[string]bool // object ids in lower case; nil is any
}

// holders gives whose assignments to list; nil for everybody's.
func (s *Service) holders(ctx context.Context, w wanted) (map[string]bool, error) {
	if w.principal == "" {
		return nil, nil
	}
	who := map[string]bool{strings.ToLower(w.principal): true}
	if !w.groups || s.Groups == nil {
		return who, nil
	}
	groups, err := s.Groups(ctx, w.principal)
	for _, id := range groups {
		who[strings.ToLower(id)] = true
	}
	return who, err
}

func assignmentFilter(terms []filter.Term) (wanted, error) {
	w := wanted{above: true, below: true}
	for _, t := range terms {
		switch t.Name + " " + t.Op {
		case "atscope ()":
			w.below = false
		case "atscopeandbelow ()":
			w.above = false
		case "principalid eq", "assignedto ()":
			if t.Value == "" || w.principal != "" && !strings.EqualFold(w.principal, t.Value) {
				return w, unsupported(t)
			}
			w.groups = t.Op == "()" && (w.principal == "" || w.groups)
			w.principal = t.Value
		default:
			return w, unsupported(t)
		}
	}
	return w, nil
}

// matches compares with the key of the scope asked for. Keys are compared instead
// of ids as there can be many assignments.
func (w wanted) matches(a rbac.Assignment, at string) bool {
	if w.who != nil && !w.who[a.Principal] { // which is in lower case
		return false
	}
	scope := a.ScopeKey()
	switch {
	case scope == at:
		return true
	case contains(scope, at):
		return w.above
	}
	return w.below && contains(at, scope)
}

// contains reports whether the scope of one key has that of another in it.
func contains(outer, inner string) bool {
	return outer == "/" || strings.HasPrefix(inner, outer+"/")
}

func unsupported(t filter.Term) error {
	return arm.Faultf(http.StatusBadRequest, "UnsupportedQuery", "The filter condition '%s %s' is not supported here.", t.Name, t.Op)
}

func badFilter(err error) error {
	var p *problem.Error
	if errors.As(err, &p) {
		return arm.Faultf(http.StatusBadRequest, "InvalidFilter", "The %s.", p.Message)
	}
	return err
}

func showAssignment(a rbac.Assignment) map[string]any {
	return map[string]any{
		"id": a.ID.String(), "name": a.ID.Name(), "type": rbac.AssignmentType,
		"properties": map[string]any{
			"roleDefinitionId": definitionID(a.Scope, a.Role),
			"principalId":      a.Principal, "principalType": a.PrincipalType,
			"scope":       a.Scope.String(),
			"description": orNull(a.Description), "condition": nil, "conditionVersion": nil,
			"createdOn": timestamp(a.Created), "updatedOn": timestamp(a.Changed),
			"createdBy": orNull(a.CreatedBy), "updatedBy": orNull(a.ChangedBy),
			"delegatedManagedIdentityResourceId": orNull(a.DelegatedIdentity),
		},
	}
}

// orNull gives a text, or null for none.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
