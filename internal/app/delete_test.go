package app_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// keysOf gives the keys of the state that have a word in them.
func (f fixture) keysOf(t *testing.T, word string) []state.Key {
	t.Helper()
	all, err := f.store.List(t.Context(), "/", state.Page{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var found []state.Key
	for _, doc := range all.Documents {
		if strings.Contains(strings.ToLower(string(doc.Key)), word) && !strings.HasPrefix(string(doc.Key), string(state.LeasePrefix)) {
			found = append(found, doc.Key)
		}
	}
	return found
}

func TestDeleteLeavesNothingOfTheAppAndAllOfOthers(t *testing.T) {
	var deleted []string
	f := newFixture(t, func(_ context.Context, a app.App) error {
		deleted = append(deleted, a.Name)
		return nil
	})
	gone, stays := f.put(t, "orders", minimal), f.put(t, "orders-2", minimal)
	for _, a := range []app.App{gone, stays} {
		if _, err := f.SetSettings(t.Context(), a.ID, "me", map[string]string{"A": "1"}, state.Any); err != nil {
			t.Fatal(err)
		}
		if err := f.AllowPasswords(t.Context(), a.ID, "me", app.PolicyFTP, false); err != nil {
			t.Fatal(err)
		}
	}
	others := len(f.keysOf(t, "orders-2"))
	if err := f.Delete(t.Context(), gone.ID, "me"); err != nil {
		t.Fatal(err)
	}
	if left := f.keysOf(t, "orders"); len(left) != others {
		t.Errorf("left in the state: %q", left)
	}
	if len(deleted) != 1 || deleted[0] != "orders" {
		t.Errorf("hooks were called for %q", deleted)
	}
	if _, err := f.Get(t.Context(), gone.ID); !errors.Is(err, problem.NotFound) {
		t.Errorf("Get gives %v", err)
	}
	if err := f.Delete(t.Context(), gone.ID, "me"); !errors.Is(err, problem.NotFound) {
		t.Errorf("the second Delete gives %v", err)
	}
	if s, _, err := f.Settings(t.Context(), stays.ID); err != nil || s["A"] != "1" {
		t.Errorf("the other app has %v, %v", s, err)
	}
}

func TestInterruptedDeletionIsFinished(t *testing.T) {
	broken := true
	f := newFixture(t, func(context.Context, app.App) error {
		if broken {
			return problem.New(problem.Unavailable, "the key store is away")
		}
		return nil
	})
	for name, finish := range map[string]func(a app.App) error{
		"by the next start":  func(app.App) error { return f.FinishDeletes(t.Context()) },
		"by the next delete": func(a app.App) error { return f.Delete(t.Context(), a.ID, "me") },
		"by the next create": func(a app.App) error {
			made, _, err := f.Put(t.Context(), a.ID, "me", app.Spec{Location: "local"})
			if err == nil && made.UID == a.UID {
				t.Error("the new app has the old one's UID")
			}
			if settings, _, err := f.Settings(t.Context(), a.ID); err != nil || len(settings) != 0 {
				t.Errorf("the new app has settings %v, %v", settings, err)
			}
			return errors.Join(err, f.Delete(t.Context(), a.ID, "me"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			broken = true
			a := f.put(t, "orders", `{"location":"local","properties":{"siteConfig":{"appSettings":[{"name":"A","value":"1"}]}}}`)
			if err := f.Delete(t.Context(), a.ID, "me"); !errors.Is(err, problem.Unavailable) {
				t.Fatalf("Delete gives %v", err)
			}
			if _, err := f.ByName(t.Context(), "orders"); !errors.Is(err, problem.NotFound) {
				t.Errorf("ByName gives %v", err)
			}
			if list, _, err := f.List(t.Context(), siteID("rg", "x").Parent(), "", 0); err != nil || len(list) != 0 {
				t.Errorf("List gives %v, %v", list, err)
			}
			if free, err := f.NameFree(t.Context(), "orders"); free || err != nil {
				t.Errorf("the name is free (%v) before the keys are gone", err)
			}
			if r, err := f.inv.Get(t.Context(), a.ID); err != nil {
				t.Error(err)
			} else if seen, err := app.FromResource(r); err != nil || seen.Wanted() || seen.Generation <= a.Generation {
				t.Errorf("watchers see %+v, %v", seen, err)
			}
			if _, err := f.SetSettings(t.Context(), a.ID, "me", nil, state.Any); !errors.Is(err, problem.NotFound) {
				t.Errorf("settings of an app that goes: %v", err)
			}
			if err := f.FinishDeletes(t.Context()); !errors.Is(err, problem.Unavailable) {
				t.Errorf("FinishDeletes gives %v", err)
			}
			broken = false
			if err := finish(a); err != nil {
				t.Fatal(err)
			}
			if left := f.keysOf(t, "orders"); len(left) != 0 {
				t.Errorf("left in the state: %q", left)
			}
		})
	}
}

func TestPlanWithAppsStays(t *testing.T) {
	f := newFixture(t)
	s, err := app.ParsePlan([]byte(`{"location":"local","sku":{"name":"EP1"},"properties":{"reserved":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	plan, created, err := f.PutPlan(t.Context(), planID("rg", "big"), "me", s)
	if err != nil || !created || plan.SKU.Tier != "ElasticPremium" || !plan.Reserved {
		t.Fatalf("%+v %v %v", plan, created, err)
	}
	a := f.put(t, "orders", `{"location":"local","properties":{"serverFarmId":"`+strings.ToUpper(plan.ID.String())+`"}}`)
	if a.Plan != plan.ID.String() {
		t.Errorf("the app's plan is %s", a.Plan)
	}
	if err := f.DeletePlan(t.Context(), plan.ID); !errors.Is(err, problem.Conflict) || !strings.Contains(err.Error(), "orders") {
		t.Errorf("DeletePlan gives %v", err)
	}
	if err := f.Delete(t.Context(), a.ID, "me"); err != nil {
		t.Fatal(err)
	}
	if err := f.DeletePlan(t.Context(), plan.ID); err != nil {
		t.Error(err)
	}
	if left := f.keysOf(t, "big"); len(left) != 0 {
		t.Errorf("left in the state: %q", left)
	}
	_, _, err = f.Put(t.Context(), siteID("rg", "bills"), "me", spec(t, `{"location":"local","properties":{"serverFarmId":"`+plan.ID.String()+`"}}`))
	if !errors.Is(err, problem.NotFound) || !strings.Contains(err.Error(), "serverFarmId") {
		t.Errorf("an app of a plan that is gone: %v", err)
	}
}

func TestPlanCannotGainAnAppWhileItGoes(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		if _, _, err := f.PutPlan(t.Context(), planID("rg", "p"), "me", app.Spec{Location: "local"}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- f.DeletePlan(context.Background(), planID("rg", "p")) }()
		_, _, putErr := f.Put(t.Context(), siteID("rg", "orders"), "me", spec(t, `{"location":"local","properties":{"serverFarmId":"`+planID("rg", "p").String()+`"}}`))
		deleteErr := <-done
		if (putErr == nil) == (deleteErr == nil) {
			t.Fatalf("put: %v, delete: %v", putErr, deleteErr)
		}
		if putErr == nil {
			if err := f.Delete(t.Context(), siteID("rg", "orders"), "me"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSkusAreCompleted(t *testing.T) {
	f := newFixture(t)
	for sku, want := range map[string]string{
		``: "Y1 Dynamic", `{"name":"Y1","capacity":1}`: "Y1 Dynamic", `{"name":"FC1"}`: "FC1 FlexConsumption", `{"size":"B2"}`: "B2 Basic",
		`{"name":"P1v3"}`: "P1v3 PremiumV3", `{"name":"s1","tier":"wrong"}`: "s1 Standard", `{"name":"X9"}`: "", `{"capacity":-1}`: "", `{"name":1}`: "",
	} {
		got := ""
		p, _, err := f.PutPlan(t.Context(), planID("rg", "p"), "me", app.Spec{Location: "local", SKU: []byte(sku)})
		if err == nil {
			got = p.SKU.Name + " " + p.SKU.Tier
		} else if !errors.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", sku, err)
		}
		if got != want {
			t.Errorf("%s gives %q, not %q", sku, got, want)
		}
		if err == nil {
			if err := f.DeletePlan(t.Context(), p.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestADeletedGroupTakesAppsThatWereBeingDeletedWithIt: their names are free after
// that.
func TestADeletedGroupTakesAppsThatWereBeingDeletedWithIt(t *testing.T) {
	broken := true
	f := newFixture(t, func(context.Context, app.App) error {
		if broken {
			return problem.New(problem.Unavailable, "the key store is away")
		}
		return nil
	})
	f.put(t, "stays", minimal)
	begun := f.put(t, "begun", minimal)
	if err := f.Delete(t.Context(), begun.ID, "me"); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("Delete gives %v", err)
	}
	if err := f.DeleteWithin(t.Context(), begun.ID.Parent(), "me"); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("DeleteWithin gives %v", err)
	}
	broken = false
	if err := f.DeleteWithin(t.Context(), begun.ID.Parent(), "me"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stays", "begun"} {
		if left := f.keysOf(t, name); len(left) != 0 {
			t.Errorf("left in the state: %q", left)
		}
		if free, err := f.NameFree(t.Context(), name); !free || err != nil {
			t.Errorf("the name %s is free: %v, %v", name, free, err)
		}
	}
}

// TestNothingIsCreatedInAGroupThatIsBeingDeleted: also by calls that were let in
// before, for it would outlive the group.
func TestNothingIsCreatedInAGroupThatIsBeingDeleted(t *testing.T) {
	f := newFixture(t)
	a := f.put(t, "orders", minimal)
	if _, _, err := f.inv.Write(t.Context(), a.ID.Parent(), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Deleting = true
		return r, nil
	}); err != nil {
		t.Fatal(err)
	}
	before := len(f.keysOf(t, ""))
	if _, _, err := f.Put(t.Context(), siteID("rg", "late"), "me", spec(t, minimal)); !errors.Is(err, problem.Conflict) {
		t.Errorf("an app: %v", err)
	}
	if _, _, err := f.PutPlan(t.Context(), planID("rg", "late"), "me", app.Spec{Location: "local"}); !errors.Is(err, problem.Conflict) {
		t.Errorf("a plan: %v", err)
	}
	if after := len(f.keysOf(t, "")); after != before {
		t.Errorf("%d documents more", after-before)
	}
	if err := f.DeleteWithin(t.Context(), a.ID.Parent(), "me"); err != nil {
		t.Error(err)
	}
}

// TestADeletionEndsWithItsLease: hooks know an app by its name, which another app
// can have once somebody else has ended the deletion.
func TestADeletionEndsWithItsLease(t *testing.T) {
	var f fixture
	f = newFixture(t, func(ctx context.Context, _ app.App) error {
		f.store.ExpireLeases()
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
			t.Error("the hook goes on")
		}
		return ctx.Err()
	})
	a := f.put(t, "orders", minimal)
	if err := f.Delete(t.Context(), a.ID, "me"); err == nil {
		t.Error("the deletion succeeded without its lease")
	}
}
