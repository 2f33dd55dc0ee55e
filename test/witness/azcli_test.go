package witness

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// az replays commands of the az command-line client.
func az(t *testing.T, c *caller) {
	r := replaying(c, "2023-01-01", "az-rg", "az-app", http.Header{
		"User-Agent": {"AZURECLI/2.64.0"}, "X-Ms-Client-Request-Id": {uuid.NewString()}, "X-Ms-Return-Client-Request-Id": {"true"},
		"Accept": {"application/json"}, "Accept-Language": {"en-US"},
	})
	t.Run("login", func(t *testing.T) { r.login(t) })
	t.Run("group", func(t *testing.T) { r.run(t, azGroup...) })
	t.Run("storage account", func(t *testing.T) { r.run(t, azStorage...) })
	t.Run("deployment group", func(t *testing.T) { r.deployment(t) })
	t.Run("functionapp create", func(t *testing.T) { r.run(t, azCreate...) })
	t.Run("functionapp config appsettings", func(t *testing.T) { r.run(t, azSettings...) })
	t.Run("functionapp deployment source config-zip", func(t *testing.T) { r.configZip(t) })
	t.Run("functionapp keys", func(t *testing.T) { r.run(t, azKeys...) })
	t.Run("functionapp function", func(t *testing.T) { r.run(t, azFunction...) })
	t.Run("functionapp identity", func(t *testing.T) { r.identity(t) })
	t.Run("functionapp show, stop, start, restart, list, config set, cors", func(t *testing.T) { r.run(t, azShow...) })
	t.Run("role assignment", func(t *testing.T) { r.azRole(t) })
	t.Run("functionapp delete", func(t *testing.T) { r.run(t, azDelete...) })
}

// login is az login --service-principal.
func (r replay) login(t *testing.T) {
	t.Helper()
	none := http.Header{"Authorization": {""}}
	discovery := r.send(t, request{method: "GET", path: "/" + r.cred.TenantID + "/v2.0/.well-known/openid-configuration", header: none})
	endpoint := discovery.text("token_endpoint")
	if !strings.HasPrefix(endpoint, r.p.Management+"/") {
		t.Fatalf("discovery: %s", discovery)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {r.cred.ClientID}, "client_secret": {r.cred.ClientSecret}, "scope": {r.p.Management + "//.default"}}
	signed := r.send(t, request{method: "POST", path: endpoint, body: form.Encode(), header: http.Header{"Authorization": {""}, "Content-Type": {"application/x-www-form-urlencoded"}}})
	if signed.text("access_token") == "" {
		t.Fatalf("token: %d %s", signed.status, signed.text("error_description"))
	}
	r.header.Set("Authorization", "Bearer "+signed.text("access_token"))
	defer r.header.Del("Authorization")
	r.run(t, step{"GET", "/subscriptions?api-version=2022-12-01", "", "200", []string{"value.0.id={sub}", "value.0.state=Enabled", "value.0.tenantId", "value.0.displayName"}},
		step{"GET", "/tenants?api-version=2022-12-01", "", "200", []string{"value.0.tenantId"}},
		step{"GET", "{sub}/locations?api-version=2022-12-01", "", "200", []string{"value.0.name=local", "value.0.displayName"}},
		step{"GET", "/metadata/endpoints?api-version=2015-01-01", "", "200", []string{"galleryEndpoint", "authentication.loginEndpoint", "authentication.audiences.0"}},
		step{"GET", "/metadata/endpoints?api-version=2019-05-01", "", "200", []string{"0.name", "0.resourceManager", "0.sqlManagement", "0.batch", "0.gallery", "0.graphAudience",
			"0.media", "0.vmImageAliasDoc", "0.authentication.audiences.0", "0.suffixes.sqlServerHostname"}})
}

