package vault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

const day = 24 * time.Hour

func TestDeletedVaultIsRecoveredAsItWas(t *testing.T) {
	e := newEnv(t)
	var hooked []string
	e.config.OnDelete = append(e.config.OnDelete, func(_ context.Context, v vault.Vault) error {
		hooked = append(hooked, v.Name)
		return nil
	})
	e.Vaults = e.node()
	was := e.put(kv, plain)
	d := e.delete(kv)
	now := e.clock.Now()
	if !d.DeletedAt.Equal(now) || !d.PurgeAt.Equal(now.Add(90*day)) ||
		d.ID() != "/subscriptions/"+sub+"/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/Kv-1" {
		t.Errorf("got %+v", d)
	}
	if !slices.Equal(hooked, []string{"Kv-1"}) {
		t.Error(hooked)
	}
	_, err := e.Get(e.ctx, kv)
	wants(t, err, problem.NotFound, vault.VaultNotFound)
	_, err = e.ByName("kv-1")
	wants(t, err, problem.NotFound, vault.VaultNotFound)
	_, err = e.Delete(e.ctx, kv, by)
	wants(t, err, problem.NotFound, vault.VaultNotFound)
	if _, err := e.memory.Write(e.ctx, was.Open()); !errors.Is(err, problem.Conflict) {
		t.Error("a deleted vault can be written into:", err)
	}
	if got, err := e.GetDeleted(e.ctx, sub, "West Europe", "KV-1"); err != nil || got.Vault.UID != was.UID {
		t.Error(got, err)
	}
	_, err = e.GetDeleted(e.ctx, sub, "eastus", "kv-1")
	wants(t, err, problem.NotFound, vault.DeletedNotFound)

	v, err := e.Recover(e.ctx, kv, by)
	if err != nil || v.UID != was.UID || v.Name != was.Name {
		t.Fatal(v, err)
	}
	if got, err := e.ByName("kv-1"); err != nil || got.UID != was.UID {
		t.Error(got, err)
	}
	if _, err := e.memory.Write(e.ctx, was.Open()); err != nil {
		t.Error(err)
	}
	_, err = e.GetDeleted(e.ctx, sub, "westeurope", "kv-1")
	wants(t, err, problem.NotFound, vault.DeletedNotFound)
	_, err = e.Recover(e.ctx, kv, by)
	wants(t, err, problem.NotFound, vault.DeletedNotFound)
}

func TestCreateModeRecovers(t *testing.T) {
	e := newEnv(t)
	body := spec(t, `{"location":"westeurope","properties":{"createMode":"recover"}}`)
	_, _, err := e.Put(e.ctx, kv, by, body)
	wants(t, err, problem.NotFound, vault.DeletedNotFound)
	was := e.put(kv, plain)
	e.delete(kv)
	v, created, err := e.Put(e.ctx, kv, by, body)
	if err != nil || !created || v.UID != was.UID {
		t.Fatal(v, created, err)
	}
	v, created, err = e.Put(e.ctx, kv, by, body)
	if err != nil || created || v.UID != was.UID {
		t.Fatal(v, created, err)
	}
}

func TestRefusedHookLeavesTheVault(t *testing.T) {
	e := newEnv(t)
	e.config.OnDelete = append(e.config.OnDelete, func(context.Context, vault.Vault) error {
		return problem.New(problem.Conflict, "the last owner")
	})
	e.Vaults = e.node()
	e.put(kv, plain)
	_, err := e.Delete(e.ctx, kv, by)
	wants(t, err, problem.Conflict, "")
	if _, err := e.Get(e.ctx, kv); err != nil {
		t.Error(err)
	}
}

