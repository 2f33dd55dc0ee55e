package sites_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	sub     = "11111111-2222-3333-4444-555555555555"
	groupAt = "/subscriptions/" + sub + "/resourceGroups/rg"
	webAt   = groupAt + "/providers/Microsoft.Web"
	siteAt  = webAt + "/sites/orders"
	planAt  = webAt + "/serverfarms/plan"
)

// fixture is the operations in an API over a store in memory.
type fixture struct {
	t       *testing.T
	api     *arm.API
	apps    *app.Apps
	inv     *inventory.Inventory
	clock   *clock.Manual
	actions []string // asked for
	deny    string   // an action that nobody has
}

func newFixture(t *testing.T, change ...func(*sites.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clock.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 110_000_000, time.UTC))}
	store := memory.New(f.clock)
	t.Cleanup(func() { _ = store.Close() })
	inv := &inventory.Inventory{Store: store, Clock: f.clock}
	f.inv = inv
	if _, _, err := inv.Write(t.Context(), resource.Group(sub, "rg"), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		return r, nil
	}); err != nil {
		t.Fatal(err)
	}
	f.apps = app.New(app.Config{Inventory: inv, Clock: f.clock})
	cfg := sites.Config{Apps: f.apps, TenantID: "t", SubscriptionID: sub, Authorize: f}
	for _, c := range change {
		c(&cfg)
	}
	api, err := arm.New(arm.Config{Authenticate: f.authenticate, Authorize: f, SubscriptionID: sub, Clock: f.clock}, sites.New(cfg).Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	f.api = api
	return f
}

func (f *fixture) authenticate(context.Context, *http.Request) (arm.Caller, error) {
	return arm.Caller{ObjectID: "me", AppID: "app"}, nil
}

func (f *fixture) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	f.actions = append(f.actions, r.Action+" "+r.Scope.String())
	return authz.Decision{Allowed: !strings.EqualFold(r.Action, f.deny)}, nil
}

// call sends a request; headers are pairs of name and value.
func (f *fixture) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=2023-12-01"
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, "https://localhost:7443"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer x")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// want sends a request and expects a status.
func (f *fixture) want(status int, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	w := f.call(method, path, body, headers...)
	if w.Code != status {
		f.t.Errorf("%s %s answers %d, not %d: %s", method, path, w.Code, status, w.Body)
	}
	return w
}

// object sends a request, expects 200 and gives the body.
func (f *fixture) object(method, path, body string) map[string]any {
	f.t.Helper()
	w := f.want(http.StatusOK, method, path, body)
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		f.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
	}
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

// create makes the plan and the app that most tests are about.
func (f *fixture) create() {
	f.t.Helper()
	f.want(200, "PUT", planAt, `{"location":"local","sku":{"name":"Y1"},"properties":{"reserved":true}}`)
	f.want(200, "PUT", siteAt, siteBody)
}

var siteBody = fmt.Sprintf(`{"kind":"functionapp,linux","location":"local","tags":{"team":"shop"},
	"identity":{"type":"None","userAssignedIdentities":null},
	"properties":{"serverFarmId":%q,"enabled":true,"httpsOnly":true,"clientCertEnabled":false,"clientCertMode":"Optional","dailyMemoryTimeQuota":0,
	"vnetRouteAllEnabled":false,"vnetImagePullEnabled":false,"vnetBackupRestoreEnabled":false,"publicNetworkAccess":"Enabled",
	"siteConfig":{"appSettings":[{"name":"FUNCTIONS_EXTENSION_VERSION","value":"~4"},{"name":"FUNCTIONS_WORKER_RUNTIME","value":"node"},
	{"name":"SECRET","value":"@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/s/)"}],
	"linuxFxVersion":"NODE|20","alwaysOn":false,"ftpsState":"Disabled","minTlsVersion":"1.2","scmMinTlsVersion":"1.2","loadBalancing":"LeastRequests",
	"managedPipelineMode":"Integrated","http20Enabled":false,"publicNetworkAccess":"Enabled","use32BitWorkerProcess":false}}}`, planAt)

var secrets = regexp.MustCompile(`[0-9a-f]{60}`)

// golden compares a document with a file.
func golden(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
		b = *bytes.NewBuffer(w.Body.Bytes())
	}
	got := fmt.Sprintf("%d\n%s\n", w.Code, secrets.ReplaceAll(b.Bytes(), []byte("PASSWORD")))
	path := filepath.Join("testdata", name+".golden")
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
