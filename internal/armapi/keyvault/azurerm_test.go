package keyvault_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/resource"
)

// step is a call of the azurerm provider and the statuses it takes.
type step struct {
	method, path, body string
	statuses           string
}

// replay sends what the provider sends, and checks of each answer what it needs.
func (f *fixture) replay(steps ...step) {
	f.Helper()
	f.version = "2026-02-01"
	for _, s := range steps {
		w := f.call(s.method, s.path, s.body, "X-Ms-Correlation-Request-Id", "11111111-1111-1111-1111-111111111111")
		if !strings.Contains(s.statuses, fmt.Sprint(w.Code)) {
			f.Fatalf("%s %s answers %d, not %s: %s", s.method, s.path, w.Code, s.statuses, w.Body)
		}
		if w.Code == http.StatusAccepted {
			f.poll(w)
			continue
		}
		f.settled(s, w)
	}
}

// settled checks an answer after which the provider must not wait.
func (f *fixture) settled(s step, w *httptest.ResponseRecorder) {
	f.Helper()
	if h := w.Header(); h.Get("Azure-Asyncoperation")+h.Get("Location") != "" {
		f.Errorf("%s %s: the provider would poll: %v", s.method, s.path, h)
	}
	if w.Code >= 300 || w.Body.Len() == 0 {
		return
	}
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		f.Errorf("%s %s: the provider reads no %q", s.method, s.path, w.Header().Get("Content-Type"))
	}
	m := object(w)
	if at(m, "type") != "Microsoft.KeyVault/vaults" {
		return
	}
	if at(m, "properties", "provisioningState") != "Succeeded" {
		f.Errorf("%s %s: the provider would wait: %s", s.method, s.path, w.Body)
	}
	u, err := url.Parse(fmt.Sprint(at(m, "properties", "vaultUri")))
	if labels := strings.Split(u.Hostname(), "."); err != nil || len(labels) < 3 || labels[1] != "vault" || u.Path != "/" {
		f.Errorf("%s %s: the provider takes no vault at %v", s.method, s.path, u)
	}
}

// poll follows a long-running operation as the provider does: the path and query
// of the header, until the status says that it is over.
func (f *fixture) poll(w *httptest.ResponseRecorder) {
	f.Helper()
	for _, header := range []string{"Azure-Asyncoperation", "Location"} {
		u, err := url.Parse(w.Header().Get(header))
		if err != nil || !u.IsAbs() {
			f.Fatalf("%s is no absolute URL: %q", header, w.Header().Get(header))
		}
		got := f.want(http.StatusOK, "GET", u.RequestURI(), "")
		if object(got)["status"] != "Succeeded" || !strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
			f.Errorf("%s: %s", header, got.Body)
		}
	}
}

// tfVault is the body with which the provider creates a vault.
var tfVault = fmt.Sprintf(`{"location":"local","properties":{"accessPolicies":[%s],"enableRbacAuthorization":false,"enabledForDeployment":false,
	"enabledForDiskEncryption":false,"enabledForTemplateDeployment":false,"networkAcls":{"bypass":"AzureServices","defaultAction":"Allow"},
	"publicNetworkAccess":"Enabled","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7,"tenantId":%q},"tags":{}}`,
	policyFor(owner, "Get", "List", "Set", "Delete", "Recover", "Purge"), tenant)