func TestPurgeProtectionHoldsUntilTheDate(t *testing.T) {
	e := newEnv(t)
	e.put(kv, `{"location":"westeurope","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","accessPolicies":[],"enablePurgeProtection":true,"softDeleteRetentionInDays":7}}`)
	e.delete(kv)
	e.clock.Advance(7*day - time.Second)
	wants(t, e.Purge(e.ctx, sub, "westeurope", "kv-1"), problem.Denied, vault.PurgeNotAllowed)
	if err := e.PurgeExpired(e.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := e.GetDeleted(e.ctx, sub, "westeurope", "kv-1"); err != nil {
		t.Fatal(err)
	}
	e.clock.Advance(time.Second)
	_, err := e.Recover(e.ctx, kv, by)
	wants(t, err, problem.NotFound, vault.DeletedNotFound)
	if err := e.PurgeExpired(e.ctx); err != nil {
		t.Fatal(err)
	}
	if left := slices.Concat(e.documents("/vault-names/"), e.documents("/vault-deleted/")); left != nil {
		t.Error(left)
	}
}

func TestNameIsFreeWhenTheTimeIsOver(t *testing.T) {
	e := newEnv(t)
	var purged []string
	e.config.OnPurge = append(e.config.OnPurge, func(_ context.Context, uid string) error {
		purged = append(purged, uid)
		return nil
	})
	e.Vaults = e.node()
	was := e.put(kv, plain)
	e.delete(kv)
	e.clock.Advance(90 * day)
	if v := e.put(kv, plain); v.UID == was.UID || !slices.Equal(purged, []string{was.UID}) {
		t.Error(v.UID, purged)
	}
}

func TestInterruptedPurgeGoesOn(t *testing.T) {
	for writes := range 3 {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			e := newEnv(t)
			var purged []string
			e.config.OnPurge = append(e.config.OnPurge, func(_ context.Context, uid string) error {
				purged = append(purged, uid)
				return nil
			})
			e.Vaults = e.node()
			was := e.put(kv, plain)
			e.delete(kv)
			e.store.left.Store(int64(writes) + 1)
			err := e.Purge(e.ctx, sub, "westeurope", "kv-1")
			e.store.left.Store(0)
			switch {
			case writes == 0: // nothing was done
				wants(t, err, problem.Unavailable, "")
				if _, err := e.GetDeleted(e.ctx, sub, "westeurope", "kv-1"); err != nil || purged != nil {
					t.Fatal(err, purged)
				}
				return
			case writes == 1: // it cannot be recovered, and its name is not free yet
				wants(t, err, problem.Unavailable, "")
				_, err := e.Recover(e.ctx, kv, by)
				wants(t, err, problem.NotFound, vault.DeletedNotFound)
				if list, _, err := e.Deleted(e.ctx, sub, "", 0); err != nil || len(list) != 0 {
					t.Error(list, err)
				}
			}
			if err := e.PurgeExpired(e.ctx); err != nil {
				t.Fatal(err)
			}
			if free, err := e.NameFree(e.ctx, "kv-1"); !free || err != nil || !slices.Contains(purged, was.UID) {
				t.Error(free, err, purged)
			}
			if _, err := e.memory.Write(e.ctx, was.Open()); !errors.Is(err, problem.Conflict) {
				t.Error("a purged vault can be written into:", err)
			}
			e.clock.Advance(25 * time.Hour)
			if err := e.PurgeExpired(e.ctx); err != nil || e.documents("/vault-closed/") != nil {
				t.Error(err, e.documents("/vault-closed/"))
			}
		})
	}
}

// TestNothingIsHalfDone takes the state away at every write of every step.
func TestNothingIsHalfDone(t *testing.T) {
	steps := map[string]func(e *env) error{
		"put":    func(e *env) error { _, _, err := e.Put(e.ctx, id("kv-2"), by, spec(e, plain)); return err },
		"delete": func(e *env) error { _, err := e.Delete(e.ctx, kv, by); return err },
		"recover": func(e *env) error {
			_, err := e.Recover(e.ctx, id("kv-3"), by)
			return err
		},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.put(kv, plain)
			e.put(id("kv-3"), plain)
			e.delete(id("kv-3"))
			before := e.documents("/")
			e.store.left.Store(1)
			wants(t, step(e), problem.Unavailable, "")
			e.store.left.Store(0)
			if after := e.documents("/"); !slices.Equal(before, after) {
				t.Errorf("before %v\nafter %v", before, after)
			}
			if err := step(e); err != nil {
				t.Error(err)
			}
		})
	}
}
