package rbac

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Limits of a custom role.
const (
	maxName        = 512  // bytes of a role's name
	maxDescription = 2048 // bytes
	maxScopes      = 100
	maxPatterns    = 1000 // of all permissions together
	maxPattern     = 512  // bytes
)

// Definition is a role with its history. The id is a GUID in lower case.
type Definition struct {
	authz.Role
	Created, Changed time.Time
	CreatedBy        string // object id; "" for built-in roles
	ChangedBy        string
	ETag             string

	revision state.Revision
}

// roleProperties is a role as its document has it.
type roleProperties struct {
	RoleName         string             `json:"roleName"`
	Description      string             `json:"description,omitempty"`
	AssignableScopes []string           `json:"assignableScopes"`
	Permissions      []authz.Permission `json:"permissions"`
}

// definitionID gives the id a role's document has: a role is one thing for the
// whole installation, at whatever scope it is asked for.
func definitionID(role string) resource.ID {
	return resource.Root.Child(Namespace, "roleDefinitions", role)
}

// AssignableAt reports whether the role may be assigned at a scope.
func (d Definition) AssignableAt(scope resource.ID) bool {
	return slices.ContainsFunc(d.Scopes, func(s string) bool {
		id, err := resource.Parse(s)
		return err == nil && id.Contains(scope)
	})
}

func (d Definition) unique() string { return "role\n" + strings.ToLower(d.Name) }

// Define makes a custom role or changes the one of its id; whether it was made is
// told. Errors: problem.Invalid naming the field, problem.Exists for the name of
// another role, problem.Conflict for a built-in one; see [Code]. That the caller
// may define roles at the assignable scopes, those it has now and those it gets,
// is for the caller of this method to check.
func (r *Roles) Define(ctx context.Context, role authz.Role, by string) (d Definition, created bool, err error) {
	if role, err = checkDefinition(role); err != nil {
		return Definition{}, false, err
	}
	text, err := json.Marshal(roleProperties{role.Name, role.Description, role.Scopes, role.Permissions})
	if err != nil {
		return Definition{}, false, err
	}
	id := definitionID(role.ID)
	res, created, err := r.writeUnique(ctx, id, by, Definition{Role: role}.unique(), DefinitionNameTaken,
		func(old inventory.Resource, _ bool) (inventory.Resource, error) {
			old.Properties = text
			return old, nil
		})
	if err != nil {
		return Definition{}, false, err
	}
	if d, err = decodeDefinition(res); err != nil {
		return Definition{}, false, err
	}
	r.settle(ctx, func(h documents) bool { return h.definitions[inventory.Key(id)].revision >= d.revision })
	return d, created, nil
}

// Definition reads a role by its GUID; problem.NotFound if there is none.
func (r *Roles) Definition(ctx context.Context, role string) (Definition, error) {
	role = strings.ToLower(role)
	if d, is := builtInByID(role); is {
		return d, nil
	}
	if _, err := guid("the name of a role definition", role); err != nil {
		return Definition{}, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no role definition %q", role), DefinitionUnknown)
	}
	res, err := r.inv.Get(ctx, definitionID(role))
	if errors.Is(err, problem.NotFound) {
		return Definition{}, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no role definition %q", role), DefinitionUnknown)
	}
	if err != nil {
		return Definition{}, err
	}
	return decodeDefinition(res)
}

// Definitions gives all roles as this node knows them, built-in ones first;
// problem.Unavailable before the first policy.
func (r *Roles) Definitions() ([]Definition, error) {
	v := r.view.Load()
	if v == nil {
		return nil, errNotReady()
	}
	return slices.Concat(BuiltIn(), v.definitions), nil
}

// Undefine removes a custom role and gives it. Errors: problem.NotFound;
// problem.Conflict for a built-in role and one that is assigned.
func (r *Roles) Undefine(ctx context.Context, role string) (Definition, error) {
	d, err := r.Definition(ctx, role)
	if err != nil {
		return Definition{}, err
	}
	if !d.Custom {
		return Definition{}, errBuiltIn(d)
	}
	all, err := r.stored(ctx, "")
	if err != nil {
		return Definition{}, err
	}
	// An assignment made between this and the deletion allows nothing.
	if slices.ContainsFunc(all, func(a Assignment) bool { return a.Role == d.ID }) {
		return Definition{}, problem.Wrap(problem.Conflict, fmt.Sprintf("role %q is assigned", d.Name), DefinitionInUse).
			WithNext("delete its assignments first")
	}
	id := definitionID(d.ID)
	if err := r.inv.Delete(ctx, id); err != nil {
		return Definition{}, err
	}
	r.settle(ctx, func(h documents) bool {
		now, there := h.definitions[inventory.Key(id)]
		return !there || now.revision > d.revision
	})
	return d, nil
}

