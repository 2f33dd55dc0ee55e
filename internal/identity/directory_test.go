package identity

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const patience = 30 * time.Second

var start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)

// fixture is a directory on a store that tests can look into.
type fixture struct {
	*Directory
	store *memory.Store
	clock *clock.Manual
}

func newFixture() *fixture {
	c := clock.NewManual(start)
	store := memory.New(c)
	return &fixture{New(store, c), store, c}
}

// run follows the state until the test ends.
func run(t *testing.T, d *Directory) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the directory follows", func() bool {
		d.cache.mu.RLock()
		defer d.cache.mu.RUnlock()
		return d.cache.live
	})
}

// eventually waits for what other goroutines do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		if clock.Sleep(ctx, clock.Real{}, time.Millisecond) != nil {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func (f *fixture) principal(t *testing.T, kind Kind) Principal {
	t.Helper()
	p, err := f.Create(t.Context(), Principal{Name: "orders", Kind: kind})
	must(t, err)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reasonOf(err error) Reason {
	var r *Refused
	if errors.As(err, &r) && errors.Is(err, problem.Unauthenticated) {
		return r.Reason
	}
	return 0
}

// modes runs a test on a directory that reads the store and on one that follows it.
func modes(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Run("reading", func(t *testing.T) { test(t, newFixture()) })
	t.Run("following", func(t *testing.T) {
		f := newFixture()
		run(t, f.Directory)
		test(t, f)
	})
}

func TestPrincipalsAreFoundByEitherID(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		p, err := f.Create(t.Context(), Principal{
			ObjectID: "AAAAAAAA-0000-4000-8000-000000000001", Name: "orders", Kind: ManagedIdentity, ResourceID: "/subscriptions/x",
		})
		must(t, err)
		if p.ObjectID != "aaaaaaaa-0000-4000-8000-000000000001" || p.AppID == "" || !p.Created.Equal(start) || p.Revision == 0 {
			t.Errorf("made %+v", p)
		}
		byObject, err := f.Get(t.Context(), strings.ToUpper(p.ObjectID))
		must(t, err)
		byApp, err := f.ByAppID(t.Context(), strings.ToUpper(p.AppID))
		must(t, err)
		list, err := f.List(t.Context())
		must(t, err)
		for _, got := range []Principal{byObject, byApp, list[0]} {
			if diff := cmp.Diff(p, got); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		for _, id := range []string{"", "x", "../y", "aaaaaaaa-0000-4000-8000-000000000001"} {
			_, byObject := f.Get(t.Context(), id)
			_, byApp := f.ByAppID(t.Context(), id)
			_, update := f.SetDisabled(t.Context(), id, true)
			_, _, secret := f.AddSecret(t.Context(), id, "x", 0)
			for _, err := range []error{byObject, byApp, update, secret} {
				if !errors.Is(err, problem.NotFound) {
					t.Errorf("%q: %v", id, err)
				}
			}
		}
		if err := f.Delete(t.Context(), "aaaaaaaa-0000-4000-8000-000000000001"); !errors.Is(err, problem.NotFound) {
			t.Errorf("deleting: %v", err)
		}
	})
}

