package authorization_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	admin = "aaaaaaaa-0000-4000-8000-000000000001"
	bob   = "bbbbbbbb-0000-4000-8000-000000000002"
	carol = "cccccccc-0000-4000-8000-000000000003"
	ghost = "99999999-0000-4000-8000-000000000009"
	sub   = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000"
	group = sub + "/resourceGroups/RG"
	site  = group + "/providers/Microsoft.Web/sites/App"
	auth  = "/providers/Microsoft.Authorization/"
)

type object = map[string]any

type env struct {
	*testing.T
	api   http.Handler
	roles *rbac.Roles
}

// newEnv serves the operations to whoever names an object id as token; admin is
// Owner of everything.
func newEnv(t *testing.T) *env {
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	roles := rbac.New(&inventory.Inventory{Store: memory.New(c), Clock: c}, c, slog.New(slog.DiscardHandler))
	roles.Principals = func(_ context.Context, id string) (bool, string, error) { return id != ghost, "ServicePrincipal", nil }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); roles.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	if err := roles.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	service := authorization.New(roles)
	service.Groups = func(_ context.Context, who string) ([]string, error) {
		if strings.EqualFold(who, carol) {
			return []string{bob}, nil // who is a group for once
		}
		return nil, nil
	}
	api, err := arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: r.Header.Get("Authorization"), AppID: "app"}, nil
		},
		Authorize: roles, SubscriptionID: strings.TrimPrefix(sub, "/subscriptions/"), Clock: c,
	}, service.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	e := &env{t, api, roles}
	e.assign(resource.Root, admin, rbac.Owner)
	return e
}

func (e *env) assign(scope resource.ID, who, role string) rbac.Assignment {
	e.Helper()
	a, _, err := e.roles.Assign(e.Context(), rbac.Assign{Scope: scope, Name: guid(), Principal: who, Role: role})
	if err != nil {
		e.Fatal(err)
	}
	return a
}

func guid() string { return uuid.NewString() }

func (e *env) do(who, method, path, body string) (int, object) {
	e.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r := httptest.NewRequestWithContext(e.Context(), method, "https://localhost:7443"+path+sep+"api-version=2022-04-01", strings.NewReader(body))
	r.Header.Set("Authorization", who)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	e.api.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Body)
	var out object
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			e.Fatalf("%s: %v", text, err)
		}
	}
	return w.Code, out
}

// want calls as admin, and checks status and error code.
func (e *env) want(status int, code, method, path, body string) object {
	e.Helper()
	return e.wantAs(admin, status, code, method, path, body)
}

func (e *env) wantAs(who string, status int, code, method, path, body string) object {
	e.Helper()
	got, out := e.do(who, method, path, body)
	have := ""
	if fault, is := out["error"].(object); is {
		have = fmt.Sprint(fault["code"])
	}
	if got != status || have != code {
		e.Errorf("%s %s: %d %q, want %d %q: %v", method, path, got, have, status, code, out)
	}
	return out
}

func assignment(role, principal string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s%sroleDefinitions/%s","principalId":%q,"principalType":"ServicePrincipal"}}`, sub, auth, role, principal)
}

func TestAssignmentLifecycle(t *testing.T) {
	e := newEnv(t)
	name := guid()
	path := site + auth + "roleAssignments/" + name
	e.want(404, "RoleAssignmentNotFound", "GET", path, "")
	made := e.want(201, "", "PUT", path, assignment(rbac.Reader, bob))
	want := object{
		"id": path, "name": name, "type": "Microsoft.Authorization/roleAssignments",
		"properties": object{
			"roleDefinitionId": sub + auth + "roleDefinitions/" + rbac.Reader, "principalId": bob, "principalType": "ServicePrincipal",
			"scope": site, "description": nil, "condition": nil, "conditionVersion": nil, "delegatedManagedIdentityResourceId": nil,
			"createdOn": "2030-01-01T00:00:00.0000000Z", "updatedOn": "2030-01-01T00:00:00.0000000Z", "createdBy": admin, "updatedBy": admin,
		},
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, e.want(200, "", "GET", strings.ToUpper(path), "")); diff != "" {
		t.Error(diff)
	}
	e.want(200, "", "PUT", path, assignment(rbac.Reader, bob))
	e.want(409, "RoleAssignmentExists", "PUT", site+auth+"roleAssignments/"+guid(), assignment(rbac.Reader, bob))
	e.want(400, "RoleAssignmentUpdateNotPermitted", "PUT", path, assignment(rbac.Owner, bob))
	gone := e.want(200, "", "DELETE", path, "")
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Error(diff)
	}
	e.want(204, "", "DELETE", path, "")
}

