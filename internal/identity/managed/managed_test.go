package managed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

const system = `{"type":"SystemAssigned"}`

func TestUserAssignedIdentityIsADocumentAndAPrincipal(t *testing.T) {
	f := newFixture(t)
	id := parse(t, userAt+"Mine")
	made, created, err := f.Write(t.Context(), id, "me", func(i managed.Identity, exists bool) (managed.Identity, error) {
		if exists || i.Isolation != managed.NotIsolated {
			t.Errorf("a new one is given as %+v, exists %v", i, exists)
		}
		i.Location, i.Tags, i.Isolation = "West Europe", map[string]string{"a": "b"}, "regional"
		return i, nil
	})
	f.ok(err)
	if !created || made.Location != "westeurope" || made.Isolation != managed.Regional || made.Name != "Mine" || made.Tags["a"] != "b" {
		t.Errorf("created %v: %+v", created, made)
	}
	p, err := f.directory.Get(t.Context(), made.ObjectID)
	f.ok(err)
	if p.Kind != identity.ManagedIdentity || p.ResourceID != id.String() || p.AppID != made.AppID || p.Name != "Mine" {
		t.Errorf("its principal: %+v", p)
	}
	doc, err := f.inv.Get(t.Context(), id)
	f.ok(err)
	if doc.Revision != p.Revision {
		t.Errorf("document at revision %d, principal at %d: not one write", doc.Revision, p.Revision)
	}
	again, created, err := f.Write(t.Context(), parse(t, strings.ToUpper(userAt)+"mine"), "me", func(i managed.Identity, _ bool) (managed.Identity, error) {
		i.Tags = nil
		return i, nil
	})
	f.ok(err)
	if created || again.ObjectID != made.ObjectID || again.AppID != made.AppID || again.Isolation != managed.Regional || again.Tags != nil || again.Name != "Mine" {
		t.Errorf("changed, created %v: %+v", created, again)
	}
	f.ok(f.Delete(t.Context(), id))
	if _, err := f.Get(t.Context(), id); !errors.Is(err, problem.NotFound) {
		t.Errorf("Get of a deleted one: %v", err)
	}
	if err := f.Delete(t.Context(), id); !errors.Is(err, problem.NotFound) {
		t.Errorf("the second deletion: %v", err)
	}
	if left := f.principals(); len(left) != 0 {
		t.Errorf("left principals: %+v", left)
	}
	if diff := cmp.Diff([]string{made.ObjectID}, f.deleted); diff != "" {
		t.Errorf("the hook was called for %s", diff)
	}
}

func TestIdentitiesThatCannotBe(t *testing.T) {
	f := newFixture(t)
	f.user("there")
	f.document(groupAt+"2", nil)
	_, _, err := f.inv.Write(t.Context(), parse(t, groupAt+"2"), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Deleting = true
		return r, nil
	})
	f.ok(err)
	for _, tt := range []struct {
		name, id, location, isolation string
		kind                          problem.Kind
		text                          string
	}{
		{"short name", userAt + "ab", "local", "", problem.Invalid, "name"},
		{"long name", userAt + strings.Repeat("a", 129), "local", "", problem.Invalid, "name"},
		{"bad name", userAt + "_abc", "local", "", problem.Invalid, "name"},
		{"other type", siteAt, "local", "", problem.Invalid, "user-assigned"},
		{"no location", userAt + "new", "", "", problem.Invalid, "location"},
		{"bad location", userAt + "new", "?", "", problem.Invalid, "location"},
		{"bad isolation", userAt + "new", "local", "Zonal", problem.Invalid, "isolationScope"},
		{"moved", userAt + "there", "elsewhere", "", problem.Conflict, "location"},
		{"no group", strings.Replace(userAt, "/rg/", "/other/", 1) + "new", "local", "", problem.NotFound, "other"},
		{"group being deleted", strings.Replace(userAt, "/rg/", "/rg2/", 1) + "new", "local", "", problem.Conflict, "being deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := f.Write(t.Context(), parse(t, tt.id), "me", func(i managed.Identity, _ bool) (managed.Identity, error) {
				i.Location, i.Isolation = tt.location, tt.isolation
				return i, nil
			})
			if problem.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v", err)
			}
		})
	}
	if n := len(f.principals()); n != 1 {
		t.Errorf("%d principals", n)
	}
	f.user(strings.Repeat("a", 128)) // longer than the name of a principal
}