func TestPrincipalsAreChecked(t *testing.T) {
	f := newFixture()
	for name, p := range map[string]Principal{
		"no name":            {Kind: ServicePrincipal},
		"control characters": {Kind: ServicePrincipal, Name: "a\nb"},
		"long name":          {Kind: ServicePrincipal, Name: strings.Repeat("x", MaxName+1)},
		"no kind":            {Name: "x"},
		"object id":          {Kind: ServicePrincipal, Name: "x", ObjectID: "1"},
		"app id":             {Kind: ServicePrincipal, Name: "x", AppID: "1"},
		"app id of a user":   {Kind: User, Name: "x", AppID: "aaaaaaaa-0000-4000-8000-000000000001"},
	} {
		if _, err := f.Create(t.Context(), p); !errors.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIDsAreTakenOnce(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	for _, other := range []Principal{
		{Name: "x", Kind: ServicePrincipal, ObjectID: p.ObjectID},
		{Name: "x", Kind: ServicePrincipal, AppID: p.AppID},
	} {
		if _, err := f.Create(t.Context(), other); !errors.Is(err, problem.Exists) {
			t.Errorf("got %v", err)
		}
	}
	user, err := f.Create(t.Context(), Principal{Name: "ann", Kind: User})
	must(t, err)
	if user.AppID != "" || user.Kind.AssignmentType() != "User" || ManagedIdentity.AssignmentType() != "ServicePrincipal" {
		t.Errorf("user %+v", user)
	}
}

func TestDeletedPrincipalsAreGone(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		p := f.principal(t, ServicePrincipal)
		must(t, f.Delete(t.Context(), p.ObjectID, state.Put("/beside", []byte("x"), state.Absent)))
		if _, err := f.Active(t.Context(), p.ObjectID); reasonOf(err) != UnknownPrincipal {
			t.Errorf("active: %v", err)
		}
		if _, err := f.ByAppID(t.Context(), p.AppID); !errors.Is(err, problem.NotFound) {
			t.Errorf("by app id: %v", err)
		}
		if _, err := f.store.Get(t.Context(), "/beside"); err != nil {
			t.Errorf("the caller's operation is not written: %v", err)
		}
		again, err := f.Create(t.Context(), Principal{Name: "again", Kind: ServicePrincipal, AppID: p.AppID})
		must(t, err)
		if err := f.Delete(t.Context(), again.ObjectID, state.Put("/beside", nil, state.Absent)); !errors.Is(err, state.ErrConflict) {
			t.Errorf("a failing condition of the caller: %v", err)
		}
	})
}

func TestUpdateChangesWhatMayBeChanged(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		p := f.principal(t, ServicePrincipal)
		got, err := f.Update(t.Context(), p.ObjectID, func(p *Principal) error {
			p.Name, p.AppID, p.Kind, p.Disabled = "renamed", "x", User, true
			return nil
		})
		must(t, err)
		want := p
		want.Name, want.Disabled, want.Revision = "renamed", true, got.Revision
		read, err := f.Get(t.Context(), p.ObjectID)
		must(t, err)

		if diff := cmp.Diff([]Principal{want, want}, []Principal{got, read}); diff != "" {
			t.Error(diff)
		}
		if _, err := f.Active(t.Context(), p.ObjectID); reasonOf(err) != Disabled {
			t.Errorf("active: %v", err)
		}
		if _, err := f.Update(t.Context(), p.ObjectID, func(p *Principal) error { p.Name = ""; return nil }); !errors.Is(err, problem.Invalid) {
			t.Errorf("no name: %v", err)
		}
	})
}

func TestOtherNodesFollow(t *testing.T) {
	f := newFixture()
	other := New(f.store, f.clock)
	run(t, f.Directory)
	run(t, other)
	p := f.principal(t, ServicePrincipal)
	eventually(t, "the other node knows the principal", func() bool {
		name, err := other.Active(t.Context(), p.ObjectID)
		return err == nil && name == "orders"
	})
	_, err := f.SetDisabled(t.Context(), p.ObjectID, true)
	must(t, err)
	eventually(t, "the other node knows it is disabled", func() bool {
		_, err := other.Active(t.Context(), p.ObjectID)
		return reasonOf(err) == Disabled
	})
	must(t, f.Delete(t.Context(), p.ObjectID))
	eventually(t, "the other node knows it is gone", func() bool {
		_, err := other.ByAppID(t.Context(), p.AppID)
		return errors.Is(err, problem.NotFound)
	})
}

func TestFollowingAnswersFromMemory(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	run(t, f.Directory)
	f.store.SetUnavailable(true)
	if _, err := f.ByAppID(t.Context(), p.AppID); err != nil {
		t.Errorf("the store was asked: %v", err)
	}
	f.Directory.cache.Cut(problem.Unavailable)
	if _, err := f.Active(t.Context(), p.ObjectID); !errors.Is(err, problem.Unavailable) {
		t.Errorf("old knowledge is used: %v", err)
	}
}

