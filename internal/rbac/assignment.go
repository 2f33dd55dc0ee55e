package rbac

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Assignment gives a principal a role at a scope and all that lies in it. Object
// ids and role ids are in lower case.
type Assignment struct {
	ID                resource.ID // the scope's id with /providers/Microsoft.Authorization/roleAssignments/{name}
	Scope             resource.ID
	Principal         string // object id
	PrincipalType     string // "ServicePrincipal", "User", "Group"
	Role              string // GUID of the role
	Description       string
	DelegatedIdentity string // resource id of a delegated managed identity; kept, without effect
	Created, Changed  time.Time
	CreatedBy         string // object id
	ChangedBy         string
	ETag              string

	key      string // of ID
	scopeKey string // of Scope
	revision state.Revision
}

// ScopeKey gives the key of the scope without making it anew.
func (a Assignment) ScopeKey() string { return a.scopeKey }

// Assign is a request for an assignment.
type Assign struct {
	Scope             resource.ID
	Name              string // a GUID that the caller chooses
	Principal         string // object id
	PrincipalType     string // "" takes that of the principal
	Role              string // GUID, or resource id, of the role
	Description       string
	Condition         string // must be "": conditions are not evaluated, so they are refused
	DelegatedIdentity string
	By                string // object id of who asks
}

// properties is an assignment as its document has it.
type properties struct {
	RoleDefinitionID  string `json:"roleDefinitionId"` // the GUID only
	PrincipalID       string `json:"principalId"`
	PrincipalType     string `json:"principalType"`
	Description       string `json:"description,omitempty"`
	DelegatedIdentity string `json:"delegatedManagedIdentityResourceId,omitempty"`
}

// AssignmentID gives the id of an assignment.
func AssignmentID(scope resource.ID, name string) resource.ID {
	return scope.Child(Namespace, "roleAssignments", strings.ToLower(name))
}

// Assign makes an assignment, or changes the description of the one that has the
// name; whether it was made is told. Once it returns, [Roles.Allow] of this node
// takes it into account. Errors: problem.Invalid for what breaks a rule and for
// unknown roles and principals, problem.Exists when the principal has the role at
// the scope under another name; see [Code]. That the caller may assign roles at
// the scope is for the caller of this method to check.
func (r *Roles) Assign(ctx context.Context, req Assign) (a Assignment, created bool, err error) {
	if req, err = r.checkAssign(ctx, req); err != nil {
		return Assignment{}, false, err
	}
	id := AssignmentID(req.Scope, req.Name)
	res, created, err := r.writeUnique(ctx, id, req.By, req.unique(), AssignmentExists, req.change)
	if err != nil {
		return Assignment{}, false, err
	}
	if a, err = decodeAssignment(res); err != nil {
		return Assignment{}, false, err
	}
	r.settle(ctx, func(h documents) bool { return h.assignments[inventory.Key(id)].revision >= a.revision })
	return a, created, nil
}

// unique names what only one assignment may have.
func (req Assign) unique() string {
	return "assignment\n" + req.Principal + "\n" + req.Role + "\n" + req.Scope.Key()
}

func (req Assign) change(old inventory.Resource, exists bool) (inventory.Resource, error) {
	p := properties{req.Role, req.Principal, req.PrincipalType, req.Description, req.DelegatedIdentity}
	if exists {
		was, err := decodeAssignment(old)
		if err != nil {
			return old, err
		}
		if was.Principal != p.PrincipalID || was.Role != p.RoleDefinitionID {
			return old, problem.Wrap(problem.Invalid, "the role and the principal of an assignment cannot be changed", AssignmentFixed).
				WithNext("delete the assignment and make another")
		}
	}
	text, err := json.Marshal(p)
	old.Properties = text
	return old, err
}

// checkAssign gives the request with ids as they are stored.
func (r *Roles) checkAssign(ctx context.Context, req Assign) (Assign, error) {
	var err error
	if req.Name, err = guid("the name of a role assignment", req.Name); err != nil {
		return req, err
	}
	if req.Principal, err = guid("properties.principalId", req.Principal); err != nil {
		return req, err
	}
	if req.Condition != "" {
		return req, problem.Wrap(problem.Invalid, "properties.condition: conditions of role assignments are not supported", ConditionsUnsupported).
			WithNext("assign the role without a condition, at a narrower scope")
	}
	if len(req.Description) > maxDescription {
		return req, problem.New(problem.Invalid, fmt.Sprintf("properties.description has %d bytes, at most %d are allowed", len(req.Description), maxDescription))
	}
	if req.Role, err = r.checkRole(ctx, req); err != nil {
		return req, err
	}
	return r.checkPrincipal(ctx, req)
}