func TestSystemAssignedIdentityLivesWithTheType(t *testing.T) {
	f := newFixture(t)
	block := f.block(f.site(system))
	all := f.principals()
	if len(all) != 1 || *block.PrincipalID != all[0].ObjectID || *block.TenantID != tenant || all[0].Name != "Orders" || all[0].ResourceID != siteAt {
		t.Fatalf("block %+v, principals %+v", block, all)
	}
	if again := f.block(f.ensure()); *again.PrincipalID != *block.PrincipalID || len(f.principals()) != 1 {
		t.Errorf("ensured again: %+v", again)
	}
	own, err := f.System(t.Context(), parse(t, siteAt))
	f.ok(err)
	if own.ObjectID != *block.PrincipalID || own.Resource.Location != "local" {
		t.Errorf("System gives %+v", own)
	}
	if text := string(f.site(`{"type":"None"}`)); text != `{"type":"None"}` || len(f.principals()) != 0 || len(f.keys(managed.Own)) != 0 {
		t.Errorf("after None: %s, %+v", text, f.principals())
	}
	if _, err := f.System(t.Context(), parse(t, siteAt)); !errors.Is(err, problem.NotFound) {
		t.Errorf("System of none: %v", err)
	}
	f.site(system)
	f.ok(f.Remove(t.Context(), parse(t, siteAt)))
	f.ok(f.Remove(t.Context(), parse(t, siteAt)))
	if len(f.principals()) != 0 || len(f.keys("/principals-by-app/")) != 0 {
		t.Error("the principal of a deleted app is left")
	}
}

func TestReenabledIdentityIsAnotherWithoutTheOldRoles(t *testing.T) {
	f := newFixture(t)
	roles := f.roles()
	allowed := func(oid string) bool {
		d, err := roles.Allow(t.Context(), authz.Request{Principal: oid, Action: "Microsoft.Web/sites/read", Scope: parse(t, siteAt)})
		f.ok(err)
		return d.Allowed
	}
	assign := func(oid, role string) {
		_, _, err := roles.Assign(t.Context(), rbac.Assign{Scope: parse(t, groupAt), Name: uuid.NewString(), Principal: oid, Role: role})
		f.ok(err)
	}
	old := *f.block(f.site(system)).PrincipalID
	assign(old, rbac.Reader)
	if !allowed(old) {
		t.Fatal("the role does not apply")
	}
	f.site(`{"type":"None"}`)
	renewed := *f.block(f.site(system)).PrincipalID
	if renewed == old || allowed(renewed) || allowed(old) {
		t.Errorf("the same again %v, allowed %v, the old one %v", renewed == old, allowed(renewed), allowed(old))
	}
	if all, err := roles.Assignments(); err != nil || len(all) != 0 {
		t.Errorf("left assignments: %+v, %v", all, err)
	}
}

func TestIdentityWhoseRolesCannotGoStays(t *testing.T) {
	f := newFixture(t)
	refusal := problem.New(problem.Conflict, "it is the last owner")
	f.hook = func(string) error { return refusal }
	f.user("mine")
	f.site(system)
	if err := f.Delete(t.Context(), parse(t, userAt+"mine")); !errors.Is(err, error(refusal)) {
		t.Errorf("Delete: %v", err)
	}
	if err := f.Remove(t.Context(), parse(t, siteAt)); !errors.Is(err, error(refusal)) {
		t.Errorf("Remove: %v", err)
	}
	f.document(siteAt, json.RawMessage(`{"type":"None"}`))
	if _, err := f.Ensure(t.Context(), parse(t, siteAt), nil); !errors.Is(err, error(refusal)) {
		t.Errorf("Ensure: %v", err)
	}
	if n := len(f.principals()); n != 2 {
		t.Errorf("%d principals left", n)
	}
}

