package vault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
)

const (
	sub    = "5ab5c1b0-0000-4000-8000-000000000000"
	tenant = "7e7a0000-0000-4000-8000-000000000000"
	alice  = "aaaaaaaa-0000-4000-8000-000000000001"
	bob    = "bbbbbbbb-0000-4000-8000-000000000002"
	team   = "99999999-0000-4000-8000-000000000009"
	portal = "11111111-0000-4000-8000-00000000000a"
	by     = "admin"
)

var (
	group = resource.Group(sub, "RG")
	kv    = id("Kv-1")
)

func id(name string) resource.ID { return group.Child("Microsoft.KeyVault", "vaults", name) }

// plain is the body of a vault that says no more than it must.
const plain = `{"location":"West Europe","properties":{"sku":{"family":"A","name":"standard"},"tenantId":"` + tenant + `","accessPolicies":[]}}`

type env struct {
	*testing.T
	*vault.Vaults
	ctx    context.Context
	clock  *clock.Manual
	memory *memory.Store
	store  *failing
	inv    *inventory.Inventory
	roles  *roles
	config vault.Config
}

func newEnv(t *testing.T) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	mem := memory.New(c)
	e := &env{T: t, ctx: ctx, clock: c, memory: mem, store: &failing{Store: mem}, roles: &roles{}}
	e.inv = &inventory.Inventory{Store: e.store, Clock: c}
	e.config = vault.Config{Inventory: e.inv, Roles: e.roles, Log: slog.New(slog.DiscardHandler)}
	e.makeGroup(group)
	e.Vaults = e.node()
	return e
}

// node gives another node on the same state, ready to serve.
func (e *env) node() *vault.Vaults {
	e.Helper()
	vs := vault.New(e.config)
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	go func() { defer close(done); vs.Run(ctx) }()
	e.Cleanup(func() { cancel(); <-done })
	if err := vs.Ready(e.ctx); err != nil {
		e.Fatal(err)
	}
	return vs
}

func (e *env) makeGroup(g resource.ID) {
	e.Helper()
	_, _, err := e.inv.Write(e.ctx, g, by, func(inventory.Resource, bool) (inventory.Resource, error) {
		return inventory.Resource{Location: "westeurope"}, nil
	})
	if err != nil {
		e.Fatal(err)
	}
}

func spec(t testing.TB, body string) vault.Spec {
	t.Helper()
	s, err := vault.ParseSpec([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return s
}

func (e *env) put(id resource.ID, body string) vault.Vault {
	e.Helper()
	v, _, err := e.Put(e.ctx, id, by, spec(e, body))
	if err != nil {
		e.Fatal(err)
	}
	return v
}

func (e *env) delete(id resource.ID) vault.Deleted {
	e.Helper()
	d, err := e.Delete(e.ctx, id, by)
	if err != nil {
		e.Fatal(err)
	}
	return d
}

// wants fails unless err has a kind and a code; "" is for none.
func wants(t testing.TB, err error, kind problem.Kind, code vault.Code) {
	t.Helper()
	var got vault.Code
	errors.As(err, &got)
	if !errors.Is(err, kind) || got != code {
		t.Fatalf("got %v (code %q), want %v with code %q", err, got, kind, code)
	}
}

func mention(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want it to mention %s", err, text)
	}
}

// roles allows what is in allowed: "principal action scope".
type roles struct {
	allowed atomic.Pointer[map[string]bool]
	err     error
}

func (r *roles) allow(grants ...string) {
	m := map[string]bool{}
	for _, g := range grants {
		m[strings.ToLower(g)] = true
	}
	r.allowed.Store(&m)
}

func (r *roles) Allow(_ context.Context, req authz.Request) (authz.Decision, error) {
	m := r.allowed.Load()
	if m == nil || r.err != nil || !req.Data {
		return authz.Decision{}, r.err
	}
	for _, who := range append([]string{req.Principal}, req.Groups...) {
		if (*m)[strings.ToLower(fmt.Sprint(who, " ", req.Action, " ", req.Scope))] {
			return authz.Decision{Allowed: true, Role: "Some Role", Assignment: "/assignment"}, nil
		}
	}
	return authz.Decision{}, nil
}

// failing is a store whose writes fail from some on.
type failing struct {
	state.Store
	left atomic.Int64 // writes that go well before all fail; 0 for no failures
}

func (f *failing) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if n := f.left.Load(); n == 1 {
		return 0, problem.New(state.ErrUnavailable, "the store is away")
	} else if n > 1 {
		f.left.Add(-1)
	}
	return f.Store.Write(ctx, ops...)
}

// documents gives the keys below a prefix.
func (e *env) documents(prefix state.Key) []state.Key {
	e.Helper()
	l, err := e.memory.List(e.ctx, prefix, state.Page{KeysOnly: true})
	if err != nil {
		e.Fatal(err)
	}
	var keys []state.Key
	for _, d := range l.Documents {
		keys = append(keys, d.Key)
	}
	return keys
}