var azGroup = []step{
	{"HEAD", "{sub}/resourcegroups/{group}?api-version=2022-09-01", "", "404", nil}, // az group exists
	{"PUT", "{sub}/resourcegroups/{group}?api-version=2022-09-01", `{"location":"local"}`, "200|201", []string{"name={group}"}},
	{"HEAD", "{sub}/resourcegroups/{group}?api-version=2022-09-01", "", "204", nil},
	{"GET", "{sub}/providers/Microsoft.Web?api-version=2022-09-01", "", "200", []string{"registrationState=Registered"}},
	{"POST", "{sub}/providers/Microsoft.Web/register?api-version=2022-09-01", "", "200", []string{"registrationState=Registered"}},
}

// azStorage is az storage account create, and how az functionapp create reads it.
var azStorage = []step{
	{"POST", "{sub}/providers/Microsoft.Storage/checkNameAvailability?api-version=2023-05-01", `{"name":"azstorage1","type":"Microsoft.Storage/storageAccounts"}`, "200", []string{"nameAvailable=true"}},
	{"PUT", "{rg}/providers/Microsoft.Storage/storageAccounts/azstorage1?api-version=2023-05-01", `{"sku":{"name":"Standard_LRS"},"kind":"StorageV2","location":"local","properties":{"encryption":{"services":{"blob":{}},"keySource":"Microsoft.Storage"},"accessTier":"Hot"}}`, "200|202", nil},
	{"GET", "{rg}/providers/Microsoft.Storage/storageAccounts/azstorage1?api-version=2023-05-01", "", "200", []string{"properties.primaryEndpoints.blob", "properties.primaryEndpoints.queue", "properties.primaryEndpoints.table", "properties.primaryEndpoints.file", "sku.name"}},
	{"POST", "{rg}/providers/Microsoft.Storage/storageAccounts/azstorage1/listKeys?api-version=2018-02-01", "", "200", []string{"keys.0.value", "keys.0.keyName"}},
	{"GET", "{sub}/providers/Microsoft.Storage/storageAccounts?api-version=2023-05-01", "", "200", []string{"value.0.name"}},
	{"DELETE", "{rg}/providers/Microsoft.Storage/storageAccounts/azstorage1?api-version=2023-05-01", "", "200|204", nil},
}

// deployment is az deployment group create: the template is spliced into the body
// as it is in the file, comments and all.
func (r replay) deployment(t *testing.T) {
	t.Helper()
	const at = "{rg}/providers/Microsoft.Resources/deployments/az?api-version=2022-09-01"
	action := func(name string) string { return strings.Replace(at, "?", "/"+name+"?", 1) }
	body := `{"properties": {"parameters": {"name": {"value": "azplan"}}, "mode": "Incremental", template:{
  // the plan of the shop
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {"name": {"type": "string"}}, /* one size */
  "resources": [{"type": "Microsoft.Web/serverfarms", "apiVersion": "2023-12-01", "name": "[parameters('name')]", "location": "[resourceGroup().location]", "sku": {"name": "Y1"}}],
  "outputs": {"id": {"type": "string", "value": "[resourceId('Microsoft.Web/serverfarms', parameters('name'))]"}}
}}}`
	r.run(t, step{"POST", action("validate"), body, "200|202", []string{"properties.validatedResources.0.id={web}/serverfarms/azplan"}})
	put := r.send(t, request{method: "PUT", path: r.names.Replace(at), body: body, header: r.header})
	if put.status != http.StatusCreated || put.header.Get("Azure-Asyncoperation") == "" && put.has("properties.provisioningState=Succeeded") != nil {
		t.Fatalf("az takes a 201 that is over, or that tells where to ask: %s %v", put, put.header)
	}
	r.await(t, put)
	r.run(t,
		step{"GET", at, "", "200", []string{"properties.provisioningState=Succeeded", "properties.outputs.id.value={web}/serverfarms/azplan", "properties.templateHash", "properties.duration"}},
		step{"GET", action("operations"), "", "200", []string{"value.0.properties.provisioningState=Succeeded"}},
		step{"GET", "{sub}/resourcegroups/{group}/deployments/az/operations?api-version=2022-09-01", "", "200", []string{"value.0"}},
		step{"GET", "{rg}/providers/Microsoft.Resources/deployments/?api-version=2022-09-01", "", "200", []string{"value.0.name=az"}},
		step{"HEAD", at, "", "204", nil},
		step{"GET", "{web}/serverfarms/azplan", "", "200", nil},
		step{"DELETE", "{web}/serverfarms/azplan", "", "200|204", nil},
	)
	changes := r.send(t, request{method: "POST", path: r.names.Replace(action("whatIf")), body: body, header: r.header})
	if changes.status == http.StatusAccepted {
		if changes.header.Get("Location") == "" {
			t.Fatal("az has no address to ask for the changes")
		}
		until(t, "the changes are known", func() bool {
			changes = r.send(t, request{method: "GET", path: changes.header.Get("Location"), header: r.header})
			return changes.status != http.StatusAccepted
		})
	}
	if changes.has("status=Succeeded") != nil || changes.has("properties.changes.0.changeType=Create") != nil {
		t.Errorf("what-if: %s", changes)
	}
}

