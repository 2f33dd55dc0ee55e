package vaultsecrets_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/vaultsecrets"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	groupAt = "/subscriptions/s/resourceGroups/rg"
	userID  = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	vaultAt = "https://kv.vault.azure.net/secrets/"
	own     = "object-of-the-app"
	user    = "object-of-reader"
)

// vault is a vault, with who may read it.
type vault struct {
	mu      sync.Mutex
	away    bool
	readers []string
	values  map[string][]string // versions, "v1" is the first
	asked   []string
}

func (v *vault) Fetch(_ context.Context, q reference.Query) (reference.Secret, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, q.Secret+" by "+q.Identity.ObjectID)
	versions := v.values[q.Secret]
	switch {
	case v.away:
		return reference.Secret{}, problem.New(problem.Unavailable, "the vault is away")
	case !slices.Contains(v.readers, q.Identity.ObjectID):
		return reference.Secret{}, problem.New(problem.Denied, q.Identity.ObjectID+" may not get secrets").WithNext("permit it")
	case len(versions) == 0:
		return reference.Secret{}, problem.New(problem.NotFound, "there is no secret "+q.Secret)
	}
	at := len(versions)
	if q.Version != "" {
		if _, err := fmt.Sscanf(strings.TrimLeft(q.Version, "0"), "%d", &at); err != nil || at > len(versions) {
			return reference.Secret{}, problem.New(problem.NotFound, "there is no such version")
		}
	}
	return reference.Secret{Value: versions[at-1], Version: fmt.Sprint("v", at)}, nil
}

func (v *vault) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

type fixture struct {
	*testing.T
	*vaultsecrets.Secrets
	apps  *containerapp.Apps
	vault *vault
	clock *clock.Manual
	id    resource.ID
	mu    sync.Mutex
	has   map[string]identity.Assigned
	heard []reference.Event
	store *memory.Store
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func parse(t *testing.T, text string) resource.ID {
	t.Helper()
	id, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	c := clock.NewManual(time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC))
	f := &fixture{
		T: t, clock: c, store: memory.New(c), vault: &vault{values: map[string][]string{"db": {"one"}, "api": {"key"}}},
		id: parse(t, groupAt+"/providers/Microsoft.App/containerApps/shop"), has: map[string]identity.Assigned{},
	}
	t.Cleanup(func() { _ = f.store.Close() })
	inv := &inventory.Inventory{Store: f.store, Clock: c}
	_, _, err := inv.Write(t.Context(), parse(t, groupAt), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
	f.must(err)
	f.apps = containerapp.New(containerapp.Config{Inventory: inv, Clock: c, OnDelete: []func(context.Context, containerapp.App) error{
		func(ctx context.Context, a containerapp.App) error { return f.Forget(ctx, a.UID) }}})
	_, _, err = f.apps.PutEnvironment(t.Context(), parse(t, groupAt+"/providers/Microsoft.App/managedEnvironments/env"), "me", containerapp.Spec{Location: "local"}, false)
	f.must(err)
	f.Secrets = f.open()
	return f
}

func (f *fixture) open() *vaultsecrets.Secrets {
	return vaultsecrets.New(vaultsecrets.Config{
		Apps: f.apps, Store: f.store, Source: f.vault, Clock: f.clock, Log: slog.New(slog.DiscardHandler), Opening: time.Minute,
		Identify: func(_ context.Context, _ containerapp.App, which string) (identity.Assigned, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if who, ok := f.has[strings.ToLower(which)]; ok {
				return who, nil
			}
			return identity.Assigned{}, problem.New(problem.NotFound, "identity "+which+" is not assigned")
		},
		OnChange: func(e reference.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.heard = append(f.heard, e)
		},
	})
}

// assign gives the app both identities.
func (f *fixture) assign() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has["system"] = identity.Assigned{System: true, ResourceID: f.id.String(), ObjectID: own}
	f.has[strings.ToLower(userID)] = identity.Assigned{ResourceID: userID, ObjectID: user}
}

