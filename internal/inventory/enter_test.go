package inventory_test

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestResourcesAreCreatedInGroupsThatStay(t *testing.T) {
	ctx, v, _ := testInventory(t)
	id := parse(t, site)
	if _, _, err := v.WriteInGroup(ctx, id, "tester", as(inventory.Resource{})); !errors.Is(err, problem.NotFound) {
		t.Errorf("without a group: %v", err)
	}
	create(ctx, t, v, group)
	changes := 0
	_, created, err := v.WriteInGroup(ctx, id, "tester", func(old inventory.Resource, _ bool) (inventory.Resource, error) {
		if changes++; changes == 1 { // somebody changes the group at this moment
			if _, _, err := v.Write(ctx, parse(t, group), "other", as(inventory.Resource{Location: "local"})); err != nil {
				t.Fatal(err)
			}
		}
		return old, nil
	})
	if err != nil || !created || changes != 2 {
		t.Errorf("created %t after %d tries, %v", created, changes, err)
	}
	if _, _, err := v.Write(ctx, parse(t, group), "tester", as(inventory.Resource{Deleting: true})); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.WriteInGroup(ctx, parse(t, site+"2"), "tester", as(inventory.Resource{})); !errors.Is(err, problem.Conflict) {
		t.Errorf("in a group that is being deleted: %v", err)
	}
}
