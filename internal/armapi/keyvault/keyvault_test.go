package keyvault_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
)

func TestShapesOfAnswers(t *testing.T) {
	f := newFixture(t)
	golden(t, "vault created", f.call("PUT", vaultAt, underPolicies))
	f.clock.Advance(time.Hour)
	golden(t, "vault changed", f.as(writer).call("PATCH", vaultAt, `{"tags":{"a":"b"},"properties":{"enablePurgeProtection":true}}`))
	golden(t, "vaults", f.call("GET", vaultsAt, ""))
	golden(t, "policies", f.call("PUT", vaultAt+"/accessPolicies/add", `{"properties":{"accessPolicies":[`+policyFor(reader, "get")+`]}}`))
	golden(t, "secret created", f.call("PUT", vaultAt+"/secrets/Db", `{"tags":{"x":"y"},"properties":{"value":"hidden","contentType":"text/plain","attributes":{"enabled":true,"nbf":1000,"exp":2000000000}}}`))
	golden(t, "secrets", f.call("GET", vaultAt+"/secrets", ""))
	f.want(200, "DELETE", vaultAt, "")
	golden(t, "deleted vault", f.call("GET", deletedAt, ""))
	golden(t, "deleted vaults", f.call("GET", subAt+"/providers/Microsoft.KeyVault/deletedVaults", ""))
	golden(t, "purge of a protected vault", f.call("POST", deletedAt+"/purge", ""))
	golden(t, "name of a deleted vault", f.call("PUT", vaultAt, underPolicies))
	golden(t, "vault not found", f.call("GET", vaultAt, ""))
	golden(t, "name taken", f.call("POST", subAt+"/providers/Microsoft.KeyVault/checkNameAvailability", `{"name":"kv-one","type":"Microsoft.KeyVault/vaults"}`))
}

func TestVaultsAreCreatedChangedAndDeleted(t *testing.T) {
	f := newFixture(t)
	f.want(404, "PATCH", vaultAt, `{"tags":{}}`)
	f.want(201, "PUT", vaultAt, underPolicies)
	f.want(200, "PUT", vaultAt, underPolicies)
	f.want(200, "PATCH", strings.ToUpper(vaultAt), `{"tags":{"a":"b"}}`)
	if got := object(f.want(200, "GET", vaultAt, "")); at(got, "name") != "kv-one" || at(got, "tags", "a") != "b" || at(got, "location") != "local" {
		t.Errorf("%v", got)
	}
	f.want(200, "DELETE", vaultAt, "")
	f.want(204, "DELETE", vaultAt, "")
	f.want(404, "GET", vaultAt, "")
	if r, err := f.inv.Get(t.Context(), resource.Group(sub, "rg").Child("Microsoft.KeyVault", "vaults", "kv-one")); err == nil {
		t.Errorf("the deleted vault is still among the resources: %s", r.ID)
	}
}

// What clients read they send back whole; that must change nothing.
func TestAnAnswerSentBackChangesNothing(t *testing.T) {
	for name, body := range map[string]string{"under policies": underPolicies, "under roles": underRoles,
		"with rules": vaultWith(`"accessPolicies":[],"publicNetworkAccess":"Disabled","enablePurgeProtection":true,"softDeleteRetentionInDays":30,
			"networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/24"}],"virtualNetworkRules":[]}`)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.want(201, "PUT", vaultAt, body)
			read := func() map[string]any {
				m := object(f.want(200, "GET", vaultAt, ""))
				delete(m, "systemData")
				return m
			}
			before := read()
			text, _ := json.Marshal(before)
			for _, method := range []string{"PUT", "PATCH"} {
				f.want(200, method, vaultAt, string(text))
				if diff := cmp.Diff(before, read()); diff != "" {
					t.Errorf("after %s: %s", method, diff)
				}
			}
		})
	}
}

// From 2026-02-01 on roles decide about new vaults; those that exist stay as they
// are, whatever version they are changed with.
func TestTheVersionSaysWhoDecidesAboutANewVault(t *testing.T) {
	f := newFixture(t)
	for n, tt := range []struct {
		version, properties string
		want                bool
	}{
		{"2023-07-01", `"accessPolicies":[]`, false},
		{"2026-02-01", "", true},
		{"2026-04-01-preview", "", true},
		{"2026-02-01", `"enableRbacAuthorization":false,"accessPolicies":[]`, false},
		{"2019-09-01", `"enableRbacAuthorization":true`, true},
	} {
		path := fmt.Sprint(vaultsAt, "/kv-", n)
		f.version = tt.version
		f.want(201, "PUT", path, vaultWith(tt.properties))
		if got := f.property(path, "enableRbacAuthorization"); got != tt.want {
			t.Errorf("%s %s: roles decide: %v", tt.version, tt.properties, got)
		}
		for _, later := range []string{"2019-09-01", "2026-02-01"} {
			f.version = later
			f.want(200, "PUT", path, vaultWith(`"accessPolicies":[]`))
			if got := f.property(path, "enableRbacAuthorization"); got != tt.want {
				t.Errorf("%s %s: after a change with %s roles decide: %v", tt.version, tt.properties, later, got)
			}
		}
	}
}