// run keeps secrets resolved until the test ends or stop is called.
func (f *fixture) run() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Secrets.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	f.Cleanup(stop)
	return stop
}

func (f *fixture) put(secrets string) containerapp.App {
	f.Helper()
	a, _, err := f.apps.Put(f.Context(), f.id, "me", containerapp.Spec{Location: "local", Identity: json.RawMessage(fmt.Sprintf(
		`{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{%q:{}}}`, userID)), Properties: json.RawMessage(fmt.Sprintf(
		`{"environmentId":%q,"configuration":{"secrets":%s},"template":{"containers":[{"name":"main","image":"img"}]}}`,
		groupAt+"/providers/Microsoft.App/managedEnvironments/env", secrets))})
	f.must(err)
	return a
}

func inVault(name, path, identity string) string {
	return fmt.Sprintf(`{"name":%q,"keyVaultUrl":%q,"identity":%q}`, name, vaultAt+path, identity)
}

func (f *fixture) app() containerapp.App {
	f.Helper()
	a, err := f.apps.Get(f.Context(), f.id)
	f.must(err)
	return a
}

func (f *fixture) restarts() int64 {
	f.Helper()
	list, err := f.apps.Revisions(f.Context(), f.id)
	f.must(err)
	return list[0].Restarts
}

// until waits, with the clock going on, until done says so.
func (f *fixture) until(what string, done func() bool) {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("it never came to this: %s", what)
		}
		f.clock.Advance(100 * time.Millisecond)
	}
}

func (f *fixture) wantValues(want map[string]string) {
	f.Helper()
	got, err := f.Values(f.Context(), f.app())
	f.must(err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("values %v, want %v", got, want)
	}
}

