package keyring_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestAKeyIsMadeWithItsRestrictionsAndItsAgeInOneWrite(t *testing.T) {
	e := limitedEnv(t)
	_ = e.value(hostKeys, "k1")
	before := e.tap.updates.Load()
	owned := keyring.Declared{Name: "made", New: true, Told: true, Record: true, Meta: func(m *accesskey.Meta) { m.Owner = "billing" }}
	k, created, err := e.Put(e.ctx, hostKeys, owned)
	if err != nil || !created || k.Value == "" {
		t.Fatal(k, created, err)
	}
	if n := e.tap.updates.Load() - before; n != 1 {
		t.Errorf("%d writes", n)
	}
	m, err := k.Meta()
	if err != nil || m.Owner != "billing" || !m.Created.Equal(e.clock.Now()) {
		t.Error(m, err)
	}
	if _, _, err := e.Put(e.ctx, hostKeys, owned); !errors.Is(err, problem.Exists) {
		t.Error(err)
	}
	if again := e.value(hostKeys, "made"); again != k.Value {
		t.Error("the key that was there has another value")
	}
	k, created, err = e.Put(e.ctx, hostKeys, keyring.Declared{Name: "k1", Value: "another value", Record: true})
	if m, _ := k.Meta(); err != nil || created || k.Value != "another value" || !m.Created.Equal(e.clock.Now()) {
		t.Error(k, created, err)
	}
}

// TestKeysThatAreMadeByThemselvesAreAsStockOnesAre: and so are those that a stock
// client sets.
func TestKeysThatAreMadeByThemselvesAreAsStockOnesAre(t *testing.T) {
	e := newEnv(t).open()
	if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "set", "some value"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.Renew(e.ctx, keyring.HostKeys(), "made"); err != nil {
		t.Fatal(err)
	}
	set := e.stored(keystore.HostDoc)
	for _, k := range append(set.Keys, set.Master) {
		if diff := cmp.Diff(map[string][]byte(nil), k.Extra); diff != "" {
			t.Error(k.Name, diff)
		}
	}
}

func TestAGeneratedValueIsToldOnceWhereOnlyAVerifierIsKept(t *testing.T) {
	e := newEnv(t, func(c *keyring.Config) { c.HashOnly = true }).open()
	want := keyring.Declared{Name: "made", Record: true}
	if _, _, err := e.Put(e.ctx, keyring.HostKeys(), want); !errors.Is(err, problem.Invalid) {
		t.Error(err)
	}
	want.Told = true
	k, created, err := e.Put(e.ctx, keyring.HostKeys(), want)
	if err != nil || !created || !k.HashOnly {
		t.Fatal(k, created, err)
	}
	e.expect(k.Value, "fn", keyring.FunctionLevel, "made", keyring.Matched)
}
