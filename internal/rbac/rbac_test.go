package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	alice = "aaaaaaaa-0000-4000-8000-000000000001"
	bob   = "bbbbbbbb-0000-4000-8000-000000000002"
	ghost = "99999999-0000-4000-8000-000000000009"
	sub   = "5ab5c1b0-0000-4000-8000-000000000000"
)

var (
	group  = resource.Group(sub, "RG")
	site   = group.Child("Microsoft.Web", "sites", "App")
	custom = "cccccccc-0000-4000-8000-00000000000c"
)

type env struct {
	*testing.T
	ctx   context.Context
	clock *clock.Manual
	store *memory.Store
	inv   *inventory.Inventory
	*rbac.Roles
}

// newEnv gives roles that follow a store.
func newEnv(t *testing.T) *env {
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := memory.New(c)
	e := &env{T: t, clock: c, store: store, inv: &inventory.Inventory{Store: store, Clock: c}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	e.ctx = ctx
	e.Roles = e.node()
	return e
}

// node gives another node on the same store, ready to decide.
func (e *env) node() *rbac.Roles {
	r := rbac.New(e.inv, e.clock, slog.New(slog.DiscardHandler))
	r.Principals = func(_ context.Context, id string) (bool, string, error) {
		return id != ghost, "ServicePrincipal", nil
	}
	e.run(r)
	if err := r.Ready(e.ctx); err != nil {
		e.Fatal(err)
	}
	return r
}

func (e *env) run(r *rbac.Roles) {
	ctx, stop := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	e.Cleanup(func() { stop(); <-ended })
}

func (e *env) assign(scope resource.ID, principal, role string) rbac.Assignment {
	e.Helper()
	a, _, err := e.Assign(e.ctx, rbac.Assign{Scope: scope, Name: uuid.NewString(), Principal: principal, Role: role, By: alice})
	if err != nil {
		e.Fatal(err)
	}
	return a
}

func allowed(t testing.TB, r *rbac.Roles, who, action string, scope resource.ID) bool {
	t.Helper()
	d, err := r.Allow(t.Context(), authz.Request{Principal: who, Action: action, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return d.Allowed
}

func wantError(t testing.TB, err error, kind problem.Kind, code rbac.Code) {
	t.Helper()
	var got rbac.Code
	if errors.As(err, &got); problem.KindOf(err) != kind || got != code {
		t.Errorf("error %v: kind %v, code %q; want %v, %q", err, problem.KindOf(err), got, kind, code)
	}
}

func TestOwnWritesAreSeenAtOnce(t *testing.T) {
	e := newEnv(t)
	for range 50 {
		a := e.assign(group, bob, rbac.Contributor)
		if !allowed(t, e.Roles, strings.ToUpper(bob), "microsoft.web/SITES/write", site) {
			t.Fatal("an assignment is not in force when its call returns")
		}
		if _, err := e.Unassign(e.ctx, a.ID); err != nil {
			t.Fatal(err)
		}
		if allowed(t, e.Roles, bob, "Microsoft.Web/sites/write", site) {
			t.Fatal("a removed assignment is in force when its call returns")
		}
	}
}

func TestScopesAndGroups(t *testing.T) {
	e := newEnv(t)
	e.assign(group, bob, rbac.Reader)
	tests := []struct {
		name  string
		req   authz.Request
		allow bool
	}{
		{"at the scope", authz.Request{Principal: bob, Scope: group}, true},
		{"below", authz.Request{Principal: bob, Scope: site}, true},
		{"in another case", authz.Request{Principal: bob, Scope: resource.Group(strings.ToUpper(sub), "rg")}, true},
		{"above", authz.Request{Principal: bob, Scope: resource.Subscription(sub)}, false},
		{"root", authz.Request{Principal: bob, Scope: resource.Root}, false},
		{"a name that begins alike", authz.Request{Principal: bob, Scope: resource.Group(sub, "RG2")}, false},
		{"another principal", authz.Request{Principal: alice, Scope: site}, false},
		{"nobody", authz.Request{Scope: site}, false},
		{"through a group", authz.Request{Principal: alice, Groups: []string{bob}, Scope: site}, true},
		{"not on data", authz.Request{Principal: bob, Scope: site, Data: true}, false},
	}
	for _, tt := range tests {
		tt.req.Action = "Microsoft.Web/sites/read"
		d, err := e.Allow(e.ctx, tt.req)
		if err != nil || d.Allowed != tt.allow {
			t.Errorf("%s: %+v, %v", tt.name, d, err)
		}
		if d.Reason == "" || d.Allowed && (d.Role != "Reader" || d.Assignment == "") {
			t.Errorf("%s: decision without its reason: %+v", tt.name, d)
		}
	}
}

func TestRootAssignmentsReachEverything(t *testing.T) {
	e := newEnv(t)
	a := e.assign(resource.Root, alice, rbac.Owner)
	if want := "/providers/Microsoft.Authorization/roleAssignments/" + a.ID.Name(); a.ID.String() != want {
		t.Errorf("id %s", a.ID)
	}
	for _, scope := range []resource.ID{resource.Root, group, site} {
		if !allowed(t, e.Roles, alice, "Microsoft.Authorization/roleAssignments/write", scope) {
			t.Errorf("the owner may not at %s", scope)
		}
	}
}

func TestOtherNodesFollow(t *testing.T) {
	e := newEnv(t)
	other := e.node()
	a := e.assign(group, bob, rbac.Reader)
	for !allowed(t, other, bob, "x/y/read", site) {
		if e.ctx.Err() != nil {
			t.Fatal("the other node never learned of it")
		}
	}
	if _, err := other.Unassign(e.ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	for allowed(t, e.Roles, bob, "x/y/read", site) {
		if e.ctx.Err() != nil {
			t.Fatal("the first node never learned of it")
		}
	}
}

func TestNothingIsAllowedBeforeTheFirstPolicy(t *testing.T) {
	e := newEnv(t)
	e.assign(resource.Root, alice, rbac.Owner)
	fresh := rbac.New(e.inv, e.clock, slog.New(slog.DiscardHandler))
	d, err := fresh.Allow(e.ctx, authz.Request{Principal: alice, Action: "a/b/read"})
	if d.Allowed || !errors.Is(err, problem.Unavailable) {
		t.Errorf("%+v, %v", d, err)
	}
	e.store.SetUnavailable(true)
	e.run(fresh)
	for _, cut := fresh.Health(); cut == nil; _, cut = fresh.Health() {
		if e.ctx.Err() != nil {
			t.Fatal("the fault was never noticed")
		}
	}
	if _, err := fresh.Allow(e.ctx, authz.Request{Principal: alice, Action: "a/b/read"}); !errors.Is(err, problem.Unavailable) {
		t.Errorf("decides without having read anything: %v", err)
	}
	if _, err := fresh.Permissions(alice, nil, resource.Root); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
	if _, err := fresh.Assignments(); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
}

func TestTheLastPolicyStaysWhileTheStateIsAway(t *testing.T) {
	e := newEnv(t)
	e.assign(group, bob, rbac.Reader)
	if since, err := e.Health(); !since.IsZero() || err != nil {
		t.Fatalf("unhealthy from the start: %s %v", since, err)
	}
	e.store.SetUnavailable(true)
	e.store.Forget() // ends the watches, so that the follower must read again
	for since, err := e.Health(); err == nil; since, err = e.Health() {
		if e.ctx.Err() != nil {
			t.Fatalf("the fault was never noticed: %s", since)
		}
	}
	if since, _ := e.Health(); !since.Equal(e.clock.Now()) {
		t.Errorf("old since %s", since)
	}
	if !allowed(t, e.Roles, bob, "x/y/read", site) || allowed(t, e.Roles, bob, "x/y/write", site) {
		t.Error("the last policy is not in force any more")
	}
	if _, _, err := e.Assign(e.ctx, rbac.Assign{Scope: group, Name: uuid.NewString(), Principal: bob, Role: rbac.Owner}); !errors.Is(err, problem.Unavailable) {
		t.Errorf("assigning without the state: %v", err)
	}
	e.store.SetUnavailable(false)
	for _, err := e.Health(); err != nil; _, err = e.Health() {
		if e.ctx.Err() != nil {
			t.Fatal("never recovered")
		}
		e.clock.Advance(time.Second)
	}
}

func TestAssignRefuses(t *testing.T) {
	e := newEnv(t)
	have := e.assign(group, bob, rbac.Reader)
	fine := rbac.Assign{Scope: group, Name: uuid.NewString(), Principal: bob, Role: rbac.Contributor}
	tests := []struct {
		name   string
		change func(*rbac.Assign)
		kind   problem.Kind
		code   rbac.Code
	}{
		{"a name that is no GUID", func(r *rbac.Assign) { r.Name = "x" }, problem.Invalid, ""},
		{"no principal", func(r *rbac.Assign) { r.Principal = "" }, problem.Invalid, ""},
		{"an unknown principal", func(r *rbac.Assign) { r.Principal = ghost }, problem.Invalid, rbac.PrincipalUnknown},
		{"an unknown role", func(r *rbac.Assign) { r.Role = ghost }, problem.Invalid, rbac.DefinitionUnknown},
		{"a role that is no id", func(r *rbac.Assign) { r.Role = "Reader" }, problem.Invalid, ""},
		{"a condition", func(r *rbac.Assign) { r.Condition = "true" }, problem.Invalid, rbac.ConditionsUnsupported},
		{"another type than the principal's", func(r *rbac.Assign) { r.PrincipalType = "User" }, problem.Invalid, rbac.PrincipalMismatch},
		{"an unknown type", func(r *rbac.Assign) { r.PrincipalType = "Robot" }, problem.Invalid, ""},
		{"a long description", func(r *rbac.Assign) { r.Description = strings.Repeat("x", 3000) }, problem.Invalid, ""},
		{"the same under another name", func(r *rbac.Assign) { r.Role = rbac.Reader }, problem.Exists, rbac.AssignmentExists},
		{"another role for the same name", func(r *rbac.Assign) { r.Name = have.ID.Name() }, problem.Invalid, rbac.AssignmentFixed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := fine
			tt.change(&req)
			_, _, err := e.Assign(e.ctx, req)
			wantError(t, err, tt.kind, tt.code)
		})
	}
	if all, err := e.Assignments(); err != nil || len(all) != 1 {
		t.Errorf("%d assignments, %v: a refused one was stored", len(all), err)
	}
	if _, created, err := e.Assign(e.ctx, fine); err != nil || !created {
		t.Error("what the refused ones were made of is refused too:", err)
	}
}

func TestAssignAgainChangesTheDescription(t *testing.T) {
	e := newEnv(t)
	req := rbac.Assign{Scope: site, Name: strings.ToUpper(uuid.NewString()), Principal: strings.ToUpper(bob), By: alice,
		Role: "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/" + strings.ToUpper(rbac.Reader)}
	first, created, err := e.Assign(e.ctx, req)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	e.clock.Advance(time.Hour)
	req.Description, req.By = "why", bob
	a, created, err := e.Assign(e.ctx, req)
	if err != nil || created {
		t.Fatal(created, err)
	}
	if a.Principal != bob || a.Role != rbac.Reader || a.Description != "why" || a.PrincipalType != "ServicePrincipal" || a.ID.Name() != strings.ToLower(req.Name) ||
		!a.Created.Equal(first.Created) || a.CreatedBy != alice || a.ChangedBy != bob || !a.Changed.After(a.Created) {
		t.Errorf("%+v", a)
	}
	got, err := e.Assignment(e.ctx, a.ID)
	if err != nil || got.Description != "why" {
		t.Errorf("%+v %v", got, err)
	}
}

// A group deleted with its assignments leaves no name behind that stays taken.
func TestAssignAgainAfterTheGroupWasDeleted(t *testing.T) {
	e := newEnv(t)
	if _, _, err := e.inv.Write(e.ctx, group, alice, func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil }); err != nil {
		t.Fatal(err)
	}
	e.assign(site, bob, rbac.Reader)
	if err := e.inv.Delete(e.ctx, group); err != nil {
		t.Fatal(err)
	}
	e.assign(site, bob, rbac.Reader)
}

// Many requests for one assignment at once make exactly one.
func TestConcurrentDuplicates(t *testing.T) {
	e := newEnv(t)
	nodes := []*rbac.Roles{e.Roles, e.node()}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, _, errs[i] = nodes[i%2].Assign(e.ctx, rbac.Assign{Scope: group, Name: uuid.NewString(), Principal: bob, Role: rbac.Reader})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			wantError(t, err, problem.Exists, rbac.AssignmentExists)
		}
	}
	listing, err := e.store.List(e.ctx, inventory.TypePrefix(rbac.AssignmentType), state.Page{})
	if err != nil || made != 1 || len(listing.Documents) != 1 {
		t.Errorf("%d made, %d stored, %v", made, len(listing.Documents), err)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	e := newEnv(t)
	first := e.assign(resource.Root, alice, rbac.Owner)
	e.assign(resource.Subscription(sub), bob, rbac.Owner) // only of a part
	e.assign(resource.Root, bob, rbac.Contributor)        // no owner
	_, err := e.Unassign(e.ctx, first.ID)
	wantError(t, err, problem.Conflict, rbac.LastOwner)
	_, err = e.UnassignAll(e.ctx, alice)
	wantError(t, err, problem.Conflict, rbac.LastOwner)
	e.assign(resource.Root, bob, rbac.Owner)
	if _, err := e.Unassign(e.ctx, first.ID); err != nil {
		t.Error("an owner who is not the last stays:", err)
	}
	removed, err := e.UnassignAll(e.ctx, bob)
	wantError(t, err, problem.Conflict, rbac.LastOwner)
	if len(removed) != 0 || !allowed(t, e.Roles, bob, "x/y/write", resource.Root) {
		t.Error("assignments are gone although the last owner must stay:", removed)
	}
}

// An owner whose principal is gone administers nothing.
func TestAnOwnerWithoutPrincipalDoesNotCount(t *testing.T) {
	e := newEnv(t)
	first := e.assign(resource.Root, alice, rbac.Owner)
	e.Principals = nil
	e.assign(resource.Root, ghost, rbac.Owner)
	e.Principals = func(_ context.Context, id string) (bool, string, error) { return id != ghost, "", nil }
	_, err := e.Unassign(e.ctx, first.ID)
	wantError(t, err, problem.Conflict, rbac.LastOwner)
}

// Members of a group have its roles as long as they are in it, everywhere.
func TestRolesOfAGroup(t *testing.T) {
	const readers = "99999999-0000-4000-8000-000000000009"
	e := newEnv(t)
	e.Principals = func(_ context.Context, id string) (bool, string, error) {
		if id == readers {
			return true, "Group", nil
		}
		return true, "ServicePrincipal", nil
	}
	assign := func(kind string) (rbac.Assignment, error) {
		a, _, err := e.Assign(e.ctx, rbac.Assign{Scope: group, Name: uuid.NewString(), Principal: strings.ToUpper(readers), PrincipalType: kind, Role: rbac.Reader})
		return a, err
	}
	_, err := assign("ServicePrincipal")
	wantError(t, err, problem.Invalid, rbac.PrincipalMismatch)
	a, err := assign("")
	if err != nil || a.PrincipalType != "Group" {
		t.Fatalf("%+v %v", a, err)
	}
	for _, groups := range [][]string{nil, {alice}, {readers}, {alice, strings.ToUpper(readers)}} {
		in := len(groups) > 0 && groups[0] != alice || len(groups) > 1
		d, err := e.Allow(e.ctx, authz.Request{Principal: bob, Groups: groups, Action: "Microsoft.Web/sites/read", Scope: site})
		if err != nil || d.Allowed != in || in && d.Assignment != a.ID.String() {
			t.Errorf("in %v: %+v, %v", groups, d, err)
		}
		list, err := e.Permissions(bob, groups, site)
		if err != nil || len(list) > 0 != in {
			t.Errorf("in %v: permissions %v, %v", groups, list, err)
		}
	}
	if removed, err := e.UnassignAll(e.ctx, readers); err != nil || len(removed) != 1 {
		t.Errorf("%v %v", removed, err)
	}
	if list, err := e.Permissions(bob, []string{readers}, site); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// The members of a group can all be gone: it is no owner that stays.
func TestAGroupIsNotTheLastOwner(t *testing.T) {
	e := newEnv(t)
	e.Principals = func(_ context.Context, id string) (bool, string, error) {
		if id == bob {
			return true, "Group", nil
		}
		return true, "User", nil
	}
	first, members := e.assign(resource.Root, alice, rbac.Owner), e.assign(resource.Root, bob, rbac.Owner)
	_, err := e.Unassign(e.ctx, first.ID)
	wantError(t, err, problem.Conflict, rbac.LastOwner)
	if _, err := e.Unassign(e.ctx, members.ID); err != nil {
		t.Error("a group keeps its role:", err)
	}
}

// Two owners who remove each other at the same moment do not leave none.
func TestOwnersRemovingEachOther(t *testing.T) {
	e := newEnv(t)
	other := e.node()
	for range 20 {
		a, b := e.assign(resource.Root, alice, rbac.Owner), e.assign(resource.Root, bob, rbac.Owner)
		var wg sync.WaitGroup
		var errA, errB error
		wg.Go(func() { _, errA = e.Unassign(e.ctx, a.ID) })
		wg.Go(func() { _, errB = other.Unassign(e.ctx, b.ID) })
		wg.Wait()
		if (errA == nil) == (errB == nil) {
			t.Fatalf("%v, %v: want exactly one removed", errA, errB)
		}
		left := a
		if errA == nil {
			left = b
		}
		// Clear up for the next round, around the rule.
		if err := e.inv.Delete(e.ctx, left.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnassignAll(t *testing.T) {
	e := newEnv(t)
	e.assign(resource.Root, alice, rbac.Owner)
	e.assign(group, bob, rbac.Reader)
	e.assign(site, bob, rbac.Contributor)
	removed, err := e.UnassignAll(e.ctx, strings.ToUpper(bob))
	if err != nil || len(removed) != 2 {
		t.Fatal(removed, err)
	}
	if all, _ := e.Assignments(); len(all) != 1 || all[0].Principal != alice {
		t.Errorf("%+v", all)
	}
	if removed, err := e.UnassignAll(e.ctx, bob); err != nil || len(removed) != 0 {
		t.Error(removed, err)
	}
	_, err = e.Unassign(e.ctx, rbac.AssignmentID(group, ghost))
	wantError(t, err, problem.NotFound, rbac.AssignmentUnknown)
}

func TestCustomRoles(t *testing.T) {
	e := newEnv(t)
	def := authz.Role{ID: strings.ToUpper(custom), Name: "Restarter", Scopes: []string{resource.Subscription(sub).String()},
		Permissions: []authz.Permission{{Actions: []string{"Microsoft.Web/sites/*"}, NotActions: []string{"Microsoft.Web/sites/delete"}}}}
	d, created, err := e.Define(e.ctx, def, alice)
	if err != nil || !created || !d.Custom || d.ID != custom || d.CreatedBy != alice {
		t.Fatal(d, created, err)
	}
	a := e.assign(group, bob, custom)
	if !allowed(t, e.Roles, bob, "Microsoft.Web/sites/restart/action", site) || allowed(t, e.Roles, bob, "Microsoft.Web/sites/delete", site) {
		t.Error("the custom role does not decide")
	}
	def.Permissions = []authz.Permission{{Actions: []string{"Microsoft.Web/sites/read"}}}
	if _, created, err := e.Define(e.ctx, def, alice); err != nil || created {
		t.Fatal(created, err)
	}
	if allowed(t, e.Roles, bob, "Microsoft.Web/sites/restart/action", site) {
		t.Error("a changed role is not in force when its call returns")
	}
	_, err = e.Undefine(e.ctx, custom)
	wantError(t, err, problem.Conflict, rbac.DefinitionInUse)
	_, _, err = e.Assign(e.ctx, rbac.Assign{Scope: resource.Root, Name: uuid.NewString(), Principal: bob, Role: custom})
	wantError(t, err, problem.Invalid, rbac.DefinitionUnknown)
	if _, err := e.Unassign(e.ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Undefine(e.ctx, custom); err != nil {
		t.Fatal(err)
	}
	_, err = e.Undefine(e.ctx, custom)
	wantError(t, err, problem.NotFound, rbac.DefinitionUnknown)
	if all, err := e.Definitions(); err != nil || len(all) != len(rbac.BuiltIn()) {
		t.Error(len(all), err)
	}
	def.ID = uuid.NewString() // the name is free again
	if _, _, err := e.Define(e.ctx, def, alice); err != nil {
		t.Error(err)
	}
}

func TestDefineRefuses(t *testing.T) {
	e := newEnv(t)
	scope := resource.Subscription(sub).String()
	fine := authz.Role{ID: custom, Name: "Fine", Scopes: []string{scope}, Permissions: []authz.Permission{{Actions: []string{"a/b/read"}}}}
	if _, _, err := e.Define(e.ctx, authz.Role{ID: uuid.NewString(), Name: "Taken", Scopes: fine.Scopes, Permissions: fine.Permissions}, alice); err != nil {
		t.Fatal(err)
	}
	perm := func(p authz.Permission) func(*authz.Role) {
		return func(r *authz.Role) { r.Permissions = []authz.Permission{p} }
	}
	tests := []struct {
		name   string
		change func(*authz.Role)
		kind   problem.Kind
		code   rbac.Code
	}{
		{"a name that is no GUID", func(r *authz.Role) { r.ID = "x" }, problem.Invalid, ""},
		{"a built-in id", func(r *authz.Role) { r.ID = rbac.Reader }, problem.Conflict, rbac.DefinitionBuiltIn},
		{"no name", func(r *authz.Role) { r.Name = " " }, problem.Invalid, rbac.DefinitionInvalid},
		{"a name of two lines", func(r *authz.Role) { r.Name = "a\nb" }, problem.Invalid, rbac.DefinitionInvalid},
		{"a built-in name", func(r *authz.Role) { r.Name = "OWNER" }, problem.Exists, rbac.DefinitionNameTaken},
		{"a taken name", func(r *authz.Role) { r.Name = "taken" }, problem.Exists, rbac.DefinitionNameTaken},
		{"no scope", func(r *authz.Role) { r.Scopes = nil }, problem.Invalid, rbac.DefinitionInvalid},
		{"the root", func(r *authz.Role) { r.Scopes = []string{"/"} }, problem.Invalid, rbac.DefinitionInvalid},
		{"a scope that is no id", func(r *authz.Role) { r.Scopes = []string{"/x"} }, problem.Invalid, rbac.DefinitionInvalid},
		{"a resource as scope", func(r *authz.Role) { r.Scopes = []string{site.String()} }, problem.Invalid, rbac.DefinitionInvalid},
		{"no permission", func(r *authz.Role) { r.Permissions = nil }, problem.Invalid, rbac.DefinitionInvalid},
		{"nothing allowed", perm(authz.Permission{NotActions: []string{"a/b/read"}}), problem.Invalid, rbac.DefinitionInvalid},
		{"an action without a slash", perm(authz.Permission{Actions: []string{"read"}}), problem.Invalid, rbac.DefinitionInvalid},
		{"a bad not-action", perm(authz.Permission{Actions: []string{"*"}, NotActions: []string{""}}), problem.Invalid, rbac.DefinitionInvalid},
		{"a bad data action", perm(authz.Permission{DataActions: []string{"a/b c"}}), problem.Invalid, rbac.DefinitionInvalid},
		{"too many actions", perm(authz.Permission{Actions: slicesOf("a/b", 1001)}), problem.Invalid, rbac.DefinitionInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := fine
			tt.change(&r)
			_, _, err := e.Define(e.ctx, r, alice)
			wantError(t, err, tt.kind, tt.code)
		})
	}
	if _, created, err := e.Define(e.ctx, fine, alice); err != nil || !created {
		t.Error("what the refused ones were made of is refused too:", err)
	}
	_, err := e.Undefine(e.ctx, rbac.Reader)
	wantError(t, err, problem.Conflict, rbac.DefinitionBuiltIn)
}

func slicesOf(s string, n int) []string {
	return strings.Split(strings.Repeat(s+",", n-1)+s, ",")
}

// A document that somebody damaged allows nothing and harms nothing else.
func TestDamagedDocumentsAllowNothing(t *testing.T) {
	e := newEnv(t)
	e.assign(group, alice, rbac.Reader)
	a := e.assign(group, bob, rbac.Owner)
	for _, text := range []string{"}", `{"id":"/x"}`, `{"id":"` + a.ID.String() + `","properties":{}}`, `{"id":"` + a.ID.String() + `","properties":[]}`} {
		if _, err := e.store.Write(e.ctx, state.Put(inventory.Key(a.ID), []byte(text), state.Any)); err != nil {
			t.Fatal(err)
		}
		for allowed(t, e.Roles, bob, "x/y/write", site) {
			if e.ctx.Err() != nil {
				t.Fatalf("%s: still allowed", text)
			}
		}
		if !allowed(t, e.Roles, alice, "x/y/read", site) {
			t.Errorf("%s: another assignment is gone", text)
		}
	}
}

func TestLostEventsLeadToAReset(t *testing.T) {
	e := newEnv(t)
	e.store.Forget()
	e.assign(group, bob, rbac.Reader)
	if !allowed(t, e.Roles, bob, "x/y/read", site) {
		t.Error("not seen after a resync")
	}
}

func TestPermissionsShowWhatIsHeld(t *testing.T) {
	e := newEnv(t)
	e.assign(group, bob, rbac.Reader)
	e.assign(site, bob, rbac.Contributor)
	e.assign(resource.Subscription(sub), alice, rbac.Owner)
	got, err := e.Permissions(bob, nil, group)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]authz.Permission{{Actions: []string{"*/read"}}}, got); diff != "" {
		t.Error(diff)
	}
	if got, _ := e.Permissions(bob, nil, site); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

// The answers are those that the plain policy gives, on random assignments.
func TestAllowAgreesWithThePlainPolicy(t *testing.T) {
	e := newEnv(t)
	scopes := []resource.ID{resource.Root, resource.Subscription(sub), group, resource.Group(sub, "rg2"), site, site.Child("", "functions", "f"), group.Child("Microsoft.Web", "sites", "App2")}
	roles := []string{rbac.Owner, rbac.Contributor, rbac.Reader, rbac.UserAccessAdministrator, rbac.WebsiteContributor}
	var all []authz.Assignment
	for i, scope := range scopes {
		for j, role := range roles {
			if (i*7+j*3)%4 == 0 {
				who := []string{alice, bob}[(i+j)%2]
				a := e.assign(scope, who, role)
				all = append(all, authz.Assignment{ID: a.ID.String(), Principal: who, Role: role, Scope: scope})
			}
		}
	}
	var defs []authz.Role
	for _, d := range rbac.BuiltIn() {
		defs = append(defs, d.Role)
	}
	plain := authz.NewPolicy(defs, all)
	for _, scope := range scopes {
		for _, who := range []string{alice, bob, ghost, ""} {
			for _, action := range []string{"Microsoft.Web/sites/read", "Microsoft.Web/sites/write", "Microsoft.Authorization/roleAssignments/write", "Microsoft.Web/sites/config/list/action"} {
				req := authz.Request{Principal: who, Groups: []string{ghost}, Action: action, Scope: scope}
				got, err := e.Allow(e.ctx, req)
				if want := plain.Allow(req); err != nil || got.Allowed != want.Allowed || (got.Role == "") != (want.Role == "") {
					t.Errorf("%s %s at %s: %+v, want %+v, %v", who, action, scope, got, want, err)
				}
			}
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	for _, each := range []int{1, 20, 20000} { // assignments of one principal, of 20,000
		b.Run(fmt.Sprintf("of-%d", each), func(b *testing.B) { benchmarkAllow(b, each) })
	}
}

func benchmarkAllow(b *testing.B, each int) {
	c := clock.Real{}
	store := memory.New(c)
	inv := &inventory.Inventory{Store: store, Clock: c}
	for i := range 20000 {
		id := rbac.AssignmentID(resource.Group(sub, fmt.Sprintf("rg%d", i)), uuid.NewString())
		who := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i/each)
		_, _, err := inv.Write(b.Context(), id, "", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
			r.Properties = []byte(fmt.Sprintf(`{"roleDefinitionId":%q,"principalId":%q}`, rbac.Contributor, who))
			return r, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	r := rbac.New(inv, c, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	b.Cleanup(func() { stop(); <-ended })
	if err := r.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	req := authz.Request{Principal: fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", 0), Action: "Microsoft.Web/sites/read",
		Scope: resource.Group(sub, "rg0").Child("Microsoft.Web", "sites", "app").Child("", "functions", "f")}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if d, err := r.Allow(ctx, req); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}

// Assignments that another node made a moment ago go too.
func TestUnassignBelowTakesWhatIsStored(t *testing.T) {
	e := newEnv(t)
	other := rbac.New(&inventory.Inventory{Store: e.store, Clock: clock.Real{}}, clock.Real{}, slog.New(slog.DiscardHandler))
	for _, scope := range []resource.ID{group, site, site.Child("", "functions", "f"), resource.Group(sub, "rg2")} {
		if _, _, err := other.Assign(e.ctx, rbac.Assign{Scope: scope, Name: uuid.NewString(), Principal: bob, Role: rbac.Reader}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.UnassignBelow(e.ctx, site); err != nil {
		t.Fatal(err)
	}
	left, _, err := (&inventory.Inventory{Store: e.store, Clock: clock.Real{}}).List(e.ctx, rbac.AssignmentType, resource.Root, "", 0)
	if err != nil || len(left) != 2 {
		t.Fatalf("%d are left, %v", len(left), err)
	}
	for _, r := range left {
		if site.Contains(r.ResourceID().Parent()) {
			t.Errorf("%s is left", r.ID)
		}
	}
}