func TestEachSecretIsReadByItsOwnIdentity(t *testing.T) {
	f := setUp(t)
	f.assign()
	f.vault.readers = []string{own, user}
	f.put(`[` + inVault("db", "db", "system") + `,` + inVault("api", "api", userID) + `,{"name":"plain","value":"text"}]`)
	f.wantValues(map[string]string{"db": "one", "api": "key", "plain": "text"})
	slices.Sort(f.vault.asked)
	if got := strings.Join(f.vault.asked, ", "); got != "api by "+user+", db by "+own {
		t.Error(got)
	}
	for name, want := range map[string]string{"db": "one", "plain": "text"} {
		if got, err := f.Value(t.Context(), f.app(), name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := f.Value(t.Context(), f.app(), "none"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("no such secret: %v", err)
	}
	f.put(`[` + inVault("db", "db", userID) + `]`) // another identity, which counts at once
	f.vault.asked = nil
	f.wantValues(map[string]string{"db": "one"})
	if got := strings.Join(f.vault.asked, ", "); got != "db by "+user {
		t.Error(got)
	}
}

func TestWhatCannotBeReadIsToldAndHeals(t *testing.T) {
	f := setUp(t)
	f.put(`[` + inVault("db", "db", "system") + `]`)
	f.run()
	check := func(kind problem.Kind, says ...string) {
		t.Helper()
		_, err := f.Values(t.Context(), f.app())
		if problem.KindOf(err) != kind {
			t.Errorf("kind %q: %v", problem.KindOf(err), err)
		}
		text := fmt.Sprint(err, " | ", problem.NextOf(err))
		for _, s := range append(says, "'db'", "shop", vaultAt+"db", "'system'") {
			if !strings.Contains(text, s) {
				t.Errorf("%q does not say %q", text, s)
			}
		}
	}
	check(problem.Denied, "MSINotEnabled", "identity assign --name shop --resource-group rg --system-assigned")
	f.assign()
	f.Retry()
	f.until("the vault refuses", func() bool { return f.status("db") == reference.AccessDenied })
	check(problem.Denied, own+" may not get secrets", "Key Vault Secrets User")
	before := f.restarts()
	f.vault.change(func() { f.vault.readers = []string{own} })
	f.Retry()
	f.until("revisions start with the value", func() bool { return f.restarts() == before+1 })
	f.wantValues(map[string]string{"db": "one"})
}

func (f *fixture) status(name string) reference.Status {
	f.Helper()
	list, err := f.Report(f.Context(), f.app())
	f.must(err)
	for _, r := range list {
		if r.Setting == name {
			return r.Status
		}
	}
	return ""
}

func TestOnlySecretsWithoutAVersionChange(t *testing.T) {
	f := setUp(t)
	f.assign()
	f.vault.readers = []string{own}
	f.put(`[` + inVault("db", "db", "system") + `,` + inVault("old", "db/00000000000000000000000000000001", "system") + `]`)
	f.run()
	f.until("all is read", func() bool { return f.status("db") == reference.Resolved && f.status("old") == reference.Resolved })
	f.wantValues(map[string]string{"db": "one", "old": "one"})
	was, err := f.Version(t.Context(), f.app())
	f.must(err)
	before := f.restarts()
	f.vault.change(func() { f.vault.values["db"] = append(f.vault.values["db"], "two") })
	f.Changed("kv", "db")
	f.until("revisions start anew", func() bool { return f.restarts() == before+1 })
	f.wantValues(map[string]string{"db": "two", "old": "one"})
	if now, err := f.Version(t.Context(), f.app()); err != nil || now == was {
		t.Errorf("the version of the values was %s and is %s, %v", was, now, err)
	}
	f.vault.change(func() { f.vault.values["db"] = append(f.vault.values["db"], "three") })
	f.until("a change that nobody told of is found", func() bool { return f.restarts() == before+2 })
	f.wantValues(map[string]string{"db": "three", "old": "one"})
}

func TestValuesOutliveVaultsStopsAndNodes(t *testing.T) {
	f := setUp(t)
	f.assign()
	f.vault.readers = []string{own}
	f.put(`[` + inVault("db", "db", "system") + `]`)
	f.wantValues(map[string]string{"db": "one"})
	_, err := f.apps.SetStopped(t.Context(), f.id, "me", true)
	f.must(err)
	stop := f.run()
	f.vault.change(func() { f.vault.away, f.vault.readers = true, nil })
	for range 10 {
		f.clock.Advance(12 * time.Hour)
	}
	f.Poke()
	f.until("the vault was missed", func() bool { return f.status("db") == reference.OtherReasons })
	f.wantValues(map[string]string{"db": "one"})
	stop()
	f.Secrets = f.open() // as another node, or this one later
	_, err = f.apps.SetStopped(t.Context(), f.id, "me", false)
	f.must(err)
	f.wantValues(map[string]string{"db": "one"})
	list, err := f.Report(t.Context(), f.app())
	f.must(err)
	if len(list) != 1 || !list[0].Stale || list[0].Why == "" {
		t.Errorf("the report is %+v", list)
	}
}

func TestADeletedAppsValuesAreForgotten(t *testing.T) {
	f := setUp(t)
	f.assign()
	f.vault.readers = []string{own}
	a := f.put(`[` + inVault("db", "db", "system") + `]`)
	f.wantValues(map[string]string{"db": "one"})
	known := func() int {
		list, err := f.store.List(t.Context(), reference.Documents, state.Page{})
		f.must(err)
		return len(list.Documents)
	}
	if known() != 1 {
		t.Fatal("nothing is kept")
	}
	f.must(f.apps.Delete(t.Context(), f.id, "me"))
	if known() != 0 {
		t.Errorf("what is known of %s is still there", a.UID)
	}
	f.vault.change(func() { f.vault.away = true })
	f.put(`[` + inVault("db", "db", "system") + `]`)
	if _, err := f.Values(t.Context(), f.app()); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("another app of that name: %v", err)
	}
}
