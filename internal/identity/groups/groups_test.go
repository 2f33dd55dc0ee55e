package groups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const patience = 60 * time.Second

var start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)

type fixture struct {
	*testing.T
	*Groups
	store     *memory.Store
	clock     *clock.Manual
	directory *identity.Directory
}

func newFixture(t *testing.T) *fixture {
	c := clock.NewManual(start)
	store := memory.New(c)
	return &fixture{t, New(store, c, slog.New(slog.DiscardHandler)), store, c, identity.New(store, c)}
}

// modes runs a test with and without following the store.
func modes(t *testing.T, test func(*fixture)) {
	t.Run("following", func(t *testing.T) {
		f := newFixture(t)
		f.run(f.Groups)
		test(f)
	})
	t.Run("asking the store", func(t *testing.T) { test(newFixture(t)) })
}

// run follows the store until the test ends.
func (f *fixture) run(g *Groups) {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.Run(ctx) })
	f.Cleanup(func() { cancel(); wg.Wait() })
	f.eventually("the groups are followed", func() bool { return g.view.Load() != nil })
}

// eventually waits for what other goroutines do.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	for !done() {
		if clock.Sleep(ctx, clock.Real{}, time.Millisecond) != nil {
			f.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func (f *fixture) principal() string {
	f.Helper()
	p, err := f.directory.Create(f.Context(), identity.Principal{Name: "orders", Kind: identity.ServicePrincipal})
	f.must(err)
	return p.ObjectID
}

func (f *fixture) group(members ...string) string {
	f.Helper()
	n, err := f.Create(f.Context(), Group{Name: "readers", Members: members})
	f.must(err)
	return n.ObjectID
}

func (f *fixture) add(group, member string) {
	f.Helper()
	_, err := f.AddMember(f.Context(), group, member)
	f.must(err)
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) fails(err error, kind problem.Kind, text string) {
	f.Helper()
	if problem.KindOf(err) != kind || !strings.Contains(fmt.Sprint(err), text) {
		f.Errorf("%v: want %v with %q", err, kind, text)
	}
}

// in wants the groups that somebody is in.
func (f *fixture) in(member string, want ...string) {
	f.Helper()
	got, err := f.Of(f.Context(), member)
	f.must(err)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.Errorf("%s is in %v, want %v", member, got, want)
	}
}

func TestMembershipIsOfThisMoment(t *testing.T) {
	modes(t, func(f *fixture) {
		who := f.principal()
		f.in(who)
		readers := f.group()
		for range 50 {
			f.add(readers, strings.ToUpper(who))
			f.in(who, readers)
			_, err := f.RemoveMember(f.Context(), readers, who)
			f.must(err)
			f.in(who)
		}
		f.add(readers, who)
		f.in(strings.ToUpper(who), readers)
		f.must(f.Delete(f.Context(), readers))
		f.in(who)
	})
}

func TestGroupsInGroupsCount(t *testing.T) {
	modes(t, func(f *fixture) {
		who, other := f.principal(), f.principal()
		inner := f.group(who, other)
		middle := f.group(inner)
		outer := f.group(middle, who)
		f.in(who, inner, middle, outer)
		f.in(inner, middle, outer)
		f.in(outer)
		_, err := f.RemoveMember(f.Context(), middle, inner)
		f.must(err)
		f.in(who, inner, outer)
		f.in(other, inner)
		f.fails(func() error { _, err := f.RemoveMember(f.Context(), outer, other); return err }(), problem.NotFound, other)
	})
}

func TestCirclesEnd(t *testing.T) {
	modes(t, func(f *fixture) {
		who := f.principal()
		a := f.group(who)
		b := f.group(a)
		c := f.group(b)
		f.add(a, c)
		f.in(who, a, b, c)
		f.in(a, b, c)
		_, err := f.AddMember(f.Context(), a, a)
		f.fails(err, problem.Invalid, "itself")
		id := uuid.NewString()
		_, err = f.Create(f.Context(), Group{ObjectID: id, Name: "x", Members: []string{strings.ToUpper(id)}})
		f.fails(err, problem.Invalid, "itself")
	})
}

