package inventory_test

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

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func testInventory(t *testing.T) (context.Context, *inventory.Inventory, *clock.Manual) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := clock.NewManual(start)
	s := memory.New(c)
	t.Cleanup(func() { _ = s.Close() })
	return ctx, &inventory.Inventory{Store: s, Clock: c}, c
}

func parse(t testing.TB, text string) resource.ID {
	t.Helper()
	id, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func as(r inventory.Resource) inventory.Change {
	return func(inventory.Resource, bool) (inventory.Resource, error) { return r, nil }
}

func create(ctx context.Context, t testing.TB, v *inventory.Inventory, ids ...string) {
	t.Helper()
	for _, text := range ids {
		if _, created, err := v.Write(ctx, parse(t, text), "tester", as(inventory.Resource{Kind: text})); err != nil || !created {
			t.Fatalf("%s: created %v, %v", text, created, err)
		}
	}
}

const (
	group = "/subscriptions/S/resourceGroups/G"
	site  = group + "/providers/Microsoft.Web/sites/Site"
)

func TestWriteAndGet(t *testing.T) {
	ctx, v, c := testInventory(t)
	if _, err := v.Get(ctx, parse(t, site)); !errors.Is(err, problem.NotFound) || !strings.Contains(err.Error(), "Site") {
		t.Errorf("got %v", err)
	}
	want := inventory.Resource{
		Location: "local", Kind: "functionapp", Tags: map[string]string{"a": "b"}, SKU: json.RawMessage(`{"name":"Y1"}`),
		Identity: json.RawMessage(`{"type":"None"}`), Properties: json.RawMessage(`{"enabled":true}`), Private: json.RawMessage(`{"n":1}`),
	}
	made, created, err := v.Write(ctx, parse(t, site), "olga", as(want))
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	want.ID, want.Created, want.Changed, want.CreatedBy, want.ChangedBy, want.Revision = site, start, start, "olga", "olga", made.Revision
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if got, err := v.Get(ctx, parse(t, strings.ToUpper(site))); err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %+v, %v", got, err)
	}
	c.Advance(time.Hour)
	changed, created, err := v.Write(ctx, parse(t, strings.ToLower(site)), "rita", func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists || old.Kind != "functionapp" {
			t.Errorf("the change is given %+v, %v", old, exists)
		}
		return inventory.Resource{ID: "forged", Kind: "new", Created: time.Unix(0, 0), CreatedBy: "forged", Changed: time.Unix(0, 0)}, nil
	})
	want = inventory.Resource{ID: site, Kind: "new", Created: start, Changed: start.Add(time.Hour), CreatedBy: "olga", ChangedBy: "rita", Revision: changed.Revision}
	if diff := cmp.Diff(want, changed); diff != "" || err != nil || created {
		t.Errorf("created %v, %v (-want +got):\n%s", created, err, diff)
	}
	if made.ETag() == changed.ETag() || strings.ContainsAny(changed.ETag(), `" `) {
		t.Errorf("tags %s and %s", made.ETag(), changed.ETag())
	}
}

func TestWriteThatChangesNothing(t *testing.T) {
	ctx, v, _ := testInventory(t)
	mine := problem.New(problem.Denied, "no")
	for _, want := range []error{mine, nil} {
		_, created, err := v.Write(ctx, parse(t, site), "x", func(old inventory.Resource, _ bool) (inventory.Resource, error) {
			if want == nil {
				return old, state.ErrUnchanged
			}
			return old, want
		})
		if !errors.Is(err, want) || created {
			t.Errorf("created %v, %v", created, err)
		}
	}
	create(ctx, t, v, site)
	made, err := v.Get(ctx, parse(t, site))
	got, created, err2 := v.Write(ctx, parse(t, site), "x", func(old inventory.Resource, _ bool) (inventory.Resource, error) { return old, state.ErrUnchanged })
	if err != nil || err2 != nil || created || !cmp.Equal(made, got) {
		t.Errorf("created %v, %+v, %v, %v", created, got, err, err2)
	}
}