func (r *Roles) checkRole(ctx context.Context, req Assign) (string, error) {
	role, err := guid("properties.roleDefinitionId", req.Role[strings.LastIndexByte(req.Role, '/')+1:])
	if err != nil {
		return "", err
	}
	def, err := r.Definition(ctx, role)
	if errors.Is(err, problem.NotFound) {
		return "", problem.Wrap(problem.Invalid, fmt.Sprintf("properties.roleDefinitionId: there is no role %q", role), DefinitionUnknown)
	}
	if err != nil {
		return "", err
	}
	if !def.AssignableAt(req.Scope) {
		return "", problem.Wrap(problem.Invalid, fmt.Sprintf("role %q cannot be assigned at %s: it is none of its assignable scopes, nor in one", def.Name, req.Scope), DefinitionUnknown)
	}
	return role, nil
}

func (r *Roles) checkPrincipal(ctx context.Context, req Assign) (Assign, error) {
	kind := ""
	if r.Principals != nil {
		exists, is, err := r.Principals(ctx, req.Principal)
		if err != nil {
			return req, err
		}
		if !exists {
			return req, problem.Wrap(problem.Invalid, fmt.Sprintf("properties.principalId: there is no principal %q", req.Principal), PrincipalUnknown)
		}
		kind = is
	}
	want, known := principalTypes[strings.ToLower(req.PrincipalType)]
	switch {
	case req.PrincipalType != "" && !known:
		return req, problem.New(problem.Invalid, "properties.principalType must be ServicePrincipal, User or Group")
	case want != "" && kind != "" && want != kind:
		return req, problem.Wrap(problem.Invalid, fmt.Sprintf("properties.principalType: principal %q is a %s, not a %s", req.Principal, kind, want), PrincipalMismatch)
	case kind != "":
		req.PrincipalType = kind
	case want != "":
		req.PrincipalType = want
	default:
		req.PrincipalType = "ServicePrincipal"
	}
	return req, nil
}

var principalTypes = map[string]string{"serviceprincipal": "ServicePrincipal", "user": "User", "group": "Group"}

// Assignment reads one; problem.NotFound if there is none of that id.
func (r *Roles) Assignment(ctx context.Context, id resource.ID) (Assignment, error) {
	if !strings.EqualFold(id.Type(), AssignmentType) {
		return Assignment{}, problem.New(problem.Invalid, fmt.Sprintf("%q is no role assignment", id))
	}
	res, err := r.inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return Assignment{}, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no role assignment %q", id.Name()), AssignmentUnknown)
	}
	if err != nil {
		return Assignment{}, err
	}
	return decodeAssignment(res)
}

// Assignments gives all of them as this node knows them, in order of their ids;
// problem.Unavailable before the first policy. The slice is the caller's.
func (r *Roles) Assignments() ([]Assignment, error) {
	v := r.view.Load()
	if v == nil {
		return nil, errNotReady()
	}
	return append([]Assignment(nil), v.assignments...), nil
}

// Unassign removes an assignment and gives what was removed. Once it returns,
// [Roles.Allow] of this node knows it no longer. Errors: problem.NotFound if there
// is none; problem.Conflict with [LastOwner] for the only Owner of the
// installation.
func (r *Roles) Unassign(ctx context.Context, id resource.ID) (Assignment, error) {
	a, err := r.Assignment(ctx, id)
	if err != nil {
		return Assignment{}, err
	}
	also, err := r.keepAnOwner(ctx, []Assignment{a})
	if err != nil {
		return Assignment{}, err
	}
	if err := r.inv.Delete(ctx, id, also...); err != nil {
		return Assignment{}, err
	}
	r.settle(ctx, func(h documents) bool {
		now, there := h.assignments[inventory.Key(id)]
		return !there || now.revision > a.revision
	})
	return a, nil
}

