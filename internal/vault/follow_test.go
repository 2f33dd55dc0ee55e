package vault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

// eventually waits for what another node does.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	for !ok() {
		if err := clock.Sleep(e.ctx, clock.Real{}, time.Millisecond); err != nil {
			e.Fatalf("%s: %v", what, err)
		}
	}
}

func TestNodeSeesItsOwnWritesAtOnce(t *testing.T) {
	e := newEnv(t)
	for i := range 50 {
		name := fmt.Sprint("kv-", i)
		v := e.put(id(name), plain)
		if got, err := e.ByName(name); err != nil || got.UID != v.UID {
			t.Fatal(got, err)
		}
		if _, err := e.Patch(e.ctx, id(name), by, spec(t, `{"properties":{"publicNetworkAccess":"Disabled"}}`)); err != nil {
			t.Fatal(err)
		}
		if got, err := e.ByName(name); err != nil || got.Network.Public {
			t.Fatal(got, err)
		}
		e.delete(id(name))
		_, err := e.ByName(name)
		wants(t, err, problem.NotFound, vault.VaultNotFound)
	}
}

func TestNodesFollowEachOther(t *testing.T) {
	e := newEnv(t)
	other := e.node()
	v := e.put(kv, plain)
	e.eventually("creation", func() bool { got, err := other.ByName("KV-1"); return err == nil && got.UID == v.UID })
	e.memory.Forget()
	e.delete(kv)
	e.eventually("deletion", func() bool { _, err := other.ByName("kv-1"); return err != nil })
}

func TestWhatLiesInAVaultIsNoVault(t *testing.T) {
	e := newEnv(t)
	e.put(kv, plain)
	child := kv.Child("", "secrets", "kv-1")
	if _, _, err := e.inv.Write(e.ctx, child, by, func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil }); err != nil {
		t.Fatal(err)
	}
	if err := e.inv.Delete(e.ctx, child); err != nil {
		t.Fatal(err)
	}
	e.put(id("kv-2"), plain) // all before it has been seen
	if v, err := e.ByName("kv-1"); err != nil || !v.ID.Equal(kv) {
		t.Error(v, err)
	}
}

func TestLastKnownVaultsServeWhileTheStateIsAway(t *testing.T) {
	e := newEnv(t)
	v := e.put(kv, plain)
	e.memory.SetUnavailable(true)
	e.memory.Forget()
	e.eventually("cut", func() bool { since, err := e.Health(); return err != nil && !since.IsZero() })
	if got, err := e.ByName("kv-1"); err != nil || got.UID != v.UID {
		t.Error(got, err)
	}
	_, _, err := e.Put(e.ctx, id("kv-2"), by, spec(t, plain))
	wants(t, err, problem.Unavailable, "")
	e.memory.SetUnavailable(false)
	e.eventually("back", func() bool { e.clock.Advance(2 * time.Second); _, err := e.Health(); return err == nil })
}

func TestUnknownBeforeTheFirstReading(t *testing.T) {
	e := newEnv(t)
	_, err := vault.New(e.config).ByName("kv-1")
	wants(t, err, problem.Unavailable, "")
}

func TestDamagedVaultLetsNobodyIn(t *testing.T) {
	e := newEnv(t)
	e.put(kv, plain)
	if _, _, err := e.inv.Write(e.ctx, kv, by, func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Properties = []byte(`{"accessPolicies":7}`)
		return r, nil
	}); err != nil {
		t.Fatal(err)
	}
	e.eventually("gone", func() bool { _, err := e.ByName("kv-1"); return err != nil })
	_, err := e.Get(e.ctx, kv)
	wants(t, err, problem.Undecryptable, "")
}
