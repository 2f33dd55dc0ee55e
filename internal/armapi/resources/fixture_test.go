package resources

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testTenant = "aaaaaaaa-2222-3333-4444-555555555555"
	testSub    = "11111111-2222-3333-4444-555555555555"
	sub        = "/subscriptions/" + testSub
	version    = "api-version=2024-03-01"
)

// fixture is the operations in an API over a store in memory.
type fixture struct {
	t      *testing.T
	api    *arm.API
	inv    *inventory.Inventory
	policy *authz.Policy
	torn   []resource.ID // what DeleteTree was asked
	tear   error         // what it answers
}

func (f *fixture) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	return f.policy.Allow(r), nil
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	now := clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	store := memory.New(now)
	t.Cleanup(func() { _ = store.Close() })
	f := &fixture{t: t, inv: &inventory.Inventory{Store: store, Clock: now}}
	mine := resource.Group(testSub, "mine")
	f.policy = authz.NewPolicy(
		[]authz.Role{{ID: "owner", Permissions: []authz.Permission{{Actions: []string{"*"}}}}},
		[]authz.Assignment{
			{Principal: "owner", Role: "owner", Scope: resource.Root},
			{Principal: "guest", Role: "owner", Scope: mine},
		})
	s, err := New(Config{
		Inventory: f.inv, Authorize: f, TenantID: testTenant, SubscriptionID: testSub,
		Providers: []arm.Provider{{Namespace: "Microsoft.Web", Types: []arm.ProviderType{{Name: "sites", APIVersions: []string{"2023-12-01", "2022-03-01"}}}},
			{Namespace: "microsoft.resources", Types: []arm.ProviderType{{Name: "deployments"}, {Name: "ResourceGroups"}}}},
		DeleteTree: func(_ context.Context, group resource.ID) error {
			f.torn = append(f.torn, group)
			return f.tear
		},
		Permissions: func(_ context.Context, c arm.Caller, scope resource.ID) ([]authz.Permission, error) {
			return f.policy.Permissions(c.ObjectID, scope), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	site := arm.Operation{
		Method: http.MethodPut, Pattern: groupPattern + "/providers/Microsoft.Web/sites/{site}",
		Handler: func(*arm.Call) (arm.Reply, error) { return arm.OK(nil), nil },
	}
	f.api, err = arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			who, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			return arm.Caller{ObjectID: who, AppID: who}, nil
		},
		Authorize: f, Admit: s.Admit, SubscriptionID: testSub,
	}, append(s.Operations(), site)...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// as makes a call for a principal; "" sends no token.
func (f *fixture) as(who, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://localhost:7443"+target, strings.NewReader(body))
	r.Host = "localhost:7443"
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// do makes a call as the owner that must give a status, and decodes its answer.
func (f *fixture) do(method, target, body string, status int) map[string]any {
	f.t.Helper()
	if !strings.Contains(target, "api-version") {
		join := "?"
		if strings.Contains(target, "?") {
			join = "&"
		}
		target += join + version
	}
	w := f.as("owner", method, target, body)
	if w.Code != status {
		f.t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return object(f.t, w)
}

func object(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if w.Body.Len() == 0 {
		return nil
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return got
}

// put stores a resource as its provider would.
func (f *fixture) put(id resource.ID, r inventory.Resource) {
	f.t.Helper()
	if _, _, err := f.inv.Write(f.t.Context(), id, "test", func(inventory.Resource, bool) (inventory.Resource, error) { return r, nil }); err != nil {
		f.t.Fatal(err)
	}
}

// names gives the names of a list's items.
func names(list map[string]any) string {
	var all []string
	for _, item := range list["value"].([]any) {
		all = append(all, fmt.Sprint(item.(map[string]any)["name"]))
	}
	return strings.Join(all, " ")
}

// errorCode gives the code of an error's envelope.
func errorCode(body map[string]any) string {
	inner, _ := body["error"].(map[string]any)
	return fmt.Sprint(inner["code"])
}

// golden compares a document with a file.
func golden(t *testing.T, name string, status int, body string) {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%d\n%s\n", status, text)
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}