func TestAssignmentAtTheRoot(t *testing.T) {
	e := newEnv(t)
	path := auth + "roleAssignments/" + guid()
	made := e.want(201, "", "PUT", path, assignment(rbac.Reader, bob))
	p := made["properties"].(object)
	if made["id"] != path || p["scope"] != "/" || p["roleDefinitionId"] != auth+"roleDefinitions/"+rbac.Reader {
		t.Errorf("%v", made)
	}
	e.want(200, "", "DELETE", path, "")
}

func TestAssignmentsAreRefused(t *testing.T) {
	e := newEnv(t)
	path := group + auth + "roleAssignments/" + guid()
	e.want(400, "InvalidRequestContent", "PUT", path, `{}`)
	e.want(400, "RoleDefinitionDoesNotExist", "PUT", path, assignment(ghost, bob))
	e.want(400, "PrincipalNotFound", "PUT", path, assignment(rbac.Reader, ghost))
	e.want(400, "RoleAssignmentConditionNotSupported", "PUT", path, strings.Replace(assignment(rbac.Reader, bob), `{"role`, `{"condition":"x","role`, 1))
	e.want(400, "BadRequest", "PUT", group+auth+"roleAssignments/x", assignment(rbac.Reader, bob))
	e.want(201, "", "PUT", path, strings.Replace(assignment(rbac.Reader, bob), `{"role`, `{"condition":null,"description":"d","role`, 1))
	only, _ := e.roles.Assignments()
	for _, a := range only {
		if a.Principal == admin {
			e.want(409, "LastOwnerCannotBeRemoved", "DELETE", a.ID.String(), "")
		}
	}
}

// Nobody gives what they may not give, whatever ids they hold roles at.
func TestAssigningDoesNotEscalate(t *testing.T) {
	e := newEnv(t)
	rg, _ := resource.Parse(group)
	name := guid()
	e.assign(rg, bob, rbac.Contributor)
	e.assign(rbac.AssignmentID(rg, name), carol, rbac.Owner) // only of what will be this assignment
	for _, who := range []string{bob, carol} {
		e.wantAs(who, 403, "AuthorizationFailed", "PUT", group+auth+"roleAssignments/"+name, assignment(rbac.Owner, who))
		e.wantAs(who, 403, "AuthorizationFailed", "PUT", auth+"roleAssignments/"+name, assignment(rbac.Owner, who))
	}
	e.wantAs(bob, 200, "", "GET", group+auth+"roleAssignments", "")
	e.wantAs(bob, 403, "AuthorizationFailed", "GET", sub+auth+"roleAssignments", "")
}

func (e *env) names(path, query string) []string {
	e.Helper()
	out := e.want(200, "", "GET", path+"?$filter="+url.QueryEscape(query), "")
	var names []string
	for _, item := range out["value"].([]any) {
		p := item.(object)["properties"].(object)
		if name, is := p["roleName"]; is {
			names = append(names, name.(string))
		} else {
			names = append(names, strings.TrimPrefix(p["scope"].(string), sub)+" "+p["principalId"].(string)[:1])
		}
	}
	return names
}

