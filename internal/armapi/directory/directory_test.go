package directory_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization"
	"github.com/latchkey/latchkey/internal/armapi/directory"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	admin  = "aaaaaaaa-0000-4000-8000-000000000001"
	reader = "bbbbbbbb-0000-4000-8000-000000000002"
	tenant = "77777777-0000-4000-8000-000000000000"
	subID  = "5ab5c1b0-0000-4000-8000-000000000000"
	sub    = "/subscriptions/" + subID
	all    = "/providers/Latchkey.Directory/principals"
)

type object = map[string]any

type env struct {
	*testing.T
	store     *memory.Store
	clock     *clock.Manual
	directory *identity.Directory
	roles     *rbac.Roles
	audit     *audit.Log
	groups    *groups.Groups
	api       http.Handler
}

// newEnv has an admin, who is Owner of everything, and a reader of everything.
func newEnv(t *testing.T) *env {
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	e := &env{T: t, clock: c, store: memory.New(c)}
	log := slog.New(slog.DiscardHandler)
	e.directory = identity.New(e.store, c)
	e.roles = rbac.New(&inventory.Inventory{Store: e.store, Clock: c}, c, log)
	e.roles.Principals = func(ctx context.Context, id string) (bool, string, error) {
		p, err := e.directory.Get(ctx, id)
		if errors.Is(err, problem.NotFound) {
			_, err := e.groups.Get(ctx, id)
			return err == nil, "Group", nil
		}
		return err == nil, p.Kind.AssignmentType(), err
	}
	e.audit = audit.New(e.store, c, log)
	e.groups = groups.New(e.store, c, log)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var following sync.WaitGroup
		following.Go(func() { e.groups.Run(ctx) })
		e.roles.Run(ctx)
		following.Wait()
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		end, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = e.audit.Close(end)
	})
	if err := e.roles.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := directory.New(directory.Config{Directory: e.directory, Roles: e.roles, Audit: e.audit, Groups: e.groups, TenantID: tenant, SubscriptionID: subID})
	if err != nil {
		t.Fatal(err)
	}
	ops := append(s.Operations(), s.GraphOperations()...)
	api, err := arm.New(arm.Config{
		Authenticate: func(ctx context.Context, r *http.Request) (arm.Caller, error) {
			who := r.Header.Get("Authorization")
			in, err := e.groups.Of(ctx, who)
			return arm.Caller{ObjectID: who, AppID: "app", Groups: in}, err
		},
		Authorize: e.roles, SubscriptionID: subID, Clock: c, Audit: directory.Recorder(e.audit),
	}, append(ops, authorization.New(e.roles).Operations()...)...)
	if err != nil {
		t.Fatal(err)
	}
	e.api = directory.Graph(api)
	e.principal(admin, rbac.Owner)
	e.principal(reader, rbac.Reader)
	return e
}

// principal makes one with a role everywhere.
func (e *env) principal(id, role string) {
	e.Helper()
	if _, err := e.directory.Create(e.Context(), identity.Principal{ObjectID: id, Name: "name of " + id[:4], Kind: identity.ServicePrincipal}); err != nil {
		e.Fatal(err)
	}
	e.assign(resource.Root, id, role)
}

func (e *env) assign(scope resource.ID, who, role string) {
	e.Helper()
	if _, _, err := e.roles.Assign(e.Context(), rbac.Assign{Scope: scope, Name: uuid.NewString(), Principal: who, Role: role}); err != nil {
		e.Fatal(err)
	}
}

func (e *env) raw(who, method, path, body string) *httptest.ResponseRecorder {
	e.Helper()
	if !strings.HasPrefix(path, "/v1.0/") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "api-version=2026-01-01"
	}
	r := httptest.NewRequestWithContext(e.Context(), method, "https://localhost:7443"+path, strings.NewReader(body))
	r.Header.Set("Authorization", who)
	w := httptest.NewRecorder()
	e.api.ServeHTTP(w, r)
	return w
}

func (e *env) wantAs(who string, status int, method, path, body string) object {
	e.Helper()
	w := e.raw(who, method, path, body)
	text, _ := io.ReadAll(w.Body)
	if w.Code != status {
		e.Errorf("%s %s: %d, want %d: %s", method, path, w.Code, status, text)
	}
	var out object
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			e.Fatalf("%s: %v", text, err)
		}
	}
	return out
}

func (e *env) want(status int, method, path, body string) object {
	e.Helper()
	return e.wantAs(admin, status, method, path, body)
}