// Who may write a vault is not who may say how access to its secrets is decided.
func TestThePermissionModelIsForThoseWhoMayAssignRoles(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	as := f.as(writer)
	as.want(200, "PATCH", vaultAt, `{"tags":{"a":"b"}}`)
	as.want(200, "PATCH", vaultAt, `{"properties":{"enableRbacAuthorization":true}}`)
	toPolicies := vaultWith(`"enableRbacAuthorization":false,"accessPolicies":[` + policyFor(writer, "get") + `]`)
	for _, method := range []string{"PUT", "PATCH"} {
		text := as.refused(403, "InsufficientPermissions", method, vaultAt, toPolicies)
		if !strings.Contains(text, "Microsoft.Authorization/roleAssignments/write") {
			t.Error(text)
		}
	}
	if got := f.property(vaultAt, "enableRbacAuthorization"); got != true {
		t.Error("the vault is under policies now")
	}
	f.want(200, "PATCH", vaultAt, `{"properties":{"enableRbacAuthorization":false}}`)
	as.refused(403, "InsufficientPermissions", "PATCH", vaultAt, `{"properties":{"enableRbacAuthorization":true}}`)
	f.assign(resource.Group(sub, "rg"), writer, rbac.UserAccessAdministrator)
	as.want(200, "PATCH", vaultAt, `{"properties":{"enableRbacAuthorization":true}}`)
}

// A member can be there twice, spelled differently: what is checked is what counts.
func TestThePermissionModelIsNotChangedBySpelling(t *testing.T) {
	for _, sent := range []string{
		"", `"enableRbacAuthorization":null`, `"enablerbacauthorization":null`, `"enablerbacauthorization":false`,
		`"enablerbacauthorization":false,"enableRbacAuthorization":true`, `"enableRbacAuthorization":true,"enablerbacauthorization":false`,
		`"enableRbacAuthorization":true,"enablerbacauthorization":null`, `"enableRbacAuthorization":false,"enablerbacauthorization":null`,
		`"ENABLERBACAUTHORIZATION":false,"enablerbacauthorization":true`, `"enableRbacAuthorization":true},"Properties":{"enableRbacAuthorization":false`,
		`"enableRbacAuthorization":true},"Properties":{"enablerbacauthorization":false`, `"enableRbacAuthorization":false},"Properties":null,"x":{`,
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			f := newFixture(t)
			f.want(201, "PUT", vaultAt, underRoles)
			w := f.as(writer).call(method, vaultAt, vaultWith(strings.Trim(`"accessPolicies":[],`+sent, ",")))
			if got := f.property(vaultAt, "enableRbacAuthorization"); got != true {
				t.Errorf("%s %s: roles do not decide any more; it answered %d: %s", method, sent, w.Code, w.Body)
			}
		}
	}
}