// What a cut leaves, before a write or after it, is healed by asking again.
func TestInterruptedChangesHeal(t *testing.T) {
	site, user := resource.Root, resource.Root
	ensure := func(f *fixture) error {
		block, err := f.Ensure(f.Context(), site, nil)
		if err != nil {
			return err
		}
		return f.write(siteAt, block)
	}
	drop := func(f *fixture) error {
		if err := f.Delete(f.Context(), user); !errors.Is(err, problem.NotFound) {
			return err
		}
		return nil
	}
	for _, tt := range []struct {
		name       string
		prepare    func(f *fixture)
		change     func(f *fixture) error
		principals int
	}{
		{"create an identity", func(*fixture) {}, func(f *fixture) error {
			_, _, err := f.Write(f.Context(), user, "me", local)
			return err
		}, 1},
		{"delete an identity", func(f *fixture) { f.user("mine") }, drop, 0},
		{"enable", func(f *fixture) { f.document(siteAt, json.RawMessage(system)) }, ensure, 1},
		{"disable", func(f *fixture) { f.site(system); f.document(siteAt, json.RawMessage(`{"type":"None"}`)) }, ensure, 0},
		{"remove", func(f *fixture) { f.site(system) }, func(f *fixture) error { return f.Remove(f.Context(), site) }, 0},
		{"delete a group", func(f *fixture) { f.user("mine"); f.user("other") }, func(f *fixture) error {
			return f.DeleteWithin(f.Context(), parse(f.T, groupAt))
		}, 0},
	} {
		for _, after := range []bool{false, true} {
			for n := 1; n <= 4; n++ {
				t.Run(fmt.Sprintf("%s, write %d, after %v", tt.name, n, after), func(t *testing.T) {
					f := newFixture(t)
					site, user = parse(t, siteAt), parse(t, userAt+"mine")
					tt.prepare(f)
					f.store.arm(n, after)
					if err := tt.change(f); err != nil && !errors.Is(err, problem.Unavailable) {
						t.Fatalf("interrupted: %v", err)
					}
					f.store.arm(0, false)
					f.ok(tt.change(f))
					f.consistent(tt.principals)
				})
			}
		}
	}
}

// consistent checks that every principal belongs to a document and the other way
// round.
func (f *fixture) consistent(principals int) {
	f.Helper()
	all := f.principals()
	users, _, err := f.List(f.Context(), resource.Root, "", 0)
	f.ok(err)
	if n := len(users) + len(f.keys(managed.Own)); n != len(all) || n != principals || n != len(f.keys("/principals-by-app/")) {
		f.Errorf("%d documents, %d principals, want %d", n, len(all), principals)
	}
	for _, u := range users {
		if _, err := f.Principal(f.Context(), u.ObjectID); err != nil {
			f.Errorf("%s: %v", u.Name, err)
		}
	}
}

func TestManyAtOnceMakeOnePrincipal(t *testing.T) {
	f := newFixture(t)
	f.document(siteAt, json.RawMessage(system))
	var wg sync.WaitGroup
	ids := make([]string, 12)
	users := make([]string, len(ids))
	for i := range ids {
		wg.Go(func() {
			block, err := f.Ensure(t.Context(), parse(t, siteAt), nil)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = *f.block(block).PrincipalID
		})
		wg.Go(func() {
			u, _, err := f.Write(t.Context(), parse(t, userAt+"mine"), "me", local)
			if err != nil {
				t.Error(err)
			}
			users[i] = u.ObjectID
		})
	}
	wg.Wait()
	for i := range ids {
		if ids[i] != ids[0] || users[i] != users[0] {
			t.Errorf("%q and %q, %q and %q", ids[i], ids[0], users[i], users[0])
		}
	}
	f.consistent(2)
}