func values(out object) []object {
	var list []object
	items, _ := out["value"].([]any)
	for _, item := range items {
		list = append(list, item.(object))
	}
	return list
}

func TestPrincipalLifecycle(t *testing.T) {
	e := newEnv(t)
	p := e.want(201, "POST", all, `{"name":"ci","kind":"ServicePrincipal"}`)
	oid, app := p["objectId"].(string), p["appId"].(string)
	if p["id"] != all+"/"+oid || p["type"] != "Latchkey.Directory/principals" || p["name"] != "ci" || p["kind"] != "ServicePrincipal" {
		t.Errorf("%v", p)
	}
	for _, id := range []string{oid, app, strings.ToUpper(oid), strings.ToUpper(app)} {
		if got := e.want(200, "GET", all+"/"+id, ""); got["objectId"] != oid {
			t.Errorf("%s: %v", id, got)
		}
	}
	if n := len(values(e.want(200, "GET", all, ""))); n != 3 {
		t.Errorf("%d principals", n)
	}
	if list := values(e.want(200, "GET", all+"?$filter="+url.QueryEscape("name eq 'CI'"), "")); len(list) != 1 || list[0]["appId"] != app {
		t.Errorf("%v", list)
	}
	first := e.want(200, "GET", all+"?$top=2", "")
	rest := e.want(200, "GET", strings.Replace(strings.TrimPrefix(first["nextLink"].(string), "https://localhost:7443"), "api-version=2026-01-01&", "", 1), "")
	if len(values(first)) != 2 || len(values(rest)) != 1 || rest["nextLink"] != nil {
		t.Errorf("%v\n%v", first, rest)
	}
	if got := e.want(200, "PUT", all+"/"+oid, `{"name":"ci2"}`); got["name"] != "ci2" {
		t.Errorf("%v", got)
	}
	e.want(409, "PUT", all+"/"+oid, `{"name":"ci2","kind":"User"}`)
	if got := e.want(201, "PUT", all+"/"+uuid.NewString(), `{"name":"person","kind":"User"}`); got["appId"] != nil || got["kind"] != "User" {
		t.Errorf("%v", got)
	}
	e.want(200, "DELETE", all+"/"+oid, "")
	e.want(204, "DELETE", all+"/"+oid, "")
	e.want(404, "GET", all+"/"+oid, "")
	e.want(404, "GET", all+"/nonsense", "")
	e.want(400, "POST", all, `{"name":""}`)
	e.want(400, "POST", all, `{"name":"x","kind":"ManagedIdentity"}`)
	e.want(400, "POST", all, `{"name":"x","kind":"Robot"}`)
	e.want(400, "GET", all+"?$filter=foo()", "")
}

func TestSecretsAreShownOnce(t *testing.T) {
	e := newEnv(t)
	p := e.want(201, "POST", all, `{"name":"ci"}`)
	path := all + "/" + p["objectId"].(string)
	made := e.want(200, "POST", path+"/addSecret", `{"name":"laptop","days":30}`)
	plain := made["secret"].(string)
	if made["appId"] != p["appId"] || made["tenantId"] != tenant || made["expires"] != "2030-01-31T00:00:00Z" || made["name"] != "laptop" {
		t.Errorf("%v", made)
	}
	if _, _, err := e.directory.VerifySecret(t.Context(), p["appId"].(string), plain); err != nil {
		t.Error("the secret does not work:", err)
	}
	shown := e.raw(admin, "GET", path, "").Body.String()
	if strings.Contains(shown, plain) || !strings.Contains(shown, made["id"].(string)) {
		t.Error("the secret is shown again, or not at all:", shown)
	}
	e.want(400, "POST", path+"/addSecret", `{"days":-1}`)
	e.want(400, "POST", path+"/addSecret", `{"days":1e300}`)
	e.want(404, "POST", all+"/"+uuid.NewString()+"/addSecret", `{}`)
	e.want(400, "POST", path+"/removeSecret", `{}`)
	e.want(404, "POST", path+"/removeSecret", `{"id":"x"}`)
	e.want(200, "POST", path+"/removeSecret", `{"id":"`+made["id"].(string)+`"}`)
	if _, _, err := e.directory.VerifySecret(t.Context(), p["appId"].(string), plain); err == nil {
		t.Error("a removed secret works")
	}
	// Nothing of it is in the record.
	export := e.raw(admin, "GET", "/providers/Latchkey.Audit/export", "").Body.String()
	if strings.Contains(export, plain) || !strings.Contains(export, "Latchkey.Directory/principals/addSecret/action") {
		t.Error(export)
	}
}