func TestOtherNodesFollow(t *testing.T) {
	f := newFixture(t)
	other := New(f.store, f.clock, slog.New(slog.DiscardHandler))
	f.run(other)
	who := f.principal()
	readers := f.group(who)
	f.eventually("the other node knows the member", func() bool {
		got, err := other.Of(f.Context(), who)
		return err == nil && len(got) == 1 && got[0] == readers
	})
	_, err := f.RemoveMember(f.Context(), readers, who)
	f.must(err)
	f.eventually("the other node knows it is none any more", func() bool {
		got, err := other.Of(f.Context(), who)
		return err == nil && got == nil
	})
}

// A member that was taken out must not go on because nobody can be told.
func TestWithoutTheStoreNothingIsKnown(t *testing.T) {
	f := newFixture(t)
	who := f.principal()
	readers := f.group(who)
	f.run(f.Groups)
	f.store.SetUnavailable(true)
	f.in(who, readers) // from memory: the watch goes on
	f.store.Forget()
	f.eventually("old knowledge is used no more", func() bool {
		_, err := f.Of(f.Context(), who)
		return problem.KindOf(err) == problem.Unavailable
	})
	f.store.SetUnavailable(false)
	f.in(who, readers)
	_, err := f.RemoveMember(f.Context(), readers, who)
	f.must(err)
	f.in(who)
	f.eventually("the store is followed again", func() bool { f.clock.Advance(time.Second); return f.view.Load() != nil })
	f.in(who)
}

func TestWhoStopsFollowingAsksTheStore(t *testing.T) {
	f := newFixture(t)
	ctx, stop := context.WithCancel(f.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.Groups.Run(ctx) })
	f.eventually("the groups are followed", func() bool { return f.view.Load() != nil })
	stop()
	wg.Wait()
	who := f.principal()
	f.in(who, f.group(who))
}

// A view made before the store was cut off must not come into force after it.
func TestAViewFromBeforeACutIsDropped(t *testing.T) {
	f := newFixture(t)
	who := f.principal()
	f.group(who)
	list, err := f.store.List(f.Context(), Documents, state.Page{})
	f.must(err)
	follow := follower{f.Groups}
	follow.Reset(list.Documents)
	f.publish()
	if f.view.Load() == nil {
		t.Fatal("no view")
	}
	follow.Cut(problem.Unavailable)
	f.publish()
	if f.view.Load() != nil {
		t.Error("a view is in force while the store cannot be read")
	}
}

func TestAWriteWhoseEventWasMissedIsNotAwaitedForGood(t *testing.T) {
	f := newFixture(t)
	follow := follower{f.Groups}
	f.setRunning(true)
	follow.Reset(nil) // a listing from after the group was deleted
	f.publish()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	f.settle(ctx, uuid.NewString(), 1<<40)
	if ctx.Err() != nil {
		t.Error("the change of a group that is gone is awaited")
	}
}