// UnassignAll removes all assignments of a principal and gives them; with an error
// those that were removed before it. problem.Conflict with [LastOwner], and
// nothing removed, if one of them is that of the only Owner.
func (r *Roles) UnassignAll(ctx context.Context, principal string) (removed []Assignment, err error) {
	all, err := r.stored(ctx, "")
	if err != nil {
		return nil, err
	}
	var mine []Assignment
	for _, a := range all {
		if strings.EqualFold(a.Principal, principal) {
			mine = append(mine, a)
		}
	}
	if _, err := r.keepAnOwner(ctx, mine); err != nil {
		return nil, err
	}
	for _, a := range mine {
		gone, err := r.Unassign(ctx, a.ID)
		if err == nil {
			removed = append(removed, gone)
		} else if !errors.Is(err, problem.NotFound) {
			return removed, err
		}
	}
	return removed, nil
}

// UnassignBelow removes all assignments at a scope that goes away and in it: what
// is made there later is another thing, which these roles were not given for. It
// reads the state, as other nodes may have made some just now.
func (r *Roles) UnassignBelow(ctx context.Context, scope resource.ID) error {
	all, err := r.stored(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range all {
		if !scope.Contains(a.Scope) {
			continue
		}
		if _, err := r.Unassign(ctx, a.ID); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}

// keepAnOwner makes sure that a principal, not just a group, can administer the
// installation after assignments are gone: the operations it gives fail the removal
// if the other Owner goes at the same moment. A divergence: Azure has other ways
// back in.
func (r *Roles) keepAnOwner(ctx context.Context, going []Assignment) ([]state.Op, error) {
	goes := map[string]bool{}
	owner := false
	for _, a := range going {
		goes[a.key] = true
		owner = owner || a.ownsAll()
	}
	if !owner {
		return nil, nil
	}
	others, err := r.stored(ctx, "providers/")
	if err != nil {
		return nil, err
	}
	for _, a := range others {
		if !a.ownsAll() || goes[a.key] {
			continue
		}
		if there, err := r.exists(ctx, a.Principal); err != nil || there {
			return []state.Op{state.Check(inventory.Key(a.ID), a.revision)}, err
		}
	}
	return nil, problem.Wrap(problem.Conflict, "this is the last assignment of Owner at / to a principal itself; without it nobody could administer the installation", LastOwner).
		WithNext("assign Owner at / to another principal first")
}

// ownsAll leaves groups out: whoever is in one today can be gone tomorrow, and the
// last member of the last group would have to be kept from being deleted.
func (a Assignment) ownsAll() bool {
	return a.Role == Owner && a.Scope.IsRoot() && a.PrincipalType != "Group"
}

func (r *Roles) exists(ctx context.Context, principal string) (bool, error) {
	if r.Principals == nil {
		return true, nil
	}
	there, _, err := r.Principals(ctx, principal)
	return there, err
}

// stored reads assignments from the state: all, or those whose keys go on in a
// certain way.
func (r *Roles) stored(ctx context.Context, below state.Key) ([]Assignment, error) {
	listing, err := r.inv.Store.List(ctx, inventory.TypePrefix(AssignmentType)+below, state.Page{})
	if err != nil {
		return nil, err
	}
	list := make([]Assignment, 0, len(listing.Documents))
	for _, doc := range listing.Documents {
		res, err := inventory.Decode(doc)
		if err != nil {
			return nil, err
		}
		a, err := decodeAssignment(res)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func decodeAssignment(res inventory.Resource) (Assignment, error) {
	var p properties
	if err := json.Unmarshal(res.Properties, &p); err != nil {
		return Assignment{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("role assignment %q cannot be understood", res.ID), err)
	}
	id := res.ResourceID()
	if !strings.EqualFold(id.Type(), AssignmentType) || p.PrincipalID == "" || p.RoleDefinitionID == "" {
		return Assignment{}, problem.New(problem.Undecryptable, fmt.Sprintf("role assignment %q cannot be understood", res.ID))
	}
	scope := id.Parent()
	return Assignment{
		ID: id, Scope: scope, Principal: strings.ToLower(p.PrincipalID), PrincipalType: p.PrincipalType,
		Role: strings.ToLower(p.RoleDefinitionID), Description: p.Description, DelegatedIdentity: p.DelegatedIdentity,
		Created: res.Created, Changed: res.Changed, CreatedBy: res.CreatedBy, ChangedBy: res.ChangedBy, ETag: res.ETag(),
		key: id.Key(), scopeKey: scope.Key(), revision: res.Revision,
	}, nil
}