// azCreate is az functionapp create --consumption-plan-location: no plan is named.
var azCreate = []step{
	{"GET", "/providers/Microsoft.Web/functionAppStacks?stackOsType=Linux&removeHiddenStacks=true", "", "200", []string{"value.0.properties.majorVersions.0.minorVersions.0.stackSettings.linuxRuntimeSettings"}},
	{"GET", "{sub}/providers/Microsoft.Web/geoRegions?sku=Dynamic&linuxWorkersEnabled=true", "", "200", []string{"value.0.name"}},
	{"POST", "{sub}/providers/Microsoft.Web/checknameavailability", `{"name":"{app}","type":"Microsoft.Web/sites"}`, "200", []string{"nameAvailable=true"}},
	{"PUT", "{site}", `{"kind":"functionapp,linux","location":"local","properties":{"reserved":true,"isXenon":false,"hyperV":false,
		"siteConfig":{"netFrameworkVersion":"v4.6","linuxFxVersion":"","appSettings":[{"name":"FUNCTIONS_WORKER_RUNTIME","value":"custom"},{"name":"FUNCTIONS_EXTENSION_VERSION","value":"~4"},
		{"name":"AzureWebJobsStorage","value":"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5"}],"use32BitWorkerProcess":false,"localMySqlEnabled":false,"http20Enabled":true},
		"scmSiteAlsoStopped":false,"httpsOnly":false}}`, "200|202", []string{"properties.serverFarmId", "properties.sku=Dynamic", "properties.state=Running", "properties.defaultHostName"}},
	{"GET", "{site}", "", "200", []string{"properties.serverFarmId"}},
	{"POST", "{site}/config/appsettings/list", "", "200", nil},
	{"PUT", "{site}/config/appsettings", `{"properties":{"FUNCTIONS_WORKER_RUNTIME":"custom","FUNCTIONS_EXTENSION_VERSION":"~4","APPLICATIONINSIGHTS_CONNECTION_STRING":"InstrumentationKey=0"}}`, "200", nil},
}

var azSettings = []step{
	{"POST", "{site}/config/appsettings/list", "", "200", []string{"properties.FUNCTIONS_WORKER_RUNTIME=custom"}},
	{"GET", "{site}/config/slotConfigNames", "", "200", []string{"properties"}},
	{"PUT", "{site}/config/appsettings", `{"kind":null,"properties":{"FUNCTIONS_WORKER_RUNTIME":"custom","GREETING":"hello"}}`, "200", []string{"properties.GREETING=hello", "name=appsettings"}},
	{"PUT", "{site}/config/slotConfigNames", `{"properties":{"appSettingNames":["GREETING"]}}`, "200", nil}, // --slot-settings
	{"POST", "{site}/config/appsettings/list", "", "200", []string{"properties.GREETING=hello", "!properties.FUNCTIONS_EXTENSION_VERSION"}},
	{"GET", "{site}/config/slotConfigNames", "", "200", []string{"properties.appSettingNames.0=GREETING"}},
	{"PUT", "{site}/config/appsettings", `{"properties":{"FUNCTIONS_WORKER_RUNTIME":"custom"}}`, "200", []string{"!properties.GREETING"}}, // delete
}

