package managedidentity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/managedidentity"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	admin  = "aaaaaaaa-0000-4000-8000-000000000001"
	bob    = "bbbbbbbb-0000-4000-8000-000000000002"
	tenant = "7e4a4700-0000-4000-8000-000000000000"
	sub    = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000"
	group  = sub + "/resourceGroups/rg"
	msi    = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	list   = group + msi
	one    = list + "/Orders"
	sites  = group + "/providers/Microsoft.Web/sites/"
)

type object = map[string]any

type env struct {
	*testing.T
	api        http.Handler
	roles      *rbac.Roles
	inv        *inventory.Inventory
	identities *managed.Identities
	directory  *identity.Directory
}

// newEnv serves the operations to whoever names an object id as token; admin is
// Owner of everything.
func newEnv(t *testing.T) *env {
	t.Helper()
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := memory.New(c)
	e := &env{T: t, inv: &inventory.Inventory{Store: store, Clock: c}, directory: identity.New(store, c)}
	e.roles = rbac.New(e.inv, c, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); e.roles.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended; _ = store.Close() })
	e.ok(e.roles.Ready(t.Context()))
	var err error
	e.identities, err = managed.New(managed.Config{Inventory: e.inv, Directory: e.directory, TenantID: tenant,
		OnDelete: func(ctx context.Context, objectID string) error {
			_, err := e.roles.UnassignAll(ctx, objectID)
			return err
		}})
	e.ok(err)
	service, err := managedidentity.New(managedidentity.Config{
		Identities: e.identities, Directory: e.directory, Authorize: e.roles, TenantID: tenant, SubscriptionName: "Local",
	})
	e.ok(err)
	e.api, err = arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: r.Header.Get("Authorization"), AppID: "app"}, nil
		},
		Authorize: e.roles, SubscriptionID: strings.TrimPrefix(sub, "/subscriptions/"), Clock: c,
	}, service.Operations()...)
	e.ok(err)
	e.assign("/", admin, rbac.Owner)
	e.resource(group, "")
	return e
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) id(text string) resource.ID {
	e.Helper()
	id, err := resource.Parse(text)
	e.ok(err)
	return id
}

func (e *env) assign(scope, who, role string) {
	e.Helper()
	_, _, err := e.roles.Assign(e.Context(), rbac.Assign{Scope: e.id(scope), Name: uuid.NewString(), Principal: who, Role: role})
	e.ok(err)
}

// resource writes a resource with an identity block.
func (e *env) resource(at, block string) {
	e.Helper()
	_, _, err := e.inv.Write(e.Context(), e.id(at), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Location, r.Identity = "local", json.RawMessage(block)
		if block == "" {
			r.Identity = nil
		}
		return r, nil
	})
	e.ok(err)
}

// assigned writes a site that has an identity.
func (e *env) assigned(site, identity string) {
	e.Helper()
	block, err := e.identities.Merge(e.Context(), nil, json.RawMessage(fmt.Sprintf(`{"type":"UserAssigned","userAssignedIdentities":{%q:{}}}`, identity)), false)
	e.ok(err)
	e.resource(site, string(block))
}

func (e *env) do(who, method, path, body string, headers ...string) (*httptest.ResponseRecorder, object) {
	e.Helper()
	if !strings.Contains(path, "api-version=") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "api-version=2023-01-31"
	}
	r := httptest.NewRequestWithContext(e.Context(), method, "https://localhost:7443"+strings.TrimPrefix(path, "https://localhost:7443"), strings.NewReader(body))
	r.Header.Set("Authorization", who)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	e.api.ServeHTTP(w, r)
	var out object
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			e.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w, out
}

// want calls as admin and expects a status.
func (e *env) want(status int, method, path, body string, headers ...string) object {
	e.Helper()
	w, out := e.do(admin, method, path, body, headers...)
	if w.Code != status {
		e.Errorf("%s %s answers %d, not %d: %s", method, path, w.Code, status, w.Body)
	}
	return out
}

// at walks into decoded JSON.
func at(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(object)
		v = m[p]
	}
	return v
}

// names gives the names of a list's items.
func names(page object) string {
	var all []string
	items, _ := page["value"].([]any)
	for _, i := range items {
		all = append(all, fmt.Sprint(at(i, "name")))
	}
	return strings.Join(all, " ")
}