// Switching on and off at once ends as the last write of the resource says.
func TestEnsureFollowsWhatIsStored(t *testing.T) {
	f := newFixture(t)
	f.document(siteAt, json.RawMessage(system))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				f.document(siteAt, json.RawMessage(`{"type":"None"}`))
			} else {
				f.document(siteAt, json.RawMessage(system))
			}
			if _, err := f.Ensure(t.Context(), parse(t, siteAt), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := f.inv.Get(t.Context(), parse(t, siteAt))
	f.ok(err)
	want := 0
	if f.block(r.Identity).System() {
		want = 1
	}
	f.ensure()
	f.consistent(want)
}

// TestBlocksWithoutTheirIdentityGetIt has documents as an interruption leaves them,
// and versions that had no managed identities.
func TestBlocksWithoutTheirIdentityGetIt(t *testing.T) {
	f := newFixture(t)
	kept := *f.block(f.site(system)).PrincipalID
	const bare, none = siteAt + "-bare", siteAt + "-none"
	f.document(bare, json.RawMessage(system))
	f.document(none, json.RawMessage(`{"type":"None"}`))
	var made string
	for range 2 {
		f.ok(f.EnsureAll(t.Context()))
		own, err := f.System(t.Context(), parse(t, bare))
		f.ok(err)
		if made == "" {
			made = own.ObjectID
		}
		if own.ObjectID != made || len(f.principals()) != 2 {
			t.Errorf("%s after %s, principals %+v", own.ObjectID, made, f.principals())
		}
	}
	if own, err := f.System(t.Context(), parse(t, siteAt)); err != nil || own.ObjectID != kept {
		t.Errorf("another one: %v, %v", own.ObjectID, err)
	}
	f.document(none, json.RawMessage(system))
	f.store.arm(1, false)
	if err := f.EnsureAll(t.Context()); err == nil {
		t.Error("a failure is not told")
	}
}

func TestIdentityThatAnEarlierAppLeftIsNotTheNextOnes(t *testing.T) {
	for name, heal := range map[string]func(f *fixture){
		"at the next start": func(f *fixture) { f.ok(f.FinishDeletes(f.Context())) },
		"by the next app":   func(*fixture) {},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			old := *f.block(f.site(system)).PrincipalID
			f.ok(f.inv.Delete(t.Context(), parse(t, siteAt))) // behind our back
			if list := f.of(json.RawMessage(system)); len(list) != 1 {
				t.Errorf("%+v", list)
			}
			heal(f)
			f.clock.Advance(time.Second)
			f.document(siteAt, json.RawMessage(system))
			if list := f.of(json.RawMessage(system)); !list[0].Dangling() {
				t.Errorf("before its own is made the new app has %+v", list)
			}
			if renewed := *f.block(f.ensure()).PrincipalID; renewed == old {
				t.Error("the new app has the old one's identity")
			}
			f.ok(f.FinishDeletes(t.Context()))
			f.consistent(1)
		})
	}
}