func TestCertificatesAndFederatedCredentials(t *testing.T) {
	e := newEnv(t)
	path := all + "/" + e.want(201, "POST", all, `{"name":"ci"}`)["objectId"].(string)
	body, _ := json.Marshal(object{"name": "c", "pem": certificate(t, e.clock.Now())})
	cert := e.want(200, "POST", path+"/addCertificate", string(body))
	if cert["sha1"] == "" || cert["name"] != "c" {
		t.Errorf("%v", cert)
	}
	e.want(409, "POST", path+"/addCertificate", string(body))
	e.want(400, "POST", path+"/addCertificate", `{"pem":"x"}`)
	e.want(200, "POST", path+"/removeCertificate", `{"id":"`+cert["id"].(string)+`"}`)

	cred := path + "/federatedCredentials/github"
	e.want(404, "GET", cred, "")
	if f := e.want(201, "PUT", cred, `{"issuer":"https://token.example","subject":"repo:x"}`); f["id"] != cred || f["issuer"] != "https://token.example" {
		t.Errorf("%v", f)
	}
	e.want(200, "PUT", cred, `{"issuer":"https://token.example","subject":"repo:y","audiences":["a"]}`)
	e.want(400, "PUT", cred, `{"issuer":"http://token.example","subject":"repo:y"}`)
	if f := e.want(200, "GET", cred, ""); f["subject"] != "repo:y" {
		t.Errorf("%v", f)
	}
	if n := len(values(e.want(200, "GET", path+"/federatedCredentials", ""))); n != 1 {
		t.Error(n)
	}
	e.want(200, "DELETE", cred, "")
	e.want(204, "DELETE", cred, "")
}

func certificate(t *testing.T, now time.Time) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ci"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestDeletingAPrincipalRemovesItsRoles(t *testing.T) {
	e := newEnv(t)
	id := uuid.NewString()
	e.principal(id, rbac.Contributor)
	e.assign(resource.Group(subID, "rg"), id, rbac.Reader)
	e.want(200, "DELETE", all+"/"+id, "")
	left, err := e.roles.Assignments()
	if err != nil || len(left) != 2 {
		t.Errorf("%+v %v", left, err)
	}
	gone, _, err := e.audit.List(t.Context(), audit.Filter{Action: "Microsoft.Authorization/roleAssignments/delete"})
	if err != nil || len(gone) != 2 || gone[0].Details["principalId"] != id || gone[0].Principal.ObjectID != admin {
		t.Errorf("%+v %v", gone, err)
	}
}

func TestTheLastOwnerIsNeitherDeletedNorDisabled(t *testing.T) {
	e := newEnv(t)
	for _, call := range [][2]string{{"DELETE", ""}, {"POST", "/disable"}} {
		if out := e.want(409, call[0], all+"/"+admin+call[1], ""); !strings.Contains(fmt.Sprint(out), "last") {
			t.Errorf("%v", out)
		}
	}
	second := uuid.NewString()
	e.principal(second, rbac.Owner)
	e.want(200, "POST", all+"/"+second+"/disable", "")
	e.want(409, "DELETE", all+"/"+admin, "") // the other owner cannot sign in
	if p := e.want(200, "POST", all+"/"+second+"/enable", ""); p["disabled"] != nil {
		t.Errorf("%v", p)
	}
	e.want(200, "POST", all+"/"+admin+"/disable", "")
}

func TestManagedIdentitiesBelongToTheirResources(t *testing.T) {
	e := newEnv(t)
	p, err := e.directory.Create(t.Context(), identity.Principal{Name: "app", Kind: identity.ManagedIdentity, ResourceID: sub + "/resourceGroups/rg/providers/Microsoft.Web/sites/app"})
	if err != nil {
		t.Fatal(err)
	}
	e.want(409, "DELETE", all+"/"+p.ObjectID, "")
	e.want(409, "PUT", all+"/"+p.ObjectID+"/federatedCredentials/abc", `{"issuer":"https://x.example","subject":"s"}`)
	e.want(409, "POST", all+"/"+p.ObjectID+"/addSecret", `{}`)
}