// Deleting a vault is no way around it either: it comes back as it was.
func TestRecoveringAVaultDoesNotChangeWhoDecides(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	as := f.as(writer)
	as.want(200, "DELETE", vaultAt, "")
	as.call("PUT", vaultAt, vaultWith(`"createMode":"recover","enableRbacAuthorization":false,"accessPolicies":[`+policyFor(writer, "get")+`]`))
	if got := f.property(vaultAt, "enableRbacAuthorization"); got != true {
		t.Errorf("roles decide: %v", got)
	}
	if got, _ := f.property(vaultAt, "accessPolicies").([]any); len(got) != 0 {
		t.Errorf("policies: %v", got)
	}
	as.call("PUT", vaultAt, vaultWith(`"createMode":"recover","enableRbacAuthorization":false`)) // of a vault that is there
	if got := f.property(vaultAt, "enableRbacAuthorization"); got != true {
		t.Errorf("after recovering what is not deleted roles decide: %v", got)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underPolicies)
	const secret = `{"properties":{"value":"v"}}`
	policies := `{"properties":{"accessPolicies":[` + policyFor(bob, "get") + `]}}`
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
	}{
		{reader, "GET", vaultAt, "", 200},
		{reader, "GET", vaultAt + "/secrets", "", 200},
		{reader, "GET", subAt + "/providers/Microsoft.KeyVault/deletedVaults", "", 200},
		{reader, "PATCH", vaultAt, `{}`, 403},
		{reader, "PUT", vaultAt + "/accessPolicies/add", policies, 403},
		{reader, "PUT", vaultAt + "/secrets/s", secret, 403},
		{reader, "DELETE", vaultAt, "", 403},
		{bob, "GET", vaultAt, "", 403}, // what a policy gives is no right to manage
		{bob, "PUT", vaultAt, underPolicies, 403},
		{bob, "POST", deletedAt + "/purge", "", 403},
		{writer, "PUT", vaultAt + "/secrets/s", secret, 201},
		{writer, "PUT", vaultAt + "/accessPolicies/add", policies, 200},
		{writer, "POST", deletedAt + "/purge", "", 403}, // the deleted vault is the subscription's
		{writer, "GET", deletedAt, "", 403},
	} {
		f.as(tt.who).want(tt.status, tt.method, tt.path, tt.body)
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underPolicies)
	const other = "11111111-1111-1111-1111-111111111111"
	at := func(name string) string { return vaultsAt + "/" + name }
	for _, tt := range []struct {
		name               string
		status             int
		code               string
		method, path, body string
	}{
		{"no location", 400, "LocationRequired", "PUT", at("kv-two"), strings.Replace(underPolicies, `"Local"`, `" "`, 1)},
		{"another tenant", 400, "BadRequest", "PUT", at("kv-two"), strings.Replace(underRoles, tenant, other, 1)},
		{"another tenant later", 400, "BadRequest", "PATCH", vaultAt, `{"properties":{"tenantId":"` + other + `"}}`},
		{"a policy of another tenant", 400, "BadRequest", "PUT", vaultAt + "/accessPolicies/add", `{"properties":{"accessPolicies":[` + strings.Replace(policyFor(bob, "get"), tenant, other, 1) + `]}}`},
		{"a short name", 400, "VaultNameNotValid", "PUT", at("kv"), underRoles},
		{"a bad name", 400, "VaultNameNotValid", "PUT", at("1kv-two"), underRoles},
		{"a name taken", 409, "VaultAlreadyExists", "PUT", strings.Replace(vaultAt, "/rg/", "/other/", 1), underRoles},
		{"a move", 409, "InvalidResourceLocation", "PUT", vaultAt, strings.Replace(underPolicies, "Local", "elsewhere", 1)},
		{"an unknown change of policies", 400, "BadRequest", "PUT", vaultAt + "/accessPolicies/merge", `{"properties":{"accessPolicies":[]}}`},
		{"policies of no vault", 404, "ResourceNotFound", "PUT", at("kv-two") + "/accessPolicies/add", `{"properties":{"accessPolicies":[]}}`},
		{"no JSON", 400, "InvalidRequestContent", "PUT", vaultAt, `{`},
		{"a list", 400, "InvalidRequestContent", "PUT", vaultAt, `[]`},
		{"properties of another type", 400, "InvalidRequestContent", "PUT", vaultAt, `{"properties":"x"}`},
		{"no secret's value", 400, "BadRequest", "PUT", vaultAt + "/secrets/s", `{"properties":{}}`},
		{"a secret of no vault", 404, "ResourceNotFound", "PUT", at("kv-two") + "/secrets/s", `{"properties":{"value":"v"}}`},
		{"no secret", 404, "SecretNotFound", "GET", vaultAt + "/secrets/s", ""},
		{"a change of no secret", 404, "SecretNotFound", "PATCH", vaultAt + "/secrets/s", `{"properties":{"value":"v"}}`},
		{"a time out of range", 400, "BadRequest", "PUT", vaultAt + "/secrets/s", `{"properties":{"value":"v","attributes":{"exp":-1}}}`},
		{"deleting a secret", 405, "", "DELETE", vaultAt + "/secrets/s", ""},
		{"no deleted vault", 404, "DeletedVaultNotFound", "GET", deletedAt, ""},
		{"a purge of what is not deleted", 404, "DeletedVaultNotFound", "POST", deletedAt + "/purge", ""},
		{"a recovery of what never was", 404, "DeletedVaultNotFound", "PUT", at("kv-two"), vaultWith(`"createMode":"recover"`)},
		{"another operation", 404, "OperationNotFound", "GET", subAt + "/providers/Microsoft.KeyVault/locations/local/operationResults/x", ""},
		{"a name check of another type", 400, "BadRequest", "POST", subAt + "/providers/Microsoft.KeyVault/checkNameAvailability", `{"name":"x","type":"Microsoft.KeyVault/managedHSMs"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := *f
			f.T = t
			if tt.code == "" {
				f.want(tt.status, tt.method, tt.path, tt.body)
				return
			}
			if text := f.refused(tt.status, tt.code, tt.method, tt.path, tt.body); !strings.HasSuffix(text, ".") && !strings.Contains(text, "://") {
				t.Errorf("no sentence: %q", text)
			}
		})
	}
}

// What cannot be undone cannot be undone by a change either.
func TestProtectionIsNotTakenBack(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, vaultWith(`"accessPolicies":[],"softDeleteRetentionInDays":30,"enablePurgeProtection":true`))
	for _, properties := range []string{`"enablePurgeProtection":false`, `"softDeleteRetentionInDays":7`, `"enableSoftDelete":false`} {
		if w := f.call("PATCH", vaultAt, `{"properties":{`+properties+`}}`); w.Code != http.StatusBadRequest {
			t.Errorf("%s answers %d: %s", properties, w.Code, w.Body)
		}
	}
	f.want(200, "DELETE", vaultAt, "")
	f.refused(405, "MethodNotAllowed", "POST", deletedAt+"/purge", "")
	if at(object(f.want(200, "GET", deletedAt, "")), "properties", "purgeProtectionEnabled") != true {
		t.Error("the deleted vault does not show its protection")
	}
}

func TestADeletedVaultKeepsItsName(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underPolicies)
	f.want(200, "DELETE", vaultAt, "")
	text := f.refused(409, "ConflictError", "PUT", vaultAt, underPolicies)
	if text != "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault." {
		t.Error(text)
	}
	f.want(404, "GET", strings.Replace(deletedAt, "/local/", "/elsewhere/", 1), "")
	check := func() any {
		return object(f.want(200, "POST", subAt+"/providers/Microsoft.KeyVault/checkNameAvailability", `{"name":"KV-one","type":"Microsoft.KeyVault/vaults"}`))["nameAvailable"]
	}
	if check() != false {
		t.Error("the name is said to be free")
	}
	f.want(202, "POST", strings.ToUpper(deletedAt)+"/purge", "")
	if check() != true {
		t.Error("the name is not free after the purge")
	}
}

// The status of a purge is about that life of the vault, not about the next one.
func TestAPurgeStaysDoneWhenTheNameIsUsedAgain(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underPolicies)
	f.want(200, "DELETE", vaultAt, "")
	first := f.want(202, "POST", deletedAt+"/purge", "")
	f.want(201, "PUT", vaultAt, underPolicies)
	f.want(200, "DELETE", vaultAt, "")
	f.poll(first)
}

func TestListsComeInPages(t *testing.T) {
	f := newFixture(t)
	var want []string
	for n := range 5 {
		name := fmt.Sprint("kv-", n)
		want = append(want, name)
		f.want(201, "PUT", vaultsAt+"/"+name, underRoles)
	}
	elsewhere := strings.Replace(vaultsAt, "/rg/", "/other/", 1)
	f.want(201, "PUT", elsewhere+"/kv-5", underRoles)
	for _, name := range []string{"a", "b", "c"} {
		f.want(201, "PUT", vaultsAt+"/kv-0/secrets/"+name, `{"properties":{"value":"v"}}`)
	}
	all := func(path string) (names []string) {
		for path += "?$top=2"; path != ""; {
			page := object(f.want(200, "GET", path, ""))
			items, _ := page["value"].([]any)
			if len(items) > 2 {
				t.Errorf("%d items in a page of 2", len(items))
			}
			for _, item := range items {
				names = append(names, fmt.Sprint(at(item, "name")))
			}
			path, _ = page["nextLink"].(string)
		}
		slices.Sort(names)
		return names
	}
	for path, want := range map[string][]string{
		vaultsAt: want, elsewhere: {"kv-5"}, subAt + "/providers/Microsoft.KeyVault/vaults": append(slices.Clone(want), "kv-5"), vaultsAt + "/kv-0/secrets": {"a", "b", "c"},
	} {
		if diff := cmp.Diff(want, all(path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	for _, name := range want {
		f.want(200, "DELETE", vaultsAt+"/"+name, "")
	}
	if diff := cmp.Diff(want, all(subAt+"/providers/Microsoft.KeyVault/deletedVaults")); diff != "" {
		t.Error(diff)
	}
}

func TestConditionsOfRequestsCount(t *testing.T) {
	f := newFixture(t)
	tag := f.want(201, "PUT", vaultAt, underPolicies).Header().Get("ETag")
	f.want(412, "PUT", vaultAt, underPolicies, "If-None-Match", "*")
	f.want(200, "PATCH", vaultAt, `{"tags":{"a":"b"}}`, "If-Match", tag)
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		f.want(412, method, vaultAt, underPolicies, "If-Match", tag)
	}
	f.want(412, "PUT", vaultAt+"/accessPolicies/add", `{"properties":{"accessPolicies":[]}}`, "If-Match", tag)
}

func TestNamesInPathsAreTakenForWhatTheyAre(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a b", "ä", "x.y", "--", strings.Repeat("a", 25), "%00"} {
		if w := f.call("PUT", vaultsAt+"/"+url.PathEscape(name), underRoles); w.Code != http.StatusBadRequest {
			t.Errorf("%q answers %d: %s", name, w.Code, w.Body)
		}
	}
}