func TestTerraformManagesVaults(t *testing.T) {
	f := newFixture(t)
	f.replay(
		step{"GET", vaultAt, "", "404"},
		step{"GET", deletedAt, "", "404"},
		step{"PUT", vaultAt, tfVault, "200 201"},
		step{"GET", vaultAt, "", "200"},
		step{"GET", vaultAt, "", "200"},
	)
	if got := f.property(vaultAt, "softDeleteRetentionInDays"); got != 7.0 {
		t.Errorf("retention: %v", got)
	}
	f.replay( // an update
		step{"GET", vaultAt, "", "200"},
		step{"PATCH", vaultAt, `{"properties":{"enabledForTemplateDeployment":true,"networkAcls":{"bypass":"AzureServices","defaultAction":"Deny","ipRules":[{"value":"127.0.0.1/32"}],"virtualNetworkRules":[]}}}`, "200 201"},
		step{"GET", vaultAt, "", "200"},
	)
	if got := f.property(vaultAt, "enabledForTemplateDeployment"); got != true {
		t.Errorf("enabledForTemplateDeployment: %v", got)
	}
	if got := at(f.property(vaultAt, "networkAcls"), "defaultAction"); got != "Deny" {
		t.Errorf("defaultAction: %v", got)
	}
	if got := at(f.property(vaultAt, "accessPolicies"), 0, "objectId"); got != owner {
		t.Errorf("PATCH without access policies leaves %v", got)
	}
	f.replay( // azurerm_key_vault_access_policy: create, update, destroy
		step{"GET", vaultAt, "", "200"},
		step{"PUT", vaultAt + "/accessPolicies/add", `{"properties":{"accessPolicies":[` + policyFor(bob, "Get") + `]}}`, "200 201"},
		step{"GET", vaultAt, "", "200"}, step{"GET", vaultAt, "", "200"}, step{"GET", vaultAt, "", "200"},
	)
	f.wantPolicies(owner+" 6", bob+" 1")
	f.replay(
		step{"PUT", vaultAt + "/accessPolicies/replace", `{"properties":{"accessPolicies":[` + policyFor(bob, "List", "Set") + `]}}`, "200 201"},
		step{"GET", vaultAt, "", "200"},
	)
	f.wantPolicies(owner+" 6", bob+" 2")
	f.replay(
		step{"GET", vaultAt, "", "200"},
		step{"PUT", vaultAt + "/accessPolicies/remove", `{"properties":{"accessPolicies":[` + policyFor(bob, "List", "Set") + `]}}`, "200 201"},
		step{"GET", vaultAt, "", "200"},
	)
	f.wantPolicies(owner + " 6")
	f.replay( // azurerm_key_vault_secret looks the vault up by its address
		step{"GET", subAt + "/providers/Microsoft.KeyVault/vaults", "", "200"},
	)
	f.replay( // destroy with purge_soft_delete_on_destroy
		step{"GET", vaultAt, "", "200"},
		step{"DELETE", vaultAt, "", "200 204"},
		step{"GET", deletedAt, "", "200"},
		step{"POST", deletedAt + "/purge", "", "202"},
		step{"GET", deletedAt, "", "404"},
		step{"GET", vaultAt, "", "404"},
		step{"PUT", vaultAt, tfVault, "200 201"}, // the name is free again
	)
}

// wantPolicies checks the access policies: object ids with how many permissions for
// secrets they have.
func (f *fixture) wantPolicies(want ...string) {
	f.Helper()
	var got []string
	list, _ := f.property(vaultAt, "accessPolicies").([]any)
	for _, p := range list {
		names, _ := at(p, "permissions", "secrets").([]any)
		got = append(got, fmt.Sprint(at(p, "objectId"), " ", len(names)))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("access policies: %v, not %v", got, want)
	}
}

// Terraform finds the vault of a secret's address among the resources.
func TestVaultsAreAmongTheResources(t *testing.T) {
	f := newFixture(t)
	base, err := resources.New(resources.Config{Inventory: f.inv, Authorize: f.roles, TenantID: tenant, SubscriptionID: sub,
		Permissions: func(context.Context, arm.Caller, resource.ID) ([]authz.Permission, error) { return nil, nil }})
	f.must(err)
	f.serve(base.Operations()...)
	f.want(201, "PUT", vaultAt, underPolicies)
	f.want(201, "PUT", vaultAt+"/secrets/db", `{"properties":{"value":"v"}}`)
	path := subAt + "/resources?$filter=" + url.QueryEscape("resourceType eq 'Microsoft.KeyVault/vaults'") + "&$top=1000&api-version=2015-11-01"
	w := f.want(200, "GET", path, "")
	if m := object(w); at(m, "value", 0, "id") != vaultAt || at(m, "value", 0, "type") != "Microsoft.KeyVault/vaults" || at(m, "value", 1) != nil {
		t.Errorf("%s", w.Body)
	}
	f.want(200, "DELETE", vaultAt, "")
	if w := f.want(200, "GET", path, ""); at(object(w), "value", 0) != nil {
		t.Errorf("after its deletion: %s", w.Body)
	}
}

// A vault that was deleted without being purged is recovered when it is created
// again, which azurerm does by default.
func TestTerraformRecoversVaults(t *testing.T) {
	f := newFixture(t)
	f.replay(
		step{"PUT", vaultAt, tfVault, "200 201"},
		step{"PUT", vaultAt + "/secrets/db", `{"properties":{"value":"kept"}}`, "200 201"},
		step{"DELETE", vaultAt, "", "200 204"},
		step{"GET", vaultAt, "", "404"},
		step{"GET", deletedAt, "", "200"},
		step{"PUT", vaultAt, strings.Replace(tfVault, `"properties":{`, `"properties":{"createMode":"recover",`, 1), "200 201"},
		step{"GET", vaultAt, "", "200"},
		step{"GET", deletedAt, "", "404"},
		step{"GET", vaultAt + "/secrets/db", "", "200"},
	)
	if got := f.property(vaultAt, "createMode"); got != nil {
		t.Errorf("createMode is shown: %v", got)
	}
}
