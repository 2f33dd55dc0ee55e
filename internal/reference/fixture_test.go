package reference_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	patience = time.Minute // for what other goroutines do
	sub      = "11111111-2222-3333-4444-555555555555"
)

// world is apps and a vault, with nodes that resolve references.
type world struct {
	t     *testing.T
	clock *clock.Manual
	store *memory.Store
	apps  *app.Apps
	vault *vault
	nodes []*reference.Resolver

	mu      sync.Mutex
	events  []reference.Event
	touches int
	who     func(a app.Snapshot) (identity.Assigned, error)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), vault: newVault()}
	w.store = memory.New(w.clock)
	t.Cleanup(func() { _ = w.store.Close() })
	inv := &inventory.Inventory{Store: w.store, Clock: w.clock}
	if _, _, err := inv.Write(t.Context(), resource.Group(sub, "rg"), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		return r, nil
	}); err != nil {
		t.Fatal(err)
	}
	w.apps = app.New(app.Config{Inventory: inv, Clock: w.clock})
	return w
}

// node makes a resolver that does not run.
func (w *world) node(change ...func(*reference.Config)) *reference.Resolver {
	cfg := reference.Config{
		Store: w.store, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Apps: w.apps, Source: w.vault,
		Identify: w.identify, Touch: w.touch, OnChange: w.hear, Timeout: patience, Opening: patience,
	}
	for _, c := range change {
		c(&cfg)
	}
	r := reference.New(cfg)
	w.nodes = append(w.nodes, r)
	return r
}

// running makes a resolver that runs until the test ends, or stop is called, and
// refreshes.
func (w *world) running(change ...func(*reference.Config)) *reference.Resolver {
	r, _ := w.start(change...)
	w.await("the node refreshes", func() bool { return r.Stats().Leading })
	return r
}

func (w *world) start(change ...func(*reference.Config)) (r *reference.Resolver, stop func()) {
	r = w.node(change...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return r, stop
}

func (w *world) identify(_ context.Context, a app.Snapshot) (identity.Assigned, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.who != nil {
		return w.who(a)
	}
	return identity.Assigned{System: true, ResourceID: a.ID.String(), ObjectID: "principal-of-" + a.Name}, nil
}

func (w *world) identity(who func(a app.Snapshot) (identity.Assigned, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.who = who
}

func (w *world) touch(ctx context.Context, a app.App) (app.App, error) {
	w.mu.Lock()
	w.touches++
	w.mu.Unlock()
	return w.apps.Touch(ctx, a.ID)
}

func (w *world) touched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.touches
}

func (w *world) hear(e reference.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// heard gives the events as "SETTING: From → To".
func (w *world) heard() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		list = append(list, fmt.Sprintf("%s: %s → %s", e.Setting, e.From, e.To))
	}
	return list
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) { // others have the time to come
		if time.Now().After(deadline) {
			w.t.Fatalf("it never came true that %s", what)
		}
	}
}

func id(name string) resource.ID {
	return resource.Group(sub, "rg").Child("Microsoft.Web", "sites", name)
}

func (w *world) create(name string, settings map[string]string) {
	w.t.Helper()
	if _, _, err := w.apps.Put(w.t.Context(), id(name), "me", app.Spec{Location: "Local", Web: app.WebSpec{Settings: settings}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) set(name string, settings map[string]string) {
	w.t.Helper()
	if _, err := w.apps.SetSettings(w.t.Context(), id(name), "me", settings, state.Any); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) setState(name string, s app.State) {
	w.t.Helper()
	if _, err := w.apps.SetState(w.t.Context(), id(name), "me", s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) snapshot(name string) app.Snapshot {
	w.t.Helper()
	a, err := w.apps.Snapshot(w.t.Context(), id(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// values opens a copy of an app.
func (w *world) values(r *reference.Resolver, name string) reference.Values {
	w.t.Helper()
	v, err := r.Values(w.t.Context(), w.snapshot(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// report gives one reference of an app.
func (w *world) report(r *reference.Resolver, name, setting string) reference.Report {
	w.t.Helper()
	for _, section := range []app.Section{app.AppSettings, app.ConnectionStrings} {
		list, err := r.Report(w.t.Context(), w.snapshot(name).App, section)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, rep := range list {
			if rep.Setting == setting {
				return rep
			}
		}
	}
	w.t.Fatalf("no reference %q of %q", setting, name)
	return reference.Report{}
}

func (w *world) awaitStatus(r *reference.Resolver, name, setting string, s reference.Status) {
	w.t.Helper()
	w.await(fmt.Sprintf("%s of %s is %s", setting, name, s), func() bool { return w.report(r, name, setting).Status == s })
}

// revision gives that of what is known of an app's references.
func (w *world) revision(uid string) state.Revision {
	w.t.Helper()
	doc, err := w.store.Get(w.t.Context(), reference.Documents+state.Key(uid))
	if err != nil {
		w.t.Fatal(err)
	}
	return doc.Revision
}

func ref(vault, secret string) string {
	return "@Microsoft.KeyVault(VaultName=" + vault + ";SecretName=" + secret + ")"
}

// vault is a source of secrets with faults.
type vault struct {
	mu      sync.Mutex
	secrets map[string]reference.Secret // by vault/secret, and vault/secret/version
	faults  map[string]error            // by vault, or vault/secret
	calls   map[string]int              // by vault/secret[/version]
	queries []reference.Query
	held    chan struct{} // fetches wait for it; nil for none
	holds   []string      // the vaults whose fetches wait; empty for all
	now     int           // fetches that are going on
	most    int           // that ever were
}

func newVault() *vault {
	return &vault{secrets: map[string]reference.Secret{}, faults: map[string]error{}, calls: map[string]int{}}
}

func (v *vault) set(name, value string) {
	v.put(name, reference.Secret{Value: value, Version: "version-of-" + value})
}

func (v *vault) put(name string, s reference.Secret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[name] = s
}

func (v *vault) fault(name string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		delete(v.faults, name)
		return
	}
	v.faults[name] = err
}

// hold keeps fetches, from some vaults or from all, until the returned function is
// called.
func (v *vault) hold(vaults ...string) (release func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	held := make(chan struct{})
	v.held, v.holds = held, vaults
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.held == held {
			v.held = nil
			close(held)
		}
	}
}

func (v *vault) called(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[name]
}

func (v *vault) total() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range maps.Values(v.calls) {
		n += c
	}
	return n
}

func (v *vault) going() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *vault) Fetch(ctx context.Context, q reference.Query) (reference.Secret, error) {
	name := strings.TrimSuffix(q.Vault+"/"+q.Secret+"/"+q.Version, "/")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls[name]++
	v.queries = append(v.queries, q)
	v.now++
	v.most = max(v.most, v.now)
	defer func() { v.now-- }()
	if held := v.held; held != nil && (len(v.holds) == 0 || slices.Contains(v.holds, q.Vault)) {
		v.mu.Unlock()
		var err error
		select {
		case <-held:
		case <-ctx.Done():
			err = ctx.Err()
		}
		v.mu.Lock()
		if err != nil {
			return reference.Secret{}, err
		}
	}
	for _, at := range []string{q.Vault, q.Vault + "/" + q.Secret} {
		if err := v.faults[at]; err != nil {
			return reference.Secret{}, err
		}
	}
	s, has := v.secrets[name]
	if !has {
		return s, problem.New(problem.NotFound, "there is no such secret")
	}
	return s, nil
}