func (r replay) configZip(t *testing.T) {
	t.Helper()
	site := r.send(t, request{method: "GET", path: r.names.Replace("{site}?api-version=2023-01-01")})
	if site.has("properties.hostNameSslStates.1.hostType=Repository") != nil {
		t.Fatalf("az does not find the host to deploy to: %s", site)
	}
	sent := r.send(t, request{method: "POST", path: r.names.Replace("{scm}/api/zipdeploy?isAsync=true"), body: zip(t), header: http.Header{
		"Content-Type": {"application/octet-stream"}, "Cache-Control": {"no-cache"}, "User-Agent": r.header["User-Agent"]}})
	if sent.status != http.StatusAccepted && sent.status != http.StatusOK {
		t.Fatalf("zip: %s", sent)
	}
	location := sent.header.Get("Location")
	if location == "" {
		t.Fatal("az has no address to ask for the outcome")
	}
	until(t, "the deployment is over", func() bool {
		a := r.send(t, request{method: "GET", path: location})
		return a.has("status=4") == nil && a.has("complete=true") == nil
	})
}

var azKeys = []step{
	{"POST", "{site}/host/default/listkeys", "", "200", []string{"masterKey", "functionKeys.default", "systemKeys"}},
	{"PUT", "{site}/host/default/functionKeys/mine", `{"properties":{"name":"mine","value":"a-key-of-my-own-0123456789"}}`, "201", []string{
		"id={site}/host/default/functionKeys/mine", "name=mine", "type=Microsoft.Web/sites/host/functionKeys", "properties.value=a-key-of-my-own-0123456789"}},
	{"PUT", "{site}/host/default/functionKeys/mine", `{"name":"mine","value":"another-key-0123456789"}`, "200", []string{"value=another-key-0123456789"}},
	{"PUT", "{site}/host/default/systemKeys/mine", `{"properties":{"name":"mine"}}`, "201", []string{"properties.value"}},
	{"PUT", "{site}/host/default/masterKey/_master", `{"properties":{"name":"_master"}}`, "200|201", []string{"properties.value"}},
	{"DELETE", "{site}/host/default/functionKeys/mine", "", "204", nil},
	{"DELETE", "{site}/host/default/functionKeys/mine", "", "404", nil},
	{"DELETE", "{site}/host/default/systemKeys/mine", "", "204", nil},
	{"PUT", "{site}/functions/f/keys/mine", `{"properties":{"name":"mine","value":"a-key-of-my-own-0123456789"}}`, "201", []string{"name=mine", "type=Microsoft.Web/sites/functions/keys"}},
	{"PUT", "{site}/functions/f/keys/mine", `{"name":"mine"}`, "200", []string{"properties.value"}},
	{"POST", "{site}/functions/f/listkeys", "", "200", []string{"default", "mine"}},
	{"DELETE", "{site}/functions/f/keys/mine", "", "204", nil},
	{"POST", "{site}/functions/nope/listkeys", "", "404", nil},
}

var azFunction = []step{
	{"GET", "{site}/functions", "", "200", []string{"value.0.name={app}/f"}},
	{"GET", "{site}/functions/f", "", "200", []string{"name={app}/f", "properties.invoke_url_template", "properties.config.bindings"}},
	{"GET", "{site}/functions/nope", "", "404", nil},
}

// identity is az functionapp identity assign, show and remove: the whole answer is
// sent back with another identity.
func (r replay) identity(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"SystemAssigned", "None"} {
		site := r.send(t, request{method: "GET", path: r.names.Replace("{site}?api-version=2023-01-01")})
		var body map[string]any
		must(t, json.Unmarshal(site.body, &body))
		body["identity"] = map[string]any{"type": kind}
		text, err := json.Marshal(body)
		must(t, err)
		r.run(t, step{"PUT", "{site}", string(text), "200|202", nil})
		show := []string{"identity.type=SystemAssigned"}
		if kind == "None" {
			show = []string{"!identity"}
		}
		r.run(t, step{"GET", "{site}", "", "200", show})
	}
}