func errBuiltIn(d Definition) error {
	return problem.Wrap(problem.Conflict, fmt.Sprintf("role %q is built in and cannot be changed or deleted", d.Name), DefinitionBuiltIn).
		WithNext("make a custom role of another id")
}

func invalidRole(format string, args ...any) error {
	return problem.Wrap(problem.Invalid, fmt.Sprintf(format, args...), DefinitionInvalid)
}

// checkDefinition gives the role as it is stored.
func checkDefinition(role authz.Role) (authz.Role, error) {
	var err error
	if role.ID, err = guid("the name of a role definition", role.ID); err != nil {
		return role, err
	}
	if d, is := builtInByID(role.ID); is {
		return role, errBuiltIn(d)
	}
	role.Custom, role.Name = true, strings.TrimSpace(role.Name)
	switch {
	case role.Name == "" || !plain(role.Name, maxName):
		return role, invalidRole("properties.roleName must have 1 to %d bytes of text without control characters", maxName)
	case !utf8.ValidString(role.Description) || len(role.Description) > maxDescription:
		return role, invalidRole("properties.description must have at most %d bytes of text", maxDescription)
	case slices.ContainsFunc(BuiltIn(), func(d Definition) bool { return strings.EqualFold(d.Name, role.Name) }):
		return role, problem.Wrap(problem.Exists, fmt.Sprintf("%q is the name of a built-in role", role.Name), DefinitionNameTaken)
	}
	if role.Scopes, err = checkScopes(role.Scopes); err != nil {
		return role, err
	}
	return role, checkPermissions(role.Permissions)
}

func checkScopes(scopes []string) ([]string, error) {
	if len(scopes) == 0 || len(scopes) > maxScopes {
		return nil, invalidRole("properties.assignableScopes must have 1 to %d scopes", maxScopes)
	}
	out := make([]string, len(scopes))
	for i, text := range scopes {
		id, err := resource.Parse(text)
		switch {
		case err != nil:
			return nil, invalidRole("properties.assignableScopes[%d]: %v", i, err)
		case !id.IsSubscription() && !id.IsGroup():
			return nil, invalidRole("properties.assignableScopes[%d] must be a subscription or a resource group", i)
		}
		out[i] = id.String()
	}
	return out, nil
}

func checkPermissions(perms []authz.Permission) error {
	total, grants := 0, 0
	for i, p := range perms {
		grants += len(p.Actions) + len(p.DataActions)
		for field, patterns := range map[string][]string{"actions": p.Actions, "notActions": p.NotActions, "dataActions": p.DataActions, "notDataActions": p.NotDataActions} {
			total += len(patterns)
			for j, text := range patterns {
				if !actionPattern(text) {
					return invalidRole("properties.permissions[%d].%s[%d] is no action: it must be * or a path such as Microsoft.Web/sites/read, with * for any part", i, field, j)
				}
			}
		}
	}
	if grants == 0 || total > maxPatterns {
		return invalidRole("properties.permissions must have at least one action or data action, and at most %d entries in all", maxPatterns)
	}
	return nil
}

// actionPattern reports whether text can match an action's name.
func actionPattern(text string) bool {
	if text == "*" {
		return true
	}
	ok := func(c rune) bool {
		return c < utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("./*-_$", c))
	}
	return len(text) <= maxPattern && strings.Contains(text, "/") && !strings.Contains(text, "**") &&
		!strings.Contains(text, "//") && !strings.HasPrefix(text, "/") && !strings.HasSuffix(text, "/") &&
		!strings.ContainsFunc(text, func(c rune) bool { return !ok(c) })
}

func plain(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func decodeDefinition(res inventory.Resource) (Definition, error) {
	var p roleProperties
	if err := json.Unmarshal(res.Properties, &p); err != nil {
		return Definition{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("role definition %q cannot be understood", res.ID), err)
	}
	return Definition{
		Role: authz.Role{
			ID: strings.ToLower(res.ResourceID().Name()), Name: p.RoleName, Description: p.Description,
			Custom: true, Scopes: p.AssignableScopes, Permissions: p.Permissions,
		},
		Created: res.Created, Changed: res.Changed, CreatedBy: res.CreatedBy, ChangedBy: res.ChangedBy, ETag: res.ETag(),
		revision: res.Revision,
	}, nil
}