func TestUserAssignedIdentityIsCreatedChangedAndDeleted(t *testing.T) {
	e := newEnv(t)
	e.want(404, "GET", one, "")
	w, made := e.do(admin, "PUT", one, `{"location":"West US","tags":{"a":"b","none":null},"properties":{"principalId":"forged","isolationScope":null}}`)
	if w.Code != http.StatusCreated || w.Header().Get("Location") != one || w.Header().Get("ETag") == "" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	principal, client := at(made, "properties", "principalId"), at(made, "properties", "clientId")
	history := object{
		"createdBy": admin, "createdByType": "Application", "createdAt": "2030-01-01T00:00:00Z",
		"lastModifiedBy": admin, "lastModifiedByType": "Application", "lastModifiedAt": "2030-01-01T00:00:00Z",
	}
	want := object{
		"id": one, "name": "Orders", "type": "Microsoft.ManagedIdentity/userAssignedIdentities", "location": "westus", "tags": object{"a": "b"},
		"properties": object{"tenantId": tenant, "principalId": principal, "clientId": client, "isolationScope": "None"}, "systemData": history,
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Error(diff)
	}
	p, err := e.directory.Get(t.Context(), fmt.Sprint(principal))
	e.ok(err)
	if p.AppID != client || p.ResourceID != one {
		t.Errorf("principal %+v", p)
	}
	if diff := cmp.Diff(want, e.want(200, "GET", strings.ToLower(one), "")); diff != "" {
		t.Error(diff)
	}
	again := e.want(200, "PUT", one, `{"location":"westus","properties":{"isolationScope":"regional"}}`)
	if at(again, "properties", "principalId") != principal || at(again, "properties", "isolationScope") != "Regional" || at(again, "tags", "a") != nil {
		t.Errorf("put again: %v", again)
	}
	patched := e.want(200, "PATCH", one, `{"tags":{"c":"d"}}`)
	if at(patched, "tags", "c") != "d" || at(patched, "properties", "isolationScope") != "Regional" {
		t.Errorf("patched: %v", patched)
	}
	e.want(412, "PUT", one, `{"location":"westus"}`, "If-None-Match", "*")
	e.want(412, "DELETE", one, "", "If-Match", `"other"`)

	e.assign(group, p.ObjectID, rbac.Reader)
	e.want(200, "DELETE", one, "")
	e.want(204, "DELETE", one, "")
	if missing := e.want(404, "GET", one, ""); at(missing, "error", "code") != "ResourceNotFound" {
		t.Errorf("%v", missing)
	}
	e.want(404, "PATCH", one, `{"tags":{}}`)
	if all, err := e.roles.Assignments(); err != nil || len(all) != 1 {
		t.Errorf("its roles are left: %+v, %v", all, err)
	}
	if renewed := e.want(201, "PUT", one, `{"location":"local"}`); at(renewed, "properties", "principalId") == principal {
		t.Error("made anew it has the old principal")
	}
}