var azShow = []step{
	{"GET", "{site}", "", "200", []string{"id={site}", "properties.state=Running"}},
	{"POST", "{site}/stop", "", "200", nil},
	{"GET", "{site}", "", "200", []string{"properties.state=Stopped", "properties.availabilityState=Normal", "properties.enabled=true"}},
	{"POST", "{site}/host/default/listkeys", "", "200", []string{"masterKey"}},
	{"POST", "{site}/start", "", "200", nil},
	{"POST", "{site}/restart", "", "200", nil},
	{"GET", "{sub}/providers/Microsoft.Web/sites", "", "200", []string{"value.0.kind"}},
	{"GET", "{web}/sites", "", "200", []string{"value.0.name={app}", "!value.1"}},
	{"GET", "{site}/config/web", "", "200", nil},
	{"PUT", "{site}/config/web", `{"properties":{"cors":{"allowedOrigins":["https://example.org"]},"http20Enabled":true}}`, "200", []string{"properties.cors.allowedOrigins.0=https://example.org"}},
	{"GET", "{site}?api-version=2023-12-01", "", "200", nil},
	{"GET", "{sub}/resources?api-version=2022-09-01&$filter=resourceType%20eq%20%27Microsoft.Web%2Fsites%27", "", "200", []string{"value.0.type=Microsoft.Web/sites"}},
	{"POST", "{site}/publishxml", `{"format":"WebDeploy"}`, "200", nil},
	{"GET", "{sub}/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=" + "eventTimestamp%20ge%20%272020-01-01T00%3A00%3A00Z%27", "", "200", []string{"value.0"}},
}

// azRole is az role assignment create, list and delete.
func (r replay) azRole(t *testing.T) {
	t.Helper()
	_, object := r.principal(t, "az")
	found := r.do(t, "GET", r.names.Replace("{rg}/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=")+escape("roleName eq 'reader'"), "")
	at := "{rg}/providers/Microsoft.Authorization/roleAssignments"
	id := at + "/" + uuid.NewString() + "?api-version=2022-04-01"
	body := `{"properties":{"roleDefinitionId":"` + found.text("value.0.id") + `","principalId":"` + object + `","principalType":"ServicePrincipal"}}`
	r.run(t,
		step{"PUT", id, body, "200|201", []string{"properties.principalId=" + object}},
		step{"PUT", at + "/" + uuid.NewString() + "?api-version=2022-04-01", body, "409", []string{"error.code=RoleAssignmentExists"}},
		step{"GET", at + "?api-version=2022-04-01&$filter=" + escape("principalId eq '"+object+"'"), "", "200", []string{"value.0.properties.scope={rg}", "!value.1"}},
		step{"GET", at + "?api-version=2022-04-01&$filter=" + escape("assignedTo('"+object+"')"), "", "200", []string{"value.0.properties.scope={rg}"}},
		step{"GET", at + "?api-version=2022-04-01&$filter=" + escape("atScope()"), "", "200", []string{"value.0"}},
		step{"DELETE", id, "", "200|204", nil},
		step{"DELETE", id, "", "204", nil},
	)
}

var azDelete = []step{
	{"DELETE", "{site}", "", "200|204", nil},
	{"GET", "{site}", "", "404", []string{"error.code=ResourceNotFound", "Code=ResourceNotFound"}},
	{"GET", "{web}/serverfarms", "", "200", []string{"value", "!value.0"}}, // the plan that came with the app goes with it
	{"DELETE", "{sub}/resourcegroups/{group}?api-version=2022-09-01", "", "200|202", nil},
	{"HEAD", "{sub}/resourcegroups/{group}?api-version=2022-09-01", "", "404", nil},
}
