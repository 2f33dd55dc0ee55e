package manage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const authorization = "/providers/Microsoft.Authorization/"

// Role is a role definition. Its JSON form is what commands print, a contract.
type Role struct {
	Name        string   `json:"name"`
	ID          string   `json:"id"`   // GUID
	Type        string   `json:"type"` // BuiltInRole or CustomRole
	Description string   `json:"description"`
	Actions     []string `json:"actions"`
	NotActions  []string `json:"notActions,omitempty"`
	DataActions []string `json:"dataActions,omitempty"`
}

// definition is a role definition on the wire.
type definition struct {
	Name       string `json:"name"`
	Properties struct {
		RoleName    string `json:"roleName"`
		Type        string `json:"type"`
		Description string `json:"description"`
		Permissions []struct {
			Actions     []string `json:"actions"`
			NotActions  []string `json:"notActions"`
			DataActions []string `json:"dataActions"`
		} `json:"permissions"`
	} `json:"properties"`
}

func (d definition) role() Role {
	r := Role{Name: d.Properties.RoleName, ID: d.Name, Type: d.Properties.Type, Description: d.Properties.Description, Actions: []string{}}
	for _, p := range d.Properties.Permissions {
		r.Actions = append(r.Actions, p.Actions...)
		r.NotActions = append(r.NotActions, p.NotActions...)
		r.DataActions = append(r.DataActions, p.DataActions...)
	}
	return r
}

// Roles lists the roles that can be assigned at a scope, by name.
func (i *Installation) Roles(ctx context.Context, scope string) ([]Role, error) {
	items, err := armclient.List[definition](ctx, i.client, scopePath(scope)+authorization+"roleDefinitions")
	if err != nil {
		return nil, err
	}
	list := make([]Role, len(items))
	for n, d := range items {
		list[n] = d.role()
	}
	sort.Slice(list, func(a, b int) bool { return strings.ToLower(list[a].Name) < strings.ToLower(list[b].Name) })
	return list, nil
}

// Role finds a role by its name or id at a scope; problem.NotFound says which there
// are like it.
func (i *Installation) Role(ctx context.Context, scope, name string) (Role, error) {
	list, err := i.Roles(ctx, scope)
	if err != nil {
		return Role{}, err
	}
	last := name[strings.LastIndex(name, "/")+1:]
	var names []string
	for _, r := range list {
		if strings.EqualFold(r.Name, name) || strings.EqualFold(r.ID, last) {
			return r, nil
		}
		if strings.Contains(strings.ToLower(r.Name), strings.ToLower(name)) {
			names = append(names, r.Name)
		}
	}
	missing := problem.New(problem.NotFound, fmt.Sprintf("there is no role %.100q", name))
	if len(names) > 0 {
		return Role{}, missing.WithNext("roles like it: " + strings.Join(names, ", "))
	}
	return Role{}, missing.WithNext("latchkey role definitions lists the roles there are")
}

// scopePath gives the path of a scope in front of a provider: "" for the root.
func scopePath(scope string) string { return strings.TrimSuffix(idPath(scope), "/") }

// Scope makes a scope of what a person says: "/" is the whole installation,
// "subscription", "group/NAME", "app/NAME" and "vault/NAME" are short for their ids, and whatever
// else begins with a slash is an id.
func (i *Installation) Scope(ctx context.Context, text string) (string, error) {
	kind, name, _ := strings.Cut(text, "/")
	switch {
	case text == "/":
		return "/", nil
	case strings.HasPrefix(text, "/"):
		id, err := resource.Parse(text)
		return id.String(), err
	case text == "subscription":
		sub, err := i.Subscription(ctx)
		return "/subscriptions/" + sub, err
	case kind == "group" && name != "":
		sub, err := i.Subscription(ctx)
		if err != nil {
			return "", err
		}
		id, err := resource.Parse("/subscriptions/" + sub + "/resourceGroups/" + name)
		return id.String(), err
	case kind == "app" && name != "":
		a, err := i.App(ctx, name)
		return a.ID, err
	case kind == "vault" && name != "":
		v, err := i.Vault(ctx, name)
		return v.ID, err
	}
	return "", problem.New(problem.Invalid, fmt.Sprintf("%.200q is no scope", text)).
		WithNext("use / for everything, subscription, group/NAME, app/NAME, vault/NAME or a resource id")
}