// A reader sees principals and events, and changes nothing; a Contributor cannot
// make itself an owner's credential.
func TestWhoMayDoWhat(t *testing.T) {
	e := newEnv(t)
	contributor := uuid.NewString()
	e.principal(contributor, rbac.Contributor)
	e.wantAs(reader, 200, "GET", all, "")
	e.wantAs(reader, 200, "GET", "/providers/Latchkey.Audit/events", "")
	for _, who := range []string{reader, contributor} {
		for _, call := range [][2]string{
			{"POST", all}, {"PUT", all + "/" + uuid.NewString()}, {"DELETE", all + "/" + admin}, {"POST", all + "/" + admin + "/addSecret"},
			{"POST", all + "/" + admin + "/addCertificate"}, {"PUT", all + "/" + admin + "/federatedCredentials/abc"}, {"POST", all + "/" + admin + "/disable"},
		} {
			e.wantAs(who, 403, call[0], call[1], `{"name":"x"}`)
		}
	}
	nobody := uuid.NewString()
	for _, path := range []string{all, "/providers/Latchkey.Audit/events", "/providers/Latchkey.Audit/export", "/v1.0/servicePrincipals", sub + "/providers/Microsoft.Insights/eventtypes/management/values"} {
		e.wantAs(nobody, 403, "GET", path, "")
	}
	e.wantAs(nobody, 403, "POST", "/v1.0/directoryObjects/getByIds", `{"ids":[]}`)
	// The three ways to principals are one action: the first refusal is recorded at
	// once, the others are merged.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var denied []audit.Entry
	var err error
	for len(denied) < 4 && err == nil {
		denied, _, err = e.audit.List(ctx, audit.Filter{Category: audit.Denied, Principal: nobody})
	}
	if err != nil || denied[0].Status != 403 || denied[0].Reason != "AuthorizationFailed" || denied[0].Outcome != "Denied" {
		t.Errorf("%+v %v", denied, err)
	}
}

func TestEventsVerifyAndExport(t *testing.T) {
	e := newEnv(t)
	for i := range 5 {
		e.want(201, "POST", all, fmt.Sprintf(`{"name":"p%d"}`, i))
		e.clock.Advance(time.Minute)
	}
	events := e.want(200, "GET", "/providers/Latchkey.Audit/events?order=oldest&category=write", "")
	list := values(events)
	if len(list) != 5 || list[0]["action"] != "Latchkey.Directory/principals/write" || list[0]["sequence"] != 1.0 || list[0]["source"] != "192.0.2.1" {
		t.Errorf("%v", events)
	}
	first := e.want(200, "GET", "/providers/Latchkey.Audit/events?$top=3", "")
	rest := e.want(200, "GET", strings.Replace(strings.TrimPrefix(first["nextLink"].(string), "https://localhost:7443"), "api-version=2026-01-01&", "", 1), "")
	if len(values(first)) != 3 || len(values(rest)) != 2 || rest["nextLink"] != nil {
		t.Errorf("%v\n%v", first, rest)
	}
	if list := values(e.want(200, "GET", "/providers/Latchkey.Audit/events?from=2030-01-01T00:03:00Z&to=2030-01-01T00:04:00%2B00:00&principal="+admin+"&action=latchkey.directory/*&scope=/", "")); len(list) != 1 {
		t.Errorf("%v", list)
	}
	e.want(400, "GET", "/providers/Latchkey.Audit/events?from=yesterday", "")
	e.want(400, "GET", "/providers/Latchkey.Audit/events?order=random", "")
	e.want(400, "GET", "/providers/Latchkey.Audit/events?$skiptoken=eA", "")
	if r := e.want(200, "POST", "/providers/Latchkey.Audit/verify", ""); r["intact"] != true || r["events"] != 5.0 {
		t.Errorf("%v", r)
	}
	w := e.raw(admin, "GET", "/providers/Latchkey.Audit/export", "")
	r, err := audit.VerifyExport(w.Body)
	if err != nil || !r.Intact || r.Events != 5 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/x-ndjson") {
		t.Errorf("%+v %v", r, err)
	}
	key := audit.Documents + "00000000000000000002"
	if _, err := e.store.Write(t.Context(), state.Delete(key, state.Any)); err != nil {
		t.Fatal(err)
	}
	if r := e.want(200, "POST", "/providers/Latchkey.Audit/verify", ""); r["intact"] != false {
		t.Errorf("%v", r)
	}
}