func TestGroupsAreChecked(t *testing.T) {
	f := newFixture(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, tt := range map[string]struct {
		group Group
		kind  problem.Kind
		text  string
	}{
		"no name":                {Group{}, problem.Invalid, "name"},
		"long name":              {Group{Name: long(MaxName + 1)}, problem.Invalid, "name"},
		"control character":      {Group{Name: "a\nb"}, problem.Invalid, "name"},
		"no text":                {Group{Name: "\xff"}, problem.Invalid, "name"},
		"long description":       {Group{Name: "x", Description: long(MaxDescription + 1)}, problem.Invalid, "description"},
		"nickname with a space":  {Group{Name: "x", MailNickname: "a b"}, problem.Invalid, "mailNickname"},
		"id that is none":        {Group{Name: "x", ObjectID: "../principals/x"}, problem.Invalid, "objectId"},
		"too many first members": {Group{Name: "x", Members: guids(MaxFirst + 1)}, problem.Invalid, "members"},
		"unknown member":         {Group{Name: "x", Members: guids(1)}, problem.NotFound, "no principal or group"},
		"member that is no id":   {Group{Name: "x", Members: []string{"x/y"}}, problem.NotFound, "no principal or group"},
	} {
		if _, err := f.Create(f.Context(), tt.group); problem.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := f.List(f.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}

func guids(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = uuid.NewString()
	}
	return list
}

func TestObjectIDsOfGroupsAndPrincipalsDiffer(t *testing.T) {
	f := newFixture(t)
	who := f.principal()
	_, err := f.Create(f.Context(), Group{ObjectID: strings.ToUpper(who), Name: "x"})
	f.fails(err, problem.Exists, who)
	id := f.group()
	_, err = f.Create(f.Context(), Group{ObjectID: id, Name: "x"})
	f.fails(err, problem.Exists, id)
	_, err = f.directory.Create(f.Context(), identity.Principal{ObjectID: id, Name: "x", Kind: identity.User}, Free(id))
	f.fails(err, problem.Exists, id)
}

func TestGroupsAreFoundAndChanged(t *testing.T) {
	modes(t, func(f *fixture) {
		who := f.principal()
		made, err := f.Create(f.Context(), Group{Name: "Readers", MailNickname: "readers", Members: []string{strings.ToUpper(who), who}})
		f.must(err)
		want := Group{ObjectID: made.ObjectID, Name: "Readers", MailNickname: "readers", Created: start, Members: []string{who}, Revision: made.Revision}
		byName, err := f.ByName(f.Context(), "rEADERS")
		f.must(err)
		byID, err := f.Get(f.Context(), strings.ToUpper(made.ObjectID))
		f.must(err)
		if diff := cmp.Diff([]Group{want, want, want}, []Group{made, byName, byID}); diff != "" {
			t.Error(diff)
		}
		_, err = f.Update(f.Context(), made.ObjectID, func(n *Group) error {
			n.Name, n.Description = "Others", "who reads"
			n.Members, n.ObjectID, n.Created = nil, "x", time.Time{}
			return nil
		})
		f.must(err)
		want.Name, want.Description = "Others", "who reads"
		all, err := f.List(f.Context())
		f.must(err)
		want.Revision = all[0].Revision
		if diff := cmp.Diff([]Group{want}, all); diff != "" {
			t.Error(diff)
		}
		_, err = f.Update(f.Context(), made.ObjectID, func(n *Group) error { n.Name = ""; return nil })
		f.fails(err, problem.Invalid, "name")
		f.in(who, made.ObjectID)
	})
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	f := newFixture(t)
	readers := f.group()
	for _, id := range []string{uuid.NewString(), "nonsense", "", "a/b", readers + "/x"} {
		_, get := f.Get(f.Context(), id)
		_, name := f.ByName(f.Context(), id)
		_, update := f.Update(f.Context(), id, func(*Group) error { return nil })
		_, add := f.AddMember(f.Context(), id, f.principal())
		_, member := f.AddMember(f.Context(), readers, id)
		_, remove := f.RemoveMember(f.Context(), readers, id)
		for what, err := range map[string]error{"get": get, "name": name, "update": update, "add": add, "member": member, "remove": remove, "delete": f.Delete(f.Context(), id)} {
			if !errors.Is(err, problem.NotFound) {
				t.Errorf("%q: %s: %v", id, what, err)
			}
		}
		f.in(id)
	}
	f.group()
	_, err := f.ByName(f.Context(), "readers")
	f.fails(err, problem.Conflict, "2 groups")
}

func TestAGroupTakesSoManyMembers(t *testing.T) {
	f := newFixture(t)
	id := f.group(f.principal())
	members := guids(MaxMembers)
	slices.Sort(members)
	_, err := f.update(f.Context(), id, func(n *Group) error { n.Members = members; return nil })
	f.must(err)
	_, err = f.AddMember(f.Context(), id, f.principal())
	f.fails(err, problem.Conflict, "as many as there can be")
	_, err = f.RemoveMember(f.Context(), id, members[500])
	f.must(err)
	who := f.principal()
	f.add(id, who)
	_, err = f.AddMember(f.Context(), id, who)
	f.fails(err, problem.Exists, who)
	f.in(who, id)
}

func TestWhoGoesLeavesAllGroups(t *testing.T) {
	modes(t, func(f *fixture) {
		who, other := f.principal(), f.principal()
		a, b, c := f.group(who, other), f.group(who), f.group(other)
		left, err := f.RemoveEverywhere(f.Context(), strings.ToUpper(who))
		f.must(err)
		want := []string{a, b}
		slices.Sort(want)
		if !slices.Equal(left, want) {
			t.Errorf("%v, want %v", left, want)
		}
		f.in(who)
		f.in(other, a, c)
		outer := f.group(a)
		f.must(f.Delete(f.Context(), a))
		n, err := f.Get(f.Context(), outer)
		f.must(err)
		if len(n.Members) != 0 {
			t.Errorf("a deleted group is still a member: %v", n.Members)
		}
	})
}

// Whoever is deleted while it is being added is in the group or gone, never both.
func TestAddingWhoIsBeingDeleted(t *testing.T) {
	f := newFixture(t)
	f.run(f.Groups)
	id := f.group()
	for range 30 {
		who := f.principal()
		var adding sync.WaitGroup
		adding.Go(func() { _, _ = f.AddMember(f.Context(), id, who) })
		f.must(f.directory.Delete(f.Context(), who))
		_, err := f.RemoveEverywhere(f.Context(), who)
		f.must(err)
		adding.Wait()
		f.in(who)
	}
}

func TestMembersAreAddedAtTheSameTime(t *testing.T) {
	f := newFixture(t)
	f.run(f.Groups)
	id := f.group()
	var adding sync.WaitGroup
	for range 10 {
		who := f.principal()
		adding.Go(func() {
			if _, err := f.AddMember(f.Context(), id, who); err != nil {
				t.Error(err)
			}
			f.in(who, id)
		})
	}
	adding.Wait()
	if n, err := f.Get(f.Context(), id); err != nil || len(n.Members) != 10 {
		t.Errorf("%v %v", n, err)
	}
}

// A group that cannot be read gives nobody rights, and does not keep the others
// from giving theirs, nor principals from being deleted.
func TestDamageAllowsNothing(t *testing.T) {
	modes(t, func(f *fixture) {
		who := f.principal()
		good, bad := f.group(who), f.group(who)
		_, err := f.store.Write(f.Context(), state.Put(Documents+state.Key(bad), []byte("{"), state.Any))
		f.must(err)
		f.eventually("the damaged group counts no more", func() bool {
			got, err := f.Of(f.Context(), who)
			return err == nil && slices.Equal(got, []string{good})
		})
		if _, err := f.Get(f.Context(), bad); !errors.Is(err, problem.Undecryptable) {
			t.Errorf("the damage is hidden: %v", err)
		}
		_, err = f.RemoveEverywhere(f.Context(), who)
		f.must(err)
		f.in(who)
		f.must(f.Delete(f.Context(), bad))
		f.in(who)
	})
}

func TestNobodysGroupsCostNothing(t *testing.T) {
	f := newFixture(t)
	f.run(f.Groups)
	who, member := f.principal(), f.principal()
	id := f.group(member)
	f.in(member, id)
	for _, id := range []string{who, member} {
		if n := testing.AllocsPerRun(100, func() { _, _ = f.Of(f.Context(), id) }); n != 0 {
			t.Errorf("%.0f allocations", n)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	c := clock.NewManual(start)
	g := New(memory.New(c), c, slog.New(slog.DiscardHandler))
	member := uuid.NewString()
	g.view.Store(newView([]Group{{ObjectID: uuid.NewString(), Members: []string{member}}}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if list, _ := g.Of(context.Background(), member); len(list) != 1 {
				b.Error("not in its group")
			}
		}
	})
}