// Assignment is a role that a principal has. Its JSON form is what commands print,
// a contract.
type Assignment struct {
	Name          string `json:"name"` // GUID
	ID            string `json:"id"`
	Role          string `json:"role"`
	RoleID        string `json:"roleId"`
	Principal     string `json:"principal"` // object id
	PrincipalName string `json:"principalName,omitempty"`
	PrincipalType string `json:"principalType"`
	Scope         string `json:"scope"`
}

// assignment is a role assignment on the wire.
type assignment struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Role      string `json:"roleDefinitionId"`
		Principal string `json:"principalId"`
		Type      string `json:"principalType"`
		Scope     string `json:"scope"`
	} `json:"properties"`
}

func (a assignment) assignment(roles map[string]string) Assignment {
	p := a.Properties
	id := strings.ToLower(p.Role[strings.LastIndex(p.Role, "/")+1:])
	out := Assignment{Name: a.Name, ID: a.ID, RoleID: id, Role: roles[id], Principal: p.Principal, PrincipalType: p.Type, Scope: p.Scope}
	if out.Role == "" {
		out.Role = id
	}
	return out
}

// Assign gives a principal a role at a scope. An assignment that is there already
// is given back; created says whether it is new.
func (i *Installation) Assign(ctx context.Context, scope string, role Role, p Principal) (a Assignment, created bool, err error) {
	kind := "ServicePrincipal"
	if p.Kind == "User" || p.Kind == KindGroup {
		kind = p.Kind
	}
	// The name follows from what is assigned: whoever says it twice gets one.
	name := uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(scope+"|"+role.ID+"|"+p.ObjectID))).String()
	body := map[string]any{"properties": map[string]string{
		"roleDefinitionId": strings.TrimSuffix(scope, "/") + authorization + "roleDefinitions/" + role.ID,
		"principalId":      p.ObjectID, "principalType": kind,
	}}
	var out assignment
	answer, err := i.client.Exchange(ctx, armclient.Request{
		Method: http.MethodPut, Path: scopePath(scope) + authorization + "roleAssignments/" + name,
	}, body, &out)
	if answer.Status == http.StatusConflict {
		return i.existing(ctx, scope, role, p, err)
	}
	if err != nil {
		return a, false, err
	}
	a = out.assignment(map[string]string{strings.ToLower(role.ID): role.Name})
	a.PrincipalName = p.Name
	return a, answer.Status == http.StatusCreated, nil
}

// existing finds an assignment that was made under another name.
func (i *Installation) existing(ctx context.Context, scope string, role Role, p Principal, conflict error) (Assignment, bool, error) {
	list, err := i.Assignments(ctx, scope, p.ObjectID)
	if err != nil {
		return Assignment{}, false, err
	}
	for _, a := range list {
		if strings.EqualFold(a.RoleID, role.ID) && strings.EqualFold(a.Scope, scope) {
			a.PrincipalName = p.Name
			return a, false, nil
		}
	}
	return Assignment{}, false, conflict
}

// Assignments lists the roles assigned at a scope, above it and in it, to a
// principal or, for "", to anybody.
func (i *Installation) Assignments(ctx context.Context, scope, objectID string) ([]Assignment, error) {
	filter := ""
	if objectID != "" {
		filter = "principalId eq '" + strings.ReplaceAll(objectID, "'", "''") + "'"
	}
	items, err := armclient.List[assignment](ctx, i.client, query(scopePath(scope)+authorization+"roleAssignments", "$filter", filter))
	if err != nil {
		return nil, err
	}
	roles, err := i.roleNames(ctx, scope)
	if err != nil {
		return nil, err
	}
	list := make([]Assignment, len(items))
	for n, a := range items {
		list[n] = a.assignment(roles)
	}
	return list, nil
}

// roleNames gives the names of roles by their ids in lower case.
func (i *Installation) roleNames(ctx context.Context, scope string) (map[string]string, error) {
	path := query(scopePath(scope)+authorization+"roleDefinitions", "$filter", "atScopeAndBelow()")
	items, err := armclient.List[definition](ctx, i.client, path)
	names := map[string]string{}
	for _, d := range items {
		names[strings.ToLower(d.Name)] = d.Properties.RoleName
	}
	return names, err
}

// Unassign takes a role away.
func (i *Installation) Unassign(ctx context.Context, a Assignment) error {
	return i.client.Do(ctx, http.MethodDelete, scopePath(a.Scope)+authorization+"roleAssignments/"+url.PathEscape(a.Name), nil, nil)
}
