package authorization

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
)

// definitionBody is what clients send.
type definitionBody struct {
	Properties *struct {
		RoleName         string   `json:"roleName"`
		Type             string   `json:"type"`
		RoleType         string   `json:"roleType"`
		Description      string   `json:"description"`
		AssignableScopes []string `json:"assignableScopes"`
		Permissions      []struct {
			authz.Permission
			Condition *string `json:"condition"`
		} `json:"permissions"`
	} `json:"properties"`
}

// role gives the role that a body describes.
func (b definitionBody) role(id string) (authz.Role, error) {
	p := b.Properties
	if p == nil {
		return authz.Role{}, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Message: "The member 'properties' is missing.", Target: "properties"}
	}
	if t := p.Type + p.RoleType; t != "" && !strings.EqualFold(p.Type, "CustomRole") && !strings.EqualFold(p.RoleType, "CustomRole") {
		return authz.Role{}, arm.Fault{Status: http.StatusBadRequest, Code: string(rbac.DefinitionInvalid), Message: "The type of a role can only be CustomRole.", Target: "properties.type"}
	}
	r := authz.Role{ID: id, Name: p.RoleName, Description: p.Description, Scopes: p.AssignableScopes}
	for _, perm := range p.Permissions {
		if text(perm.Condition) != "" {
			return r, arm.Fault{Status: http.StatusBadRequest, Code: string(rbac.ConditionsUnsupported), Message: "Conditions of permissions are not supported.", Target: "properties.permissions"}
		}
		r.Permissions = append(r.Permissions, perm.Permission)
	}
	return r, nil
}

// putDefinition makes or changes a custom role. The caller must be allowed to
// define roles at all scopes it has and gets.
func (s *Service) putDefinition(c *arm.Call) (arm.Reply, error) {
	var body definitionBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	role, err := body.role(c.Params["role"])
	if err != nil {
		return arm.Reply{}, err
	}
	scopes := slices.Clone(role.Scopes)
	old, err := s.roles.Definition(c.Context(), role.ID)
	switch {
	case err == nil && old.Custom:
		scopes = append(scopes, old.Scopes...)
	case err != nil && !errors.Is(err, problem.NotFound):
		return arm.Reply{}, err
	}
	if err := s.allowed(c.Context(), c.Caller, rbac.DefinitionType+"/write", scopes...); err != nil {
		return arm.Reply{}, err
	}
	d, _, err := s.roles.Define(c.Context(), role, c.Caller.ObjectID)
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	return arm.Created(showDefinition(c.Scope, d)), nil
}

func (s *Service) getDefinition(c *arm.Call) (arm.Reply, error) {
	d, err := s.visible(c)
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	return arm.OK(showDefinition(c.Scope, d)), nil
}

// visible gives the role that a call is about if there is one and it has to do with
// the scope of the call.
func (s *Service) visible(c *arm.Call) (rbac.Definition, error) {
	d, err := s.roles.Definition(c.Context(), c.Params["role"])
	if err == nil && !at(d, c.Scope) && !below(d, c.Scope) {
		err = problem.Wrap(problem.NotFound, "there is no such role definition at this scope", rbac.DefinitionUnknown)
	}
	return d, err
}

func (s *Service) deleteDefinition(c *arm.Call) (arm.Reply, error) {
	d, err := s.visible(c)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, fault(err)
	}
	if d.Custom {
		if err := s.allowed(c.Context(), c.Caller, rbac.DefinitionType+"/delete", d.Scopes...); err != nil {
			return arm.Reply{}, err
		}
	}
	if d, err = s.roles.Undefine(c.Context(), d.ID); err != nil {
		return arm.Reply{}, fault(err)
	}
	return arm.OK(showDefinition(c.Scope, d)), nil
}

// listDefinitions lists the roles that can be assigned at the scope, with
// atScopeAndBelow() also those that can be below it.
func (s *Service) listDefinitions(c *arm.Call) (arm.Reply, error) {
	terms, err := filter.Parse(c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, badFilter(err)
	}
	f, err := definitionFilter(terms)
	if err != nil {
		return arm.Reply{}, err
	}
	all, err := s.roles.Definitions()
	if err != nil {
		return arm.Reply{}, err
	}
	slices.SortFunc(all, func(a, b rbac.Definition) int { return strings.Compare(a.ID, b.ID) })
	list := slices.DeleteFunc(all, func(d rbac.Definition) bool {
		return !f.matches(d) || !at(d, c.Scope) && !(f.below && below(d, c.Scope))
	})
	return answer(c, list, func(d rbac.Definition) string { return d.ID }, func(d rbac.Definition) map[string]any { return showDefinition(c.Scope, d) })
}

// at reports whether a role can be assigned at a scope, below whether it can in it.
func at(d rbac.Definition, scope resource.ID) bool { return d.AssignableAt(scope) }

func below(d rbac.Definition, scope resource.ID) bool {
	return slices.ContainsFunc(d.Scopes, func(text string) bool {
		id, err := resource.Parse(text)
		return err == nil && scope.Contains(id)
	})
}

// wantedRoles says which roles to list.
type wantedRoles struct {
	name, kind *string
	below      bool
}

func definitionFilter(terms []filter.Term) (w wantedRoles, err error) {
	for _, t := range terms {
		switch t.Name + " " + t.Op {
		case "atscope ()":
		case "atscopeandbelow ()":
			w.below = true
		case "rolename eq":
			w.name = &t.Value
		case "type eq", "roletype eq":
			w.kind = &t.Value
		default:
			return w, unsupported(t)
		}
	}
	return w, nil
}

func (w wantedRoles) matches(d rbac.Definition) bool {
	return (w.name == nil || strings.EqualFold(*w.name, d.Name)) && (w.kind == nil || strings.EqualFold(*w.kind, kindOf(d)))
}

func kindOf(d rbac.Definition) string {
	if d.Custom {
		return "CustomRole"
	}
	return "BuiltInRole"
}

func showDefinition(scope resource.ID, d rbac.Definition) map[string]any {
	return map[string]any{
		"id": definitionID(scope, d.ID), "name": d.ID, "type": rbac.DefinitionType,
		"properties": map[string]any{
			"roleName": d.Name, "type": kindOf(d), "description": d.Description,
			"assignableScopes": d.Scopes, "permissions": showPermissions(d.Permissions),
			"createdOn": timestamp(d.Created), "updatedOn": timestamp(d.Changed),
			"createdBy": orNull(d.CreatedBy), "updatedBy": orNull(d.ChangedBy),
		},
	}
}

// showPermissions gives permissions with lists that are empty instead of missing.
func showPermissions(perms []authz.Permission) []authz.Permission {
	out := make([]authz.Permission, len(perms))
	for i, p := range perms {
		out[i] = authz.Permission{Actions: full(p.Actions), NotActions: full(p.NotActions), DataActions: full(p.DataActions), NotDataActions: full(p.NotDataActions)}
	}
	return out
}

func full(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