// No change is answered as done that could not be recorded.
func TestWithoutRecordNoAnswer(t *testing.T) {
	e := newEnv(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := e.audit.Close(ctx); err != nil {
		t.Fatal(err)
	}
	out := e.want(503, "POST", all+"/"+reader+"/addSecret", `{}`)
	if strings.Contains(fmt.Sprint(out), "~") {
		t.Errorf("%v", out)
	}
	e.want(200, "GET", all, "")
}

func TestActivityLog(t *testing.T) {
	e := newEnv(t)
	const auth = "/providers/Microsoft.Authorization/roleAssignments/"
	path := sub + "/resourceGroups/RG" + auth + uuid.NewString()
	e.want(201, "PUT", path, fmt.Sprintf(`{"properties":{"roleDefinitionId":%q,"principalId":%q}}`, rbac.Contributor, reader))
	e.clock.Advance(time.Hour)
	e.want(400, "PUT", sub+"/resourceGroups/other"+auth+"x", `{"properties":{}}`)
	e.want(204, "DELETE", sub+"/resourceGroups/other"+auth+uuid.NewString(), "")
	e.want(201, "POST", all, `{"name":"not in the subscription"}`)
	tests := []struct {
		filter string
		want   int
	}{
		{"", 2},
		{"eventTimestamp ge 2030-01-01T00:30:00Z", 1},
		{"eventTimestamp ge '2030-01-01T00:00:00.000000+00:00' and eventTimestamp le '2030-01-01T00:00:00Z'", 1},
		{"resourceGroupName eq 'rg'", 1},
		{"resourceUri eq '" + path + "'", 0}, // the call is about the scope
		{"resourceUri eq '" + sub + "/resourceGroups/RG'", 1},
		{"resourceProvider eq 'Microsoft.Authorization' and status eq 'Succeeded' and caller eq '" + admin + "'", 2},
		{"status eq 'Failed'", 0},
		{"correlationId eq 'x'", 0},
	}
	const log = sub + "/providers/Microsoft.Insights/eventtypes/management/values"
	for _, tt := range tests {
		if list := values(e.want(200, "GET", log+"?$filter="+url.QueryEscape(tt.filter), "")); len(list) != tt.want {
			t.Errorf("%s: %d events, want %d", tt.filter, len(list), tt.want)
		}
	}
	for _, text := range []string{"resourceUri eq '/x'", "resourceUri eq '" + all + "/" + admin + "'", "eventTimestamp ge 'x'", "foo eq 'x'", "x"} {
		e.want(400, "GET", log+"?$filter="+url.QueryEscape(text), "")
	}
	item := values(e.want(200, "GET", log+"?$filter="+url.QueryEscape("resourceGroupName eq 'RG'"), ""))[0]
	op, status := item["operationName"].(object), item["status"].(object)
	if op["value"] != "Microsoft.Authorization/roleAssignments/write" || status["value"] != "Succeeded" || item["caller"] != admin || item["resourceGroupName"] != "RG" ||
		item["eventTimestamp"] != "2030-01-01T00:00:00.0000000Z" || item["subscriptionId"] != subID || item["subStatus"].(object)["value"] != "Created" {
		t.Errorf("%v", item)
	}
}

func TestDirectoryCallsOfOtherClients(t *testing.T) {
	e := newEnv(t)
	p, err := e.directory.Get(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	mi, err := e.directory.Create(t.Context(), identity.Principal{Name: "app", Kind: identity.ManagedIdentity, ResourceID: sub + "/x"})
	if err != nil {
		t.Fatal(err)
	}
	user, err := e.directory.Create(t.Context(), identity.Principal{Name: "ann", Kind: identity.User})
	if err != nil {
		t.Fatal(err)
	}
	list := values(e.want(200, "GET", "/v1.0/servicePrincipals?$filter="+url.QueryEscape("appId eq '"+p.AppID+"'"), ""))
	if len(list) != 1 || list[0]["id"] != reader || list[0]["appId"] != p.AppID || list[0]["servicePrincipalType"] != "Application" {
		t.Errorf("%v", list)
	}
	if got := e.want(200, "GET", "/v1.0/servicePrincipals/"+mi.ObjectID, ""); got["servicePrincipalType"] != "ManagedIdentity" {
		t.Errorf("%v", got)
	}
	e.want(404, "GET", "/v1.0/servicePrincipals/"+user.ObjectID, "")
	e.want(404, "GET", "/v1.0/servicePrincipals/"+uuid.NewString(), "")
	e.want(400, "GET", "/v1.0/servicePrincipals?$filter="+url.QueryEscape("servicePrincipalNames/any(c:c eq 'x')"), "")
	body, _ := json.Marshal(object{"ids": []string{reader, strings.ToUpper(user.ObjectID), uuid.NewString(), "x"}, "types": []string{"user"}})
	list = values(e.want(200, "POST", "/v1.0/directoryObjects/getByIds", string(body)))
	if len(list) != 2 || list[0]["@odata.type"] != "#microsoft.graph.servicePrincipal" || list[1]["@odata.type"] != "#microsoft.graph.user" {
		t.Errorf("%v", list)
	}
}
