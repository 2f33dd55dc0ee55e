package containerapps_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	sub     = "5ab5c1b0-0000-4000-8000-000000000000"
	tenant  = "7e4a4700-0000-4000-8000-000000000000"
	groupAt = "/subscriptions/" + sub + "/resourceGroups/rg"
	appAt   = groupAt + "/providers/Microsoft.App/containerApps/orders"
	envAt   = groupAt + "/providers/Microsoft.App/managedEnvironments/env"
	userAt  = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)

type object = map[string]any

// fixture is the operations in an API over a store in memory, with identities.
type fixture struct {
	*testing.T
	api        *arm.API
	apps       *containerapp.Apps
	identities *managed.Identities
	clock      *clock.Manual

	mu      sync.Mutex
	denied  string // an action that nobody has
	secrets int    // calls that were recorded as reading secrets
}

// runs is what runs, for tests.
type runs struct {
	list []containerapps.Replica
}

func (r *runs) Replicas(context.Context, containerapp.App, string) ([]containerapps.Replica, error) {
	return r.list, nil
}

func newFixture(t *testing.T, change ...func(*containerapps.Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: clock.NewManual(time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC))}
	store := memory.New(f.clock)
	t.Cleanup(func() { _ = store.Close() })
	inv := &inventory.Inventory{Store: store, Clock: f.clock}
	_, _, err := inv.Write(t.Context(), resource.Group(sub, "rg"), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
	f.must(err)
	f.identities, err = managed.New(managed.Config{Inventory: inv, Directory: identity.New(store, f.clock), TenantID: tenant,
		Holders: []string{containerapp.Type}, OnDelete: func(context.Context, string) error { return nil }})
	f.must(err)
	f.apps = containerapp.New(containerapp.Config{Inventory: inv, Clock: f.clock, OnDelete: []func(context.Context, containerapp.App) error{
		func(ctx context.Context, a containerapp.App) error { return f.identities.Remove(ctx, a.ID) },
	}})
	cfg := containerapps.Config{Apps: f.apps, Identities: f.identities, Authorize: f, Domain: "apps.localhost:7443"}
	for _, c := range change {
		c(&cfg)
	}
	service, err := containerapps.New(cfg)
	f.must(err)
	f.api, err = arm.New(arm.Config{
		Authenticate: func(context.Context, *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: "me", AppID: "app"}, nil
		},
		Audit: func(_ context.Context, e arm.AuditEntry) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if e.Secret {
				f.secrets++
			}
			return nil
		},
		Authorize: f, SubscriptionID: sub, Clock: f.clock, Log: slog.New(slog.DiscardHandler),
	}, service.Operations()...)
	f.must(err)
	return f
}

// running lets revisions take until they are reported.
func running(r *runs) func(*containerapps.Config) {
	return func(c *containerapps.Config) { c.Runtime = r }
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return authz.Decision{Allowed: !strings.EqualFold(r.Action, f.denied)}, nil
}

func (f *fixture) deny(action string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = action
}

func (f *fixture) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.Helper()
	path = strings.TrimPrefix(path, "https://localhost:7443")
	if !strings.Contains(path, "?") {
		path += "?api-version=2025-07-01"
	}
	r := httptest.NewRequestWithContext(f.Context(), method, "https://localhost:7443"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer x")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

func (f *fixture) want(status int, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.Helper()
	w := f.call(method, path, body, headers...)
	if w.Code != status {
		f.Fatalf("%s %s answers %d, not %d: %s", method, path, w.Code, status, w.Body)
	}
	return w
}

// object sends a request, expects a status and gives the body.
func (f *fixture) object(status int, method, path, body string) object {
	f.Helper()
	var m object
	w := f.want(status, method, path, body)
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		f.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
	}
	return m
}

// at walks into decoded JSON: names and, for lists, numbers.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// set changes decoded JSON.
func set(m object, value any, path ...string) {
	for _, p := range path[:len(path)-1] {
		m = m[p].(object)
	}
	m[path[len(path)-1]] = value
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// user makes a user-assigned identity and gives its id.
func (f *fixture) user(name string) string {
	f.Helper()
	id, err := resource.Parse(userAt + name)
	f.must(err)
	_, _, err = f.identities.Write(f.Context(), id, "me", func(old managed.Identity, _ bool) (managed.Identity, error) {
		old.Location = "local"
		return old, nil
	})
	f.must(err)
	return id.String()
}

func (f *fixture) environment() {
	f.Helper()
	f.want(201, "PUT", envAt, `{"location":"local","properties":{"workloadProfiles":[{"name":"Consumption","workloadProfileType":"Consumption"}]}}`)
}

func plain(image string) string {
	return fmt.Sprintf(`{"location":"local","properties":{"environmentId":%q,"configuration":{"ingress":{"external":true,"targetPort":80}},
		"template":{"containers":[{"name":"main","image":%q}]}}}`, envAt, image)
}
