package managed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// Every token request asks what its app may use: here one user-assigned identity.
func BenchmarkOf(b *testing.B) {
	c := clock.NewManual(start)
	store := memory.New(c)
	directory := identity.New(store, c)
	ids, err := managed.New(managed.Config{Inventory: &inventory.Inventory{Store: store, Clock: c}, Directory: directory, TenantID: tenant})
	if err != nil {
		b.Fatal(err)
	}
	p, err := directory.Create(b.Context(), identity.Principal{Name: "mine", Kind: identity.ManagedIdentity, ResourceID: userAt + "mine"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { directory.Run(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait(); _ = store.Close() })
	site, err := resource.Parse(siteAt)
	if err != nil {
		b.Fatal(err)
	}
	block := json.RawMessage(fmt.Sprintf(`{"type":"UserAssigned","userAssignedIdentities":{%q:{"principalId":%q}}}`, userAt+"mine", p.ObjectID))
	for b.Loop() {
		if list, err := ids.Of(ctx, block, site); err != nil || list[0].Dangling() {
			b.Fatal(list, err)
		}
	}
}
