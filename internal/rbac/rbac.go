// Package rbac owns who has which role where: the built-in and custom role
// definitions, the role assignments as management resources, and the policy made
// of them that every decision of this node is taken from. It does not know what
// an action does, who may assign roles (callers ask [Roles.Allow] first), how
// principals prove who they are, or the wire format of the management API.
package rbac

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Types of the management resources.
const (
	Namespace      = "Microsoft.Authorization"
	DefinitionType = "Microsoft.Authorization/roleDefinitions"
	AssignmentType = "Microsoft.Authorization/roleAssignments"
)

// Code says precisely which rule a request breaks, in the words of the management
// API. Find it with errors.As in an error whose kind is the coarse answer.
type Code string

// Error gives the code.
func (c Code) Error() string { return string(c) }

// Codes of the errors of this package.
const (
	AssignmentExists      Code = "RoleAssignmentExists"                // problem.Exists
	AssignmentFixed       Code = "RoleAssignmentUpdateNotPermitted"    // problem.Invalid
	AssignmentUnknown     Code = "RoleAssignmentNotFound"              // problem.NotFound
	ConditionsUnsupported Code = "RoleAssignmentConditionNotSupported" // problem.Invalid
	DefinitionBuiltIn     Code = "RoleDefinitionIsBuiltIn"             // problem.Conflict
	DefinitionInUse       Code = "RoleDefinitionHasAssignments"        // problem.Conflict
	DefinitionInvalid     Code = "InvalidRoleDefinition"               // problem.Invalid
	DefinitionNameTaken   Code = "RoleDefinitionWithSameNameExists"    // problem.Exists
	DefinitionUnknown     Code = "RoleDefinitionDoesNotExist"          // problem.Invalid, or NotFound when read by id
	LastOwner             Code = "LastOwnerCannotBeRemoved"            // problem.Conflict
	PrincipalMismatch     Code = "UnmatchedPrincipalType"              // problem.Invalid
	PrincipalUnknown      Code = "PrincipalNotFound"                   // problem.Invalid
)

// PrincipalExists tells whether there is a principal of an object id, and its kind
// as the management API names it: "ServicePrincipal", "User" or "Group".
type PrincipalExists func(ctx context.Context, objectID string) (exists bool, kind string, err error)

// Roles keeps role definitions and assignments and decides from them. It is safe
// for concurrent use. Several nodes may share one state: each follows what the
// others write.
type Roles struct {
	// Principals checks the principals that roles are assigned to; nil takes every
	// object id. Set it before use.
	Principals PrincipalExists

	inv    *inventory.Inventory
	clock  clock.Clock
	log    *slog.Logger
	view   atomic.Pointer[view]
	dirty  chan struct{} // buffered by one: the view is to be made anew
	mu     sync.Mutex
	held   documents
	change chan struct{} // closed and replaced when a view was published or the health changed
}

// New gives roles that know nothing until [Roles.Run] has read the state.
func New(inv *inventory.Inventory, c clock.Clock, log *slog.Logger) *Roles {
	return &Roles{
		inv: inv, clock: c, log: log,
		dirty: make(chan struct{}, 1), change: make(chan struct{}), held: newDocuments(),
	}
}

// Allow decides whether a principal may do something, from the last policy read,
// without locks or waiting. While the state cannot be read that policy stays in
// force (see [Roles.Health]); before the first one the answer is
// problem.Unavailable.
func (r *Roles) Allow(_ context.Context, req authz.Request) (authz.Decision, error) {
	v := r.view.Load()
	if v == nil {
		return authz.Decision{Reason: "roles are not known yet"}, errNotReady()
	}
	return v.allow(req), nil
}

// Permissions gives what the roles of a principal and of groups allow at a scope;
// problem.Unavailable before the first policy.
func (r *Roles) Permissions(principal string, groups []string, scope resource.ID) ([]authz.Permission, error) {
	v := r.view.Load()
	if v == nil {
		return nil, errNotReady()
	}
	return v.permissions(principal, groups, scope), nil
}

// Ready waits until the first policy is in force; the error is ctx's.
func (r *Roles) Ready(ctx context.Context) error {
	return r.await(ctx, func() bool { return r.view.Load() != nil })
}

// Health says since when the policy in force may be old because the state cannot
// be read, and why; the zero time when it is up to date.
func (r *Roles) Health() (since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held.cutSince, r.held.cutBy
}

func errNotReady() error {
	return problem.New(problem.Unavailable, "roles have not been read from the state yet").WithNext("try again in a moment")
}