func TestWriteWithFurtherOperations(t *testing.T) {
	ctx, v, _ := testInventory(t)
	index := state.Put("/sites/site", []byte(site), state.Absent)
	if _, _, err := v.Write(ctx, parse(t, site), "x", as(inventory.Resource{}), index); err != nil {
		t.Fatal(err)
	}
	other := parse(t, group+"2/providers/Microsoft.Web/sites/Site")
	if _, _, err := v.Write(ctx, other, "x", as(inventory.Resource{}), index); !errors.Is(err, problem.Conflict) || !strings.Contains(err.Error(), "/sites/site") {
		t.Errorf("got %v", err)
	}
	if _, err := v.Get(ctx, other); !errors.Is(err, problem.NotFound) {
		t.Errorf("a part of the write happened: %v", err)
	}
	if below, err := v.Below(ctx, parse(t, group+"2")); err != nil || len(below) != 0 {
		t.Errorf("a part of the write happened: %v, %v", below, err)
	}
	if err := v.Delete(ctx, parse(t, site), state.Delete(index.Key, state.Any)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Store.Get(ctx, index.Key); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// listed gives the ids that pages of a size find.
func listed(ctx context.Context, t *testing.T, v *inventory.Inventory, typ, scope string, limit int) []string {
	t.Helper()
	ids, after := []string{}, state.Key("")
	for {
		list, next, err := v.List(ctx, typ, parse(t, scope), after, limit)
		if err != nil || limit > 0 && len(list) > limit {
			t.Fatalf("%d resources, %v", len(list), err)
		}
		for _, r := range list {
			ids = append(ids, r.ID)
		}
		if next == "" {
			return ids
		}
		if len(list) != limit {
			t.Fatalf("a page of %d that is not the last", len(list))
		}
		after = next
	}
}

func TestList(t *testing.T) {
	ctx, v, _ := testInventory(t)
	other := "/subscriptions/S/resourceGroups/G2/providers/Microsoft.Web/sites/a"
	far := "/subscriptions/S2/resourceGroups/G/providers/Microsoft.Web/sites/a"
	create(ctx, t, v, group, site, site+"2", other, far, site+"/functions/f", site+"/functions/g", site+"2/functions/f",
		group+"/providers/Microsoft.Web/serverfarms/p", "/providers/Microsoft.Authorization/roleAssignments/top",
		site+"/providers/Microsoft.Authorization/roleAssignments/low", "/subscriptions/S/providers/Microsoft.Authorization/roleAssignments/mid")
	for _, tt := range []struct {
		typ, scope string
		want       []string
	}{
		{"Microsoft.Web/sites", "/", []string{site, site + "2", other, far}},
		{"microsoft.web/SITES", "/subscriptions/s", []string{site, site + "2", other}},
		{"Microsoft.Web/sites", group, []string{site, site + "2"}},
		{"Microsoft.Web/sites", site, []string{}},
		{"Microsoft.Web/sites/functions", "/", []string{site + "/functions/f", site + "/functions/g", site + "2/functions/f"}},
		{"Microsoft.Web/sites/functions", site, []string{site + "/functions/f", site + "/functions/g"}},
		{"Microsoft.Resources/resourceGroups", "/subscriptions/S", []string{group}},
		{"Microsoft.Web/none", "/", []string{}},
		{"Microsoft.Authorization/roleAssignments", "/", []string{
			"/providers/Microsoft.Authorization/roleAssignments/top", "/subscriptions/S/providers/Microsoft.Authorization/roleAssignments/mid",
			site + "/providers/Microsoft.Authorization/roleAssignments/low"}},
		{"Microsoft.Authorization/roleAssignments", group, []string{site + "/providers/Microsoft.Authorization/roleAssignments/low"}},
	} {
		for _, limit := range []int{0, 1, 2, 3, 100} {
			got := listed(ctx, t, v, tt.typ, tt.scope, limit)
			if tt.typ == "Microsoft.Authorization/roleAssignments" && len(got) == 3 {
				got[1], got[2] = min(got[1], got[2]), max(got[1], got[2]) // by key, not by id
				tt.want[1], tt.want[2] = min(tt.want[1], tt.want[2]), max(tt.want[1], tt.want[2])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s in %s by %d (-want +got):\n%s", tt.typ, tt.scope, limit, diff)
			}
		}
	}
}

func TestBelow(t *testing.T) {
	ctx, v, _ := testInventory(t)
	create(ctx, t, v, group, site, site+"2", site+"/functions/f", site+"/providers/A.B/c/d", group+"2")
	for _, tt := range []struct {
		scope string
		want  []string
	}{
		{site, []string{"Microsoft.Web/sites/functions", "A.B/c"}},
		{group, []string{"Microsoft.Web/sites", "Microsoft.Web/sites/functions", "A.B/c", "Microsoft.Web/sites"}},
		{group + "2", nil},
		{site + "/functions/f", nil},
	} {
		below, err := v.Below(ctx, parse(t, tt.scope))
		var got []string
		for _, e := range below {
			if got = append(got, e.Type); !parse(t, tt.scope).Contains(e.ID) {
				t.Errorf("%s is below %s", e.ID, tt.scope)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.scope, err, diff)
		}
	}
	if below, err := v.Below(ctx, resource.Root); err != nil || len(below) != 6 {
		t.Errorf("%d below the root, %v", len(below), err)
	}
}

func TestDelete(t *testing.T) {
	ctx, v, _ := testInventory(t)
	create(ctx, t, v, group, group+"2", site, site+"2", site+"/providers/A.B/c/d")
	for i := range 150 { // more than one write takes
		create(ctx, t, v, fmt.Sprintf("%s/functions/f%d", site, i))
	}
	if err := v.Delete(ctx, parse(t, strings.ToUpper(site))); err != nil {
		t.Fatal(err)
	}
	if err := v.Delete(ctx, parse(t, site)); !errors.Is(err, problem.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	for _, text := range []string{site, site + "/functions/f7", site + "/providers/A.B/c/d"} {
		if _, err := v.Get(ctx, parse(t, text)); !errors.Is(err, problem.NotFound) {
			t.Errorf("%s is left: %v", text, err)
		}
	}
	create(ctx, t, v, site) // its name is free again
	if err := v.Delete(ctx, parse(t, group)); err != nil {
		t.Fatal(err)
	}
	listing, err := v.Store.List(ctx, "/", state.Page{KeysOnly: true})
	if err != nil || len(listing.Documents) != 2 || !strings.HasSuffix(string(listing.Documents[0].Key), "/g2") {
		t.Errorf("left are %v, %v", listing.Documents, err)
	}
}

func TestDeleteEndsWhatAnInterruptionLeft(t *testing.T) {
	ctx, v, _ := testInventory(t)
	for i := range 120 {
		create(ctx, t, v, fmt.Sprintf("%s/functions/f%d", site, i))
	}
	create(ctx, t, v, site)
	refusing := &inventory.Inventory{Store: &secondWriteFails{Store: v.Store}, Clock: v.Clock}
	if err := refusing.Delete(ctx, parse(t, site)); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("got %v", err)
	}
	if below, err := v.Below(ctx, parse(t, site)); err != nil || len(below) == 0 || len(below) == 120 {
		t.Fatalf("%d are left, %v", len(below), err)
	}
	if err := v.Delete(ctx, parse(t, site)); err != nil {
		t.Fatal(err)
	}
	if listing, err := v.Store.List(ctx, "/", state.Page{}); err != nil || len(listing.Documents) != 0 {
		t.Errorf("%d documents are left, %v", len(listing.Documents), err)
	}
}

type secondWriteFails struct {
	state.Store
	writes int
}

func (s *secondWriteFails) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if s.writes++; s.writes == 2 {
		return 0, problem.New(problem.Unavailable, "cut off")
	}
	return s.Store.Write(ctx, ops...)
}

func TestDamagedDocumentsAreNamed(t *testing.T) {
	ctx, v, _ := testInventory(t)
	create(ctx, t, v, site)
	key := inventory.Key(parse(t, site))
	if _, err := v.Store.Write(ctx, state.Put(key, []byte("{"), state.Any)); err != nil {
		t.Fatal(err)
	}
	_, get := v.Get(ctx, parse(t, site))
	_, _, list := v.List(ctx, "Microsoft.Web/sites", resource.Root, "", 0)
	_, _, write := v.Write(ctx, parse(t, site), "x", as(inventory.Resource{}))
	for _, err := range []error{get, list, write} {
		if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), string(key)) {
			t.Errorf("got %v", err)
		}
	}
}

func TestManyWritersLoseNothing(t *testing.T) {
	ctx, v, _ := testInventory(t)
	const writers, each = 6, 10
	var wg sync.WaitGroup
	var mu sync.Mutex
	creators := 0
	for range writers {
		wg.Go(func() {
			for range each {
				_, created, err := v.Write(ctx, parse(t, site), "x", func(old inventory.Resource, _ bool) (inventory.Resource, error) {
					old.Kind += "i"
					return old, nil
				})
				if err != nil {
					t.Error(err)
				}
				if created {
					mu.Lock()
					creators++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if r, err := v.Get(ctx, parse(t, site)); err != nil || len(r.Kind) != writers*each || creators != 1 {
		t.Errorf("counted to %d, created %d times, %v", len(r.Kind), creators, err)
	}
}