func TestUserAssignedIdentitiesAreBoundWhenAssigned(t *testing.T) {
	f := newFixture(t)
	mine := f.user("mine")
	block := f.site(string(f.merge(nil, assignedTo("MINE"), false)))
	p, err := f.directory.Get(t.Context(), mine.ObjectID)
	f.ok(err)
	want := []identity.Assigned{{ResourceID: userAt + "MINE", ObjectID: mine.ObjectID, AppID: mine.AppID, Epoch: p.Epoch}}
	if diff := cmp.Diff(want, f.of(block)); diff != "" {
		t.Error(diff)
	}
	shown, err := f.Shown(t.Context(), block, parse(t, siteAt))
	f.ok(err)
	if text := fmt.Sprintf(`{"type":"UserAssigned","userAssignedIdentities":{"%sMINE":{"principalId":%q,"clientId":%q}}}`, userAt, mine.ObjectID, mine.AppID); string(shown) != text {
		t.Errorf("shown as %s, want %s", shown, text)
	}
	both := f.site(string(f.merge(block, `{"type":"SystemAssigned, UserAssigned"}`, true)))
	if list := f.of(both); len(list) != 2 || !list[0].System || list[0].ResourceID != siteAt || list[1].ObjectID != mine.ObjectID {
		t.Errorf("both: %+v", list)
	}
	at, err := f.AssociatedResources(t.Context(), mine.ID)
	f.ok(err)
	if len(at) != 1 || at[0].String() != siteAt {
		t.Errorf("associated: %v", at)
	}
	for name, said := range map[string]string{
		"unknown":          assignedTo("mine", "unknown"),
		"unknown and type": strings.Replace(assignedTo("unknown"), "UserAssigned", "SystemAssigned,UserAssigned", 1),
	} {
		_, err := f.Merge(t.Context(), both, json.RawMessage(said), true)
		if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), userAt+"unknown") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeletedIdentityStaysAssignedAndLeadsNowhere(t *testing.T) {
	f := newFixture(t)
	mine, other := f.user("mine"), f.user("other")
	block := f.site(string(f.merge(nil, assignedTo("mine", "other"), false)))
	f.ok(f.Delete(t.Context(), mine.ID))

	dangling := func(when string, block json.RawMessage) {
		t.Helper()
		list := f.of(block)
		if len(list) != 2 || !list[0].Dangling() || list[0].ResourceID != mine.ID.String() || list[1].ObjectID != other.ObjectID {
			t.Errorf("%s: %+v", when, list)
		}
	}
	dangling("after the deletion", block)
	shown, err := f.Shown(t.Context(), block, parse(t, siteAt))
	f.ok(err)
	if !strings.Contains(string(shown), mine.ID.String()+`":{"principalId":null,"clientId":null}`) {
		t.Errorf("shown as %s", shown)
	}
	dangling("ensured", f.ensure())
	dangling("sent back whole", f.site(string(f.merge(block, string(shown), false))))
	dangling("changed otherwise", f.site(string(f.merge(block, `{"type":"UserAssigned"}`, true))))

	again := f.user("mine")
	if again.ObjectID == mine.ObjectID {
		t.Fatal("the new identity has the old one's principal")
	}
	dangling("with another one of the name", f.ensure())
	if at, err := f.AssociatedResources(t.Context(), again.ID); err != nil || len(at) != 0 {
		t.Errorf("nobody assigned the new one, yet it is with %v, %v", at, err)
	}
	next := f.merge(block, assignedTo("mine"), true)
	if f.block(next).Binds(mine.ID.String(), f.block(block)) || !f.block(next).Binds(other.ID.String(), f.block(block)) {
		t.Error("which assignment is a new one is not told")
	}
	if list := f.of(f.site(string(next))); len(list) != 2 || list[0].ObjectID != again.ObjectID {
		t.Errorf("assigned anew: %+v", list)
	}
	if list := f.of(f.site(string(f.merge(next, `{"userAssignedIdentities":{"`+mine.ID.String()+`":null}}`, true)))); len(list) != 1 {
		t.Errorf("taken away: %+v", list)
	}
}

func TestIdsOfBlocksAreNeverTheClients(t *testing.T) {
	f := newFixture(t)
	mine, other := f.user("mine"), f.user("other")
	said := strings.Replace(assignedTo("mine"), "{}", `{"principalId":"`+other.ObjectID+`","clientId":"`+other.AppID+`"}`, 1)
	said = strings.Replace(said, `"UserAssigned"`, `"SystemAssigned,UserAssigned","principalId":"`+other.ObjectID+`"`, 1)
	if list := f.of(f.site(string(f.merge(nil, said, false)))); len(list) != 2 || list[0].ObjectID == other.ObjectID || list[1].ObjectID != mine.ObjectID {
		t.Errorf("%+v", list)
	}
	forged := `{"type":"SystemAssigned","principalId":"` + other.ObjectID + `"}`
	if list := f.of(json.RawMessage(forged)); list[0].ObjectID == other.ObjectID {
		t.Error("the principal of another resource is the app's own")
	}
}

// still is a store whose watches tell nothing: a node that is behind.
type still struct{ state.Store }

func (still) Watch(ctx context.Context, _ state.Key, _ state.Revision) (<-chan state.Event, error) {
	events := make(chan state.Event)
	context.AfterFunc(ctx, func() { close(events) })
	return events, nil
}

