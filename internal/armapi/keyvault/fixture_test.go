package keyvault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/keyvault"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	sub       = "11111111-2222-3333-4444-555555555555"
	tenant    = "99999999-2222-3333-4444-555555555555"
	subAt     = "/subscriptions/" + sub
	groupAt   = subAt + "/resourceGroups/rg"
	vaultsAt  = groupAt + "/providers/Microsoft.KeyVault/vaults"
	vaultAt   = vaultsAt + "/kv-one"
	deletedAt = subAt + "/providers/Microsoft.KeyVault/locations/local/deletedVaults/kv-one"

	owner  = "aaaaaaaa-0000-4000-8000-000000000001" // Owner of everything
	writer = "aaaaaaaa-0000-4000-8000-000000000002" // Contributor of the group
	reader = "aaaaaaaa-0000-4000-8000-000000000003" // Reader of everything
	bob    = "bbbbbbbb-0000-4000-8000-000000000004" // nobody
)

// fixture is the operations in an API over a store in memory. Who calls is said by
// object id instead of a token.
type fixture struct {
	*testing.T
	api     *arm.API
	vaults  *vault.Vaults
	secrets *secrets.Store
	inv     *inventory.Inventory
	roles   *rbac.Roles
	clock   *clock.Manual
	version string // api-version of calls that name none
	who     string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: clock.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 110_000_000, time.UTC)), version: "2023-07-01", who: owner}
	store := memory.New(f.clock)
	t.Cleanup(func() { _ = store.Close() })
	f.inv = &inventory.Inventory{Store: store, Clock: f.clock}
	for _, name := range []string{"rg", "other"} {
		_, _, err := f.inv.Write(t.Context(), resource.Group(sub, name), owner, func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
		f.must(err)
	}
	log := slog.New(slog.DiscardHandler)
	f.roles = rbac.New(f.inv, f.clock, log)
	f.secrets = secrets.New(secrets.Config{State: store, Clock: f.clock, Sealer: seal.None{}})
	f.vaults = vault.New(vault.Config{Inventory: f.inv, Log: log, Roles: f.roles, OnPurge: []func(context.Context, string) error{f.secrets.Drop}})
	f.run(f.roles.Run, f.roles.Ready)
	f.run(f.vaults.Run, f.vaults.Ready)
	f.assign(resource.Root, owner, rbac.Owner)
	f.assign(resource.Group(sub, "rg"), writer, rbac.Contributor)
	f.assign(resource.Root, reader, rbac.Reader)
	f.serve()
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// run follows the state until the test ends.
func (f *fixture) run(run func(context.Context), ready func(context.Context) error) {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	f.Cleanup(func() { stop(); <-ended })
	f.must(ready(ctx))
}

func (f *fixture) assign(scope resource.ID, who, role string) {
	f.Helper()
	_, _, err := f.roles.Assign(f.Context(), rbac.Assign{Scope: scope, Name: uuid.NewString(), Principal: who, Role: role})
	f.must(err)
}

// serve makes the API, with operations of others.
func (f *fixture) serve(more ...arm.Operation) {
	f.Helper()
	service, err := keyvault.New(keyvault.Config{
		Vaults: f.vaults, Secrets: f.secrets, TenantID: tenant, Authorize: f.roles,
		VaultURL: func(name string) string { return "https://" + strings.ToLower(name) + ".vault.localhost:7443/" },
	})
	f.must(err)
	f.api, err = arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), AppID: "app", TenantID: tenant}, nil
		},
		Authorize: f.roles, SubscriptionID: sub, Clock: f.clock,
	}, append(service.Operations(), more...)...)
	f.must(err)
}

// as gives the fixture for another caller.
func (f *fixture) as(who string) *fixture {
	g := *f
	g.who = who
	return &g
}

// call sends a request; headers are pairs of name and value.
func (f *fixture) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.Helper()
	if !strings.Contains(path, "api-version=") {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "api-version=" + f.version
	}
	if strings.HasPrefix(path, "/") {
		path = "https://localhost:7443" + path
	}
	r := httptest.NewRequestWithContext(f.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+f.who)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// want sends a request and expects a status.
func (f *fixture) want(status int, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.Helper()
	w := f.call(method, path, body, headers...)
	if w.Code != status {
		f.Errorf("%s %s answers %d, not %d: %s", method, path, w.Code, status, w.Body)
	}
	return w
}

// refused sends a request and expects an error with a status and a code; it gives
// the message.
func (f *fixture) refused(status int, code, method, path, body string) string {
	f.Helper()
	var envelope struct {
		Error struct{ Code, Message string }
	}
	w := f.want(status, method, path, body)
	if err := json.Unmarshal(w.Body.Bytes(), &envelope); err != nil || envelope.Error.Code != code {
		f.Errorf("%s %s: the code is %q, not %q: %s", method, path, envelope.Error.Code, code, w.Body)
	}
	return envelope.Error.Message
}

// object decodes an answer.
func object(w *httptest.ResponseRecorder) map[string]any {
	var m map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &m) // what is missing then fails the test
	return m
}

// at walks into decoded JSON: names and, for lists, numbers.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
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

// property gives a property of a vault or secret as it is now.
func (f *fixture) property(path, name string) any {
	f.Helper()
	return at(object(f.want(200, "GET", path, "")), "properties", name)
}

// policyFor gives an access policy that allows something with secrets.
func policyFor(who string, permissions ...string) string {
	text, _ := json.Marshal(permissions)
	return fmt.Sprintf(`{"tenantId":%q,"objectId":%q,"permissions":{"keys":[],"secrets":%s,"certificates":[]}}`, tenant, who, text)
}

// vaultWith gives the body of a vault with more properties.
func vaultWith(more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"location":"Local","tags":{"team":"shop"},"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"}%s}}`, tenant, more)
}

var (
	underPolicies = vaultWith(`"accessPolicies":[` + policyFor(bob, "get", "list") + `]`)
	underRoles    = vaultWith(`"enableRbacAuthorization":true`)
)

var random = regexp.MustCompile(`[0-9a-f]{32}`)

// golden compares an answer with a file.
func golden(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
		b = *bytes.NewBuffer(w.Body.Bytes())
	}
	got := fmt.Sprintf("%d\n%s\n", w.Code, random.ReplaceAll(b.Bytes(), []byte("VERSION")))
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}