func TestListAssignments(t *testing.T) {
	e := newEnv(t)
	for _, scope := range []string{sub, group, site, group + "2"} {
		id, _ := resource.Parse(scope)
		e.assign(id, bob, rbac.Reader)
	}
	const web = "/resourceGroups/RG/providers/Microsoft.Web/sites/App b"
	tests := []struct {
		path, filter string
		want         []string
	}{
		{group, "", []string{"/ a", " b", "/resourceGroups/RG b", web}},
		{group, "atScope()", []string{"/ a", " b", "/resourceGroups/RG b"}},
		{group, "atScopeAndBelow()", []string{"/resourceGroups/RG b", web}},
		{group, "principalId eq '" + bob + "'", []string{" b", "/resourceGroups/RG b", web}},
		{group, "atScope() and assignedTo('" + strings.ToUpper(bob) + "')", []string{" b", "/resourceGroups/RG b"}},
		{group, "principalId eq '" + carol + "'", nil},
		{group, "assignedTo('" + carol + "')", []string{" b", "/resourceGroups/RG b", web}},
		{group, "assignedTo('" + carol + "') and principalId eq '" + carol + "'", nil},
		{"", "atScope()", []string{"/ a"}},
		{"", "", []string{"/ a", " b", "/resourceGroups/RG b", web, "/resourceGroups/RG2 b"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, e.names(tt.path+auth+"roleAssignments", tt.filter)); diff != "" {
			t.Errorf("%s %s: %s", tt.path, tt.filter, diff)
		}
	}
	e.want(400, "UnsupportedQuery", "GET", group+auth+"roleAssignments?$filter=foo()", "")
	e.want(400, "InvalidFilter", "GET", group+auth+"roleAssignments?$filter=foo", "")
	if out := e.want(200, "", "GET", sub+auth+"denyAssignments", ""); len(out["value"].([]any)) != 0 {
		t.Error(out)
	}
	e.want(200, "", "GET", sub+auth+"classicAdministrators", "")
	e.want(404, "InvalidResourceType", "GET", sub+auth+"roleEligibilityScheduleInstances", "")
}

func TestListPages(t *testing.T) {
	e := newEnv(t)
	for i := range 5 {
		e.assign(resource.Group(strings.TrimPrefix(sub, "/subscriptions/"), fmt.Sprintf("rg%d", i)), bob, rbac.Reader)
	}
	path, count := auth+"roleAssignments?$top=2", 0
	for pages := 0; path != ""; pages++ {
		out := e.want(200, "", "GET", path, "")
		count += len(out["value"].([]any))
		link, _ := out["nextLink"].(string)
		path = strings.Replace(strings.TrimPrefix(link, "https://localhost:7443"), "api-version=2022-04-01", "", 1)
		if pages > 5 {
			t.Fatal("no end")
		}
	}
	if count != 6 {
		t.Errorf("%d items", count)
	}
}

func TestRoleDefinitionsAreFoundByName(t *testing.T) {
	e := newEnv(t)
	if diff := cmp.Diff([]string{"Reader"}, e.names(sub+auth+"roleDefinitions", "roleName eq 'reader'")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Key Vault Secrets User"}, e.names(site+auth+"roleDefinitions", "atScopeAndBelow() and roleName eq 'Key Vault Secrets User'")); diff != "" {
		t.Error(diff)
	}
	if n := len(e.names(sub+auth+"roleDefinitions", "type eq 'BuiltInRole'")); n != len(rbac.BuiltIn()) {
		t.Error(n)
	}
	if n := len(e.names(sub+auth+"roleDefinitions", "type eq 'CustomRole'")); n != 0 {
		t.Error(n)
	}
	out := e.want(200, "", "GET", group+auth+"roleDefinitions/"+strings.ToUpper(rbac.Contributor), "")
	p := out["properties"].(object)
	perm := p["permissions"].([]any)[0].(object)
	if out["id"] != sub+auth+"roleDefinitions/"+rbac.Contributor || p["type"] != "BuiltInRole" || p["createdBy"] != nil ||
		len(perm["dataActions"].([]any)) != 0 || len(perm["notActions"].([]any)) == 0 {
		t.Errorf("%v", out)
	}
	e.want(404, "RoleDefinitionDoesNotExist", "GET", sub+auth+"roleDefinitions/"+ghost, "")
	e.want(404, "RoleDefinitionDoesNotExist", "GET", sub+auth+"roleDefinitions/nonsense", "")
}

func definition(name string, scopes ...string) string {
	text, _ := json.Marshal(object{"properties": object{
		"roleName": name, "type": "CustomRole", "description": "d", "assignableScopes": scopes,
		"permissions": []object{{"actions": []string{"Microsoft.Web/sites/read"}, "notActions": nil, "condition": nil}}, "createdOn": "ignored",
	}})
	return string(text)
}

func TestCustomRoleLifecycle(t *testing.T) {
	e := newEnv(t)
	id := guid()
	path := sub + auth + "roleDefinitions/" + id
	e.want(404, "RoleDefinitionDoesNotExist", "GET", path, "")
	e.want(201, "", "PUT", path, definition("Mine", group))
	e.want(201, "", "PUT", path, definition("Mine!", group)) // 201 for a change too
	out := e.want(200, "", "GET", path, "")
	if p := out["properties"].(object); out["id"] != path || p["roleName"] != "Mine!" || p["type"] != "CustomRole" || p["createdBy"] != admin {
		t.Errorf("%v", out)
	}
	if diff := cmp.Diff([]string(nil), e.names(sub+auth+"roleDefinitions", "roleName eq 'mine!'")); diff != "" {
		t.Error("it cannot be assigned at the subscription:", diff)
	}
	if diff := cmp.Diff([]string{"Mine!"}, e.names(sub+auth+"roleDefinitions", "roleName eq 'mine!' and atScopeAndBelow()")); diff != "" {
		t.Error(diff)
	}
	e.want(409, "RoleDefinitionWithSameNameExists", "PUT", sub+auth+"roleDefinitions/"+guid(), definition("MINE!", sub))
	e.want(404, "RoleDefinitionDoesNotExist", "GET", group+"2"+auth+"roleDefinitions/"+id, "") // of another group
	e.want(201, "", "PUT", group+auth+"roleAssignments/"+guid(), assignment(id, bob))
	e.want(409, "RoleDefinitionHasAssignments", "DELETE", path, "")
	if _, err := e.roles.UnassignAll(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	e.want(200, "", "DELETE", path, "")
	e.want(204, "", "DELETE", path, "")
	e.want(409, "RoleDefinitionIsBuiltIn", "DELETE", sub+auth+"roleDefinitions/"+rbac.Reader, "")
	e.want(409, "RoleDefinitionIsBuiltIn", "PUT", sub+auth+"roleDefinitions/"+rbac.Reader, definition("x", sub))
	e.want(400, "InvalidRoleDefinition", "PUT", path, definition("", sub))
	e.want(400, "InvalidRoleDefinition", "PUT", path, definition("x", "/"))
	e.want(400, "InvalidRequestContent", "PUT", path, "{}")
	e.want(400, "InvalidRoleDefinition", "PUT", path, strings.Replace(definition("x", sub), "CustomRole", "BuiltInRole", 1))
	e.want(400, "RoleAssignmentConditionNotSupported", "PUT", path, strings.Replace(definition("x", sub), `"condition":null`, `"condition":"c"`, 1))
}

// Who manages access in one group defines no role for other places, and changes
// none that reaches there.
func TestDefiningDoesNotEscalate(t *testing.T) {
	e := newEnv(t)
	rg, _ := resource.Parse(group)
	e.assign(rg, bob, rbac.UserAccessAdministrator)
	wide, narrow := guid(), guid()
	e.want(201, "", "PUT", sub+auth+"roleDefinitions/"+wide, definition("Wide", sub))
	e.wantAs(bob, 403, "LinkedAuthorizationFailed", "PUT", group+auth+"roleDefinitions/"+narrow, definition("Narrow", group, sub))
	e.wantAs(bob, 403, "LinkedAuthorizationFailed", "PUT", group+auth+"roleDefinitions/"+wide, definition("Wide", group))
	e.wantAs(bob, 403, "LinkedAuthorizationFailed", "DELETE", group+auth+"roleDefinitions/"+wide, "")
	e.wantAs(bob, 201, "", "PUT", group+auth+"roleDefinitions/"+narrow, definition("Narrow", group))
	e.wantAs(bob, 200, "", "DELETE", group+auth+"roleDefinitions/"+narrow, "")
}