func TestNodeThatIsBehindMissesNoIdentity(t *testing.T) {
	f := newFixture(t)
	behind := identity.New(still{f.store}, f.clock)
	background(t, behind.Run)
	node, err := managed.New(managed.Config{Inventory: f.inv, Directory: behind, TenantID: tenant})
	f.ok(err)
	f.eventually("it follows", func() bool { // it answers without reading
		before := f.store.read()
		_, _ = behind.Get(t.Context(), uuid.NewString())
		return f.store.read() == before
	})
	f.user("mine")
	block := f.site(strings.Replace(string(f.merge(nil, assignedTo("mine"), false)), `"UserAssigned"`, `"SystemAssigned, UserAssigned"`, 1))
	list, err := node.Of(t.Context(), block, parse(t, siteAt))
	f.ok(err)
	if diff := cmp.Diff(f.of(block), list); diff != "" {
		t.Error(diff)
	}
	if again, err := node.Ensure(t.Context(), parse(t, siteAt), nil); err != nil || string(again) != string(block) {
		t.Errorf("it makes another one: %s, %v", again, err)
	}
}

func TestWhatAnAppMayUseIsKnownWithoutReadingTheState(t *testing.T) {
	f := newFixture(t)
	background(t, f.directory.Run)
	mine := f.user("mine")
	block := f.site(strings.Replace(string(f.merge(nil, assignedTo("mine"), false)), `"UserAssigned"`, `"SystemAssigned, UserAssigned"`, 1))
	f.eventually("the directory follows", func() bool {
		before := f.store.read()
		f.of(block)
		return f.store.read() == before
	})
	before := f.of(block)
	_, err := f.directory.ExpireTokens(t.Context(), mine.ObjectID)
	f.ok(err)
	if list := f.of(block); list[1].Epoch == before[1].Epoch || list[0].Epoch != before[0].Epoch {
		t.Errorf("after the tokens of one were expired: %+v", list)
	}
	f.ok(f.Delete(t.Context(), mine.ID))
	if list := f.of(block); !list[1].Dangling() || list[0].Dangling() {
		t.Errorf("after one was deleted: %+v", list)
	}
}

func TestDeletionOfAGroupTakesItsIdentities(t *testing.T) {
	f := newFixture(t)
	f.document(strings.Replace(groupAt, "/rg", "/other", 1), nil)
	f.user("one")
	f.user("two")
	stays, _, err := f.Write(t.Context(), parse(t, strings.Replace(userAt, "/rg/", "/other/", 1)+"one"), "me", local)
	f.ok(err)
	f.ok(f.DeleteWithin(t.Context(), parse(t, groupAt)))
	f.ok(f.DeleteWithin(t.Context(), parse(t, groupAt)))
	f.consistent(1)
	if list, _, err := f.List(t.Context(), resource.Root, "", 0); err != nil || len(list) != 1 || list[0].ObjectID != stays.ObjectID {
		t.Errorf("left: %+v, %v", list, err)
	}
}

func TestConfigMustBeComplete(t *testing.T) {
	if _, err := managed.New(managed.Config{}); err == nil {
		t.Error("nothing is enough")
	}
}

// Blocks of versions that did not know identities name such as were never there.
func TestIdentityThatWasNotThereIsAssignedByNobodysWrite(t *testing.T) {
	f := newFixture(t)
	f.document(siteAt, json.RawMessage(`{"type":"UserAssigned","userAssignedIdentities":{"`+userAt+`later":{}}}`))
	f.user("later")
	stored := f.ensure()
	list, err := f.Of(t.Context(), stored, parse(t, siteAt))
	f.ok(err)
	if len(list) != 1 || !list[0].Dangling() {
		t.Errorf("the resource may use %+v", list)
	}
	next := f.merge(stored, `{"type":"UserAssigned","userAssignedIdentities":{"`+userAt+`later":{}}}`, true)
	had, hadErr := managed.Parse(stored)
	named, namedErr := managed.Parse(next)
	f.ok(errors.Join(hadErr, namedErr))
	if named.Binds(userAt+"later", had) {
		t.Error("naming it is nothing that anybody is asked about")
	}
}