func TestOwnChangesAreNotHiddenByOldEvents(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	old, err := f.store.Get(t.Context(), Documents+state.Key(p.ObjectID))
	must(t, err)
	f.cache.Reset([]state.Document{old}) // what a slow follower knows
	_, err = f.SetDisabled(t.Context(), p.ObjectID, true)
	must(t, err)
	f.cache.Apply(state.Event{Kind: state.EventPut, Document: old})
	if _, err := f.Active(t.Context(), p.ObjectID); reasonOf(err) != Disabled {
		t.Errorf("after an old event: %v", err)
	}
	f.cache.Reset([]state.Document{old})
	if _, err := f.Active(t.Context(), p.ObjectID); reasonOf(err) != Disabled {
		t.Errorf("after an old listing: %v", err)
	}
	must(t, f.Delete(t.Context(), p.ObjectID))
	f.cache.Apply(state.Event{Kind: state.EventPut, Document: old})
	if _, err := f.Active(t.Context(), p.ObjectID); reasonOf(err) != UnknownPrincipal {
		t.Errorf("deleted, after an old event: %v", err)
	}
	f.cache.Apply(state.Event{Kind: state.EventDelete, Document: state.Document{Key: old.Key, Revision: 1 << 40}})
	if len(f.cache.ahead) != 0 {
		t.Errorf("still ahead: %v", f.cache.ahead)
	}
}

func TestDamageIsNoAbsence(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		p := f.principal(t, ServicePrincipal)
		_, err := f.store.Write(t.Context(), state.Put(Documents+state.Key(p.ObjectID), []byte("{"), state.Any))
		must(t, err)
		eventually(t, "the damage is reported", func() bool {
			_, err := f.Active(t.Context(), p.ObjectID)
			return errors.Is(err, problem.Undecryptable)
		})
	})
}

func TestPublicFormHoldsNoSecret(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	plain, s, err := f.AddSecret(t.Context(), p.ObjectID, "first", time.Hour)
	must(t, err)
	doc, err := f.store.Get(t.Context(), Documents+state.Key(p.ObjectID))
	must(t, err)
	p, err = f.Get(t.Context(), p.ObjectID)
	must(t, err)
	text, err := json.Marshal(p)
	must(t, err)
	if strings.Contains(string(doc.Value), plain) || strings.Contains(string(text), plain) || strings.Contains(string(text), "hash") {
		t.Errorf("the secret is kept or shown: %s", text)
	}
	if diff := cmp.Diff([]Secret{s}, p.Secrets); diff != "" {
		t.Error(diff)
	}
}

// TestAnEventThatIsFasterThanTheWriteIsNotAwaited: else who was deleted, and every
// app that is not there, would be looked for in the store for good.
func TestAnEventThatIsFasterThanTheWriteIsNotAwaited(t *testing.T) {
	var c cache
	c.Reset(nil)
	gone := func(id string, rev state.Revision) state.Event {
		return state.Event{Kind: state.EventDelete, Document: state.Document{Key: Documents + state.Key(id), Revision: rev}}
	}
	c.Apply(gone("a", 7))
	c.wrote("a", 7)
	c.wrote("b", 5)
	if _, exists, known := c.lookup("a"); exists || !known {
		t.Errorf("a deleted principal: exists %t, known %t", exists, known)
	}
	if _, exists, known := c.lookupApp("x"); exists || !known {
		t.Errorf("an app that is not there: exists %t, known %t", exists, known)
	}
	c.wrote("b", 7) // another principal of the same write, whose event is still to come
	if _, _, known := c.lookup("b"); known {
		t.Error("an older state of a principal that was written is given")
	}
	c.wrote("c", 9)
	c.Apply(gone("b", 8))
	if _, _, known := c.lookup("b"); !known {
		t.Error("a later change did not settle the former")
	}
	if _, _, known := c.lookup("c"); known {
		t.Error("a change to come counts as taken")
	}
}

// TestTokensOfSomebodyWhoIsGoneAreNotTheNextOnes: an object id can be chosen.
func TestTokensOfSomebodyWhoIsGoneAreNotTheNextOnes(t *testing.T) {
	f := newFixture()
	p, err := f.Create(t.Context(), Principal{Name: "one", Kind: ServicePrincipal})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), p.ObjectID); err != nil {
		t.Fatal(err)
	}
	next, err := f.Create(t.Context(), Principal{ObjectID: p.ObjectID, Name: "two", Kind: ServicePrincipal})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Accepts(t.Context(), p.ObjectID, p.Epoch); reasonOf(err) != TokensExpired {
		t.Errorf("the token of the one before: %v", err)
	}
	if _, err := f.Accepts(t.Context(), p.ObjectID, next.Epoch); err != nil {
		t.Errorf("a token of the new one: %v", err)
	}
}