func TestIdentitiesThatCannotBeAreRefused(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", one, `{"location":"local"}`)
	for _, tt := range []struct {
		name, path, body, code, text string
		status                       int
	}{
		{"no location", list + "/new", `{}`, "LocationRequired", "location", 400},
		{"empty body", list + "/new", ``, "InvalidRequestContent", "empty", 400},
		{"wrong type", list + "/new", `{"location":"local","properties":{"isolationScope":1}}`, "InvalidRequestContent", "properties.isolationScope", 400},
		{"isolation", list + "/new", `{"location":"local","properties":{"isolationScope":"Zone"}}`, "BadRequest", "isolationScope", 400},
		{"name", list + "/a", `{"location":"local"}`, "BadRequest", "Name must", 400},
		{"tag", list + "/new", `{"location":"local","tags":{"a<b":""}}`, "InvalidTagNameCharacters", "a<b", 400},
		{"moved", one, `{"location":"elsewhere"}`, "InvalidResourceLocation", "location", 409},
		{"no group", sub + "/resourceGroups/other" + msi + "/new", `{"location":"local"}`, "ResourceNotFound", "other", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, got := e.do(admin, "PUT", tt.path, tt.body)
			if w.Code != tt.status || at(got, "error", "code") != tt.code || !strings.Contains(fmt.Sprint(at(got, "error", "message")), tt.text) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	if w, _ := e.do(bob, "PUT", list+"/new", `{"location":"local"}`); w.Code != http.StatusForbidden {
		t.Errorf("without a role: %d", w.Code)
	}
}

func TestIdentitiesAreListedInPages(t *testing.T) {
	e := newEnv(t)
	e.resource(sub+"/resourceGroups/other", "")
	for _, path := range []string{list + "/one", list + "/two", list + "/three", sub + "/resourceGroups/other" + msi + "/four"} {
		e.want(201, "PUT", path, `{"location":"local"}`)
	}
	if got := names(e.want(200, "GET", list, "")); got != "one three two" {
		t.Errorf("in the group: %s", got)
	}
	got, pages := "", 0
	for next := sub + msi + "?$top=3"; next != ""; pages++ {
		page := e.want(200, "GET", next, "")
		got += names(page) + ";"
		next, _ = page["nextLink"].(string)
	}
	if got != "four one three;two;" || pages != 2 {
		t.Errorf("in the subscription: %s", got)
	}
	e.want(400, "GET", list+"?$top=x", "")
	e.want(400, "GET", list+"?$skiptoken=!", "")
}

func TestAssociatedResourcesAreThoseTheCallerSees(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", one, `{"location":"local"}`)
	for _, name := range []string{"a", "b", "c"} {
		e.assigned(sites+name, strings.ToUpper(one))
	}
	e.resource(sites+"other", `{"type":"SystemAssigned"}`)
	path := one + "/listAssociatedResources"
	all := e.want(200, "POST", path, "")
	if names(all) != "a b c" || all["totalCount"] != 3.0 {
		t.Errorf("%v", all)
	}
	items, _ := all["value"].([]any)
	if diff := cmp.Diff(object{
		"id": sites + "a", "name": "a", "type": "Microsoft.Web/sites", "resourceGroup": "rg",
		"subscriptionId": strings.TrimPrefix(sub, "/subscriptions/"), "subscriptionDisplayName": "Local",
	}, items[0]); diff != "" {
		t.Error(diff)
	}
	first := e.want(200, "POST", path+"?$top=1&$skip=1", "")
	second := e.want(200, "POST", fmt.Sprint(first["nextLink"]), "")
	if names(first)+" "+names(second) != "b c" || second["nextLink"] != nil || second["totalCount"] != 3.0 {
		t.Errorf("%v, then %v", first, second)
	}
	e.assign(one, bob, rbac.Owner)
	e.assign(sites+"b", bob, rbac.Reader)
	if w, got := e.do(bob, "POST", path, ""); w.Code != 200 || names(got) != "b" || got["totalCount"] != 1.0 {
		t.Errorf("with a role at one of them: %s", w.Body)
	}
	e.want(400, "POST", path+"?$filter=x", "")
	e.want(400, "POST", path+"?$skip=-1", "")
	e.want(404, "POST", list+"/none/listAssociatedResources", "")
	e.want(200, "DELETE", one, "")
	e.want(201, "PUT", one, `{"location":"local"}`)
	if got := e.want(200, "POST", path, ""); got["totalCount"] != 0.0 || fmt.Sprint(got["value"]) != "[]" {
		t.Errorf("one made anew: %v", got)
	}
}

func credential(issuer, subject string) string {
	return fmt.Sprintf(`{"properties":{"issuer":%q,"subject":%q,"audiences":["api://AzureADTokenExchange"]}}`, issuer, subject)
}

func TestFederatedCredentials(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", one, `{"location":"local"}`)
	at1 := one + "/federatedIdentityCredentials/"
	e.want(404, "GET", at1+"Build", "")
	made := e.want(201, "PUT", at1+"Build", credential("https://issuer.test", "repo:a"))
	want := object{
		"id": at1 + "Build", "name": "Build", "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
		"properties": object{"issuer": "https://issuer.test", "subject": "repo:a", "audiences": []any{"api://AzureADTokenExchange"}},
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, e.want(200, "GET", strings.ToLower(at1)+"build", "")); diff != "" {
		t.Error(diff)
	}
	changed := e.want(200, "PUT", at1+"BUILD", credential("https://issuer.test", "repo:b"))
	if changed["name"] != "Build" || at(changed, "properties", "subject") != "repo:b" {
		t.Errorf("changed: %v", changed)
	}
	if got := e.want(409, "PUT", at1+"other", credential("https://issuer.test", "repo:b")); !strings.Contains(fmt.Sprint(got), "Build") {
		t.Errorf("the same issuer and subject: %v", got)
	}
	e.want(412, "PUT", at1+"build", credential("https://issuer.test", "repo:c"), "If-None-Match", "*")
	for n := range identity.MaxFederated - 1 {
		e.want(201, "PUT", fmt.Sprintf("%sc-%02d", at1, n), credential("https://issuer.test", fmt.Sprint(n)))
	}
	e.want(409, "PUT", at1+"toomany", credential("https://issuer.test", "more"))
	var all []string
	for next := strings.TrimSuffix(at1, "/") + "?$top=8"; next != ""; {
		page := e.want(200, "GET", next, "")
		all = append(all, strings.Fields(names(page))...)
		next, _ = page["nextLink"].(string)
	}
	if len(all) != identity.MaxFederated || all[0] != "Build" || all[19] != "c-18" {
		t.Errorf("listed: %v", all)
	}
	e.want(200, "DELETE", at1+"BUILD", "")
	e.want(204, "DELETE", at1+"Build", "")
	e.want(204, "DELETE", list+"/none/federatedIdentityCredentials/x", "")
	e.want(404, "GET", at1+"Build", "")
	e.want(404, "GET", list+"/none/federatedIdentityCredentials", "")
	e.want(404, "PUT", list+"/none/federatedIdentityCredentials/build", credential("https://issuer.test", "s"))
}

func TestFederatedCredentialsThatCannotBeNameTheMember(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", one, `{"location":"local"}`)
	for _, tt := range []struct{ name, body, target string }{
		{"build", `{}`, "properties"},
		{"no", credential("https://issuer.test", "s"), "name"},
		{"build", credential("http://issuer.test", "s"), "properties.issuer"},
		{"build", credential("https://issuer.test ", "s"), "properties.issuer"},
		{"build", credential("https://issuer.test", ""), "properties.subject"},
		{"build", `{"properties":{"issuer":"https://issuer.test","subject":"s","audiences":[]}}`, "properties.audiences"},
		{"build", `{"properties":{"issuer":"https://issuer.test","subject":"s","audiences":"x"}}`, "properties.audiences"},
	} {
		got := e.want(400, "PUT", one+"/federatedIdentityCredentials/"+tt.name, tt.body)
		if at(got, "error", "target") != tt.target {
			t.Errorf("%s: %v", tt.body, got)
		}
	}
}

func TestSystemAssignedIdentityIsFoundAtItsScope(t *testing.T) {
	e := newEnv(t)
	e.resource(sites+"shop", `{"type":"SystemAssigned"}`)
	e.resource(sites+"bare", "")
	_, err := e.identities.Ensure(t.Context(), e.id(sites+"shop"), nil)
	e.ok(err)
	own, err := e.identities.System(t.Context(), e.id(sites+"shop"))
	e.ok(err)
	const below = "/providers/Microsoft.ManagedIdentity/identities/default"
	got := e.want(200, "GET", sites+"shop"+below, "")
	want := object{
		"id": sites + "shop" + below, "name": "default", "type": "Microsoft.ManagedIdentity/identities", "location": "local", "tags": object{},
		"properties": object{
			"tenantId": tenant, "principalId": own.ObjectID, "clientId": own.AppID,
			"clientSecretUrl": "https://localhost:7443/tenants/" + tenant + "/identities/" + own.AppID + "/credentials",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	e.want(404, "GET", sites+"bare"+below, "")
	e.want(404, "GET", sites+"none"+below, "")
	e.want(404, "GET", below, "")
	if w, _ := e.do(bob, "GET", sites+"shop"+below, ""); w.Code != http.StatusForbidden {
		t.Errorf("without a role: %d", w.Code)
	}
}

func TestProviderNamesItsTypes(t *testing.T) {
	p := managedidentity.Provider()
	if p.Namespace != "Microsoft.ManagedIdentity" || len(p.Types) != 3 || p.Types[0].Name != "userAssignedIdentities" || len(p.Types[0].APIVersions) == 0 {
		t.Errorf("%+v", p)
	}
	if _, err := managedidentity.New(managedidentity.Config{}); err == nil {
		t.Error("an empty configuration is enough")
	}
}
