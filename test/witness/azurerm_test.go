package witness

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// azurerm replays the azurerm provider, resource by resource: what a create,
// a read, an update and a destroy send.
func azurerm(t *testing.T, c *caller) {
	r := replaying(c, "2023-12-01", "tf-rg", "tf-app", http.Header{
		"Accept": {"application/json"}, "X-Ms-Correlation-Request-Id": {uuid.NewString()}, "User-Agent": {"HashiCorp Terraform/1.9 terraform-provider-azurerm/5.2.0"},
	})
	r.also = r.provider
	r.run(t, tfMetadata...)
	t.Run("resource group", func(t *testing.T) { r.run(t, tfGroup...) })
	t.Run("service plan", func(t *testing.T) { r.run(t, tfPlan...) })
	t.Run("storage account", func(t *testing.T) { r.run(t, tfStorage...) })
	t.Run("template deployment", func(t *testing.T) { r.templateDeployment(t) })
	t.Run("linux function app", func(t *testing.T) {
		r.run(t, tfAppCreate...)
		r.run(t, tfAppRead...)
		r.run(t, tfAppUpdate...)
		r.run(t, tfAppRead...)
	})
	t.Run("host keys", func(t *testing.T) { r.run(t, tfHostKeys...) })
	t.Run("stopped", func(t *testing.T) {
		r.run(t, step{"POST", "{site}/stop", "", "200", nil})
		r.run(t, tfAppRead...)
		r.run(t, tfHostKeys...)
	})
	t.Run("function", func(t *testing.T) { r.run(t, tfFunction...) })
	t.Run("role assignment", func(t *testing.T) { r.roleAssignment(t) })
	t.Run("destroy", func(t *testing.T) { r.run(t, tfDestroy...) })
}

// provider checks what the provider needs of every answer.
func (r replay) provider(s step, a answer) error {
	if got := a.header.Get("X-Ms-Correlation-Request-Id"); got != r.header.Get("X-Ms-Correlation-Request-Id") {
		return fmt.Errorf("the correlation id is not sent back: %q", got)
	}
	if a.status >= 300 || a.status == http.StatusNoContent {
		return nil
	}
	if len(a.body) > 0 && !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		return fmt.Errorf("the provider reads no %q", a.header.Get("Content-Type"))
	}
	if a.header.Get("Azure-Asyncoperation")+a.header.Get("Location") != "" && s.method != http.MethodDelete {
		return errors.New("the provider would poll")
	}
	state, _ := a.at("properties.provisioningState").(string)
	if slices.Contains([]string{"PUT", "PATCH"}, s.method) && state != "" && state != "Succeeded" {
		return fmt.Errorf("the provider would wait for the end of %s", state)
	}
	return nil
}

var tfMetadata = []step{
	{"GET", "/metadata/endpoints?api-version=2022-09-01", "", "200", []string{
		"name", "resourceManager", "microsoftGraphResourceId", "authentication.loginEndpoint", "authentication.identityProvider=AAD", "authentication.tenant=common",
		"suffixes.storage", "suffixes.keyVaultDns"}},
	{"GET", "{sub}/providers?api-version=2022-09-01", "", "200", []string{"value.0.registrationState=Registered"}},
	{"GET", "{sub}?api-version=2022-12-01", "", "200", []string{"subscriptionId={subid}", "state=Enabled"}},
}

var tfGroup = []step{
	{"GET", "{rg}?api-version=2023-07-01", "", "404", nil},
	{"PUT", "{rg}?api-version=2023-07-01", `{"location":"local","tags":{"team":"shop"}}`, "200|201", []string{"id={rg}"}},
	{"GET", "{rg}?api-version=2023-07-01", "", "200", nil},
	{"GET", "{rg}?api-version=2023-07-01", "", "200", nil},
	{"GET", "{rg}?api-version=2023-07-01", "", "200", []string{"name={group}", "location=local", "tags.team=shop", "properties.provisioningState=Succeeded"}},
}

const (
	tfPlanBody = `{"location":"local","tags":{},"sku":{"name":"Y1"},"properties":{"reserved":true,"hyperV":false,"perSiteScaling":false,"elasticScaleEnabled":false,"zoneRedundant":false}}`

	tfSettings = `{"name":"FUNCTIONS_EXTENSION_VERSION","value":"~4"},{"name":"FUNCTIONS_WORKER_RUNTIME","value":"custom"},` +
		`{"name":"AzureWebJobsStorage","value":"@Microsoft.KeyVault(SecretUri=https://kv.vault.localhost/secrets/s/)"},` +
		`{"name":"WEBSITE_CONTENTSHARE","value":"tf-app-1"}`
	tfAppBody = `{"kind":"functionapp,linux","location":"local","tags":{},"identity":{"type":"None","userAssignedIdentities":null},
	"properties":{"serverFarmId":"{web}/serverFarms/plan","enabled":true,"httpsOnly":false,"clientCertEnabled":false,"clientCertMode":"Optional","dailyMemoryTimeQuota":0,
	"vnetRouteAllEnabled":false,"vnetImagePullEnabled":false,"vnetBackupRestoreEnabled":false,"publicNetworkAccess":"Enabled",
	"siteConfig":{"appSettings":[` + tfSettings + `],"linuxFxVersion":"","alwaysOn":false,"ftpsState":"Disabled","minTlsVersion":"1.2","scmMinTlsVersion":"1.2",
	"loadBalancing":"LeastRequests","managedPipelineMode":"Integrated","http20Enabled":false,"publicNetworkAccess":"Enabled","use32BitWorkerProcess":false}}}`
)

var tfPlan = []step{
	{"GET", "{web}/serverFarms/plan", "", "404", nil},
	{"PUT", "{web}/serverFarms/plan", tfPlanBody, "200|202", []string{"id={web}/serverfarms/plan"}},
	{"GET", "{web}/serverFarms/plan", "", "200", []string{"kind", "sku.name=Y1", "sku.tier=Dynamic", "location=local", "properties.reserved=true"}},
	{"GET", "{web}/serverFarms/plan", "", "200", nil}, // update
	{"PUT", "{web}/serverFarms/plan", tfPlanBody, "200|202", nil},
	{"GET", "{web}/serverFarms/plan", "", "200", nil},
}

const (
	tfStorageBody = `{"kind":"StorageV2","location":"local","tags":{},"identity":{"type":"None","userAssignedIdentities":null},"sku":{"name":"Standard_LRS","tier":"Standard"},
	"properties":{"accessTier":"Hot","allowBlobPublicAccess":true,"allowCrossTenantReplication":false,"allowSharedKeyAccess":true,"defaultToOAuthAuthentication":false,"isHnsEnabled":false,
	"isLocalUserEnabled":true,"isNfsV3Enabled":false,"isSftpEnabled":false,"minimumTlsVersion":"TLS1_2","networkAcls":{"bypass":"AzureServices","defaultAction":"Allow"},
	"publicNetworkAccess":"Enabled","supportsHttpsTrafficOnly":true,"encryption":{"keySource":"Microsoft.Storage","services":{"queue":{"keyType":"Service"},"table":{"keyType":"Service"}}}}}`
	tfAccount = "{rg}/providers/Microsoft.Storage/storageAccounts/tfstorage1"
	tfLatest  = "?api-version=2025-08-01"
)

var tfStorage = []step{
	{"GET", tfAccount + tfLatest, "", "404", nil},
	{"PUT", tfAccount + tfLatest, tfStorageBody, "200|202", nil},
	{"GET", tfAccount + tfLatest, "", "200", nil},
	{"PUT", tfAccount + "/blobServices/default" + tfLatest, `{"properties":{"deleteRetentionPolicy":{"enabled":false},"isVersioningEnabled":false}}`, "200", nil},
	{"PUT", tfAccount + "/fileServices/default" + tfLatest, `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":7}}}`, "200", nil},
	{"GET", tfAccount + tfLatest, "", "200", []string{"id=" + tfAccount, "kind=StorageV2", "location=local", "sku.name=Standard_LRS", "sku.tier=Standard", "properties.primaryEndpoints.blob",
		"properties.primaryEndpoints.file", "properties.primaryEndpoints.queue", "properties.primaryEndpoints.table", "properties.primaryLocation", "properties.accessTier=Hot",
		"properties.supportsHttpsTrafficOnly=true", "properties.minimumTlsVersion=TLS1_2", "properties.networkAcls.defaultAction=Allow", "properties.encryption.keySource=Microsoft.Storage"}},
	{"POST", tfAccount + "/listKeys" + tfLatest + "&$expand=kerb", "", "200", []string{"keys.0.keyName=key1", "keys.0.value", "keys.0.permissions", "keys.1.value"}},
	{"GET", tfAccount + "/blobServices/default" + tfLatest, "", "200", []string{"properties"}},
	{"GET", tfAccount + "/fileServices/default" + tfLatest, "", "200", []string{"properties"}},
	{"GET", tfAccount + "/blobServices/default/containers/packages" + tfLatest, "", "404", nil}, // azurerm_storage_container
	{"PUT", tfAccount + "/blobServices/default/containers/packages" + tfLatest, `{"properties":{"publicAccess":"None"}}`, "200|201", nil},
	{"GET", tfAccount + "/blobServices/default/containers/packages" + tfLatest, "", "200", []string{"name=packages", "properties.publicAccess=None"}},
	{"PATCH", tfAccount + tfLatest, `{"tags":{"a":"b"}}`, "200", []string{"tags.a=b"}},
	{"GET", tfAccount + tfLatest, "", "200", nil},
	{"DELETE", tfAccount + tfLatest, "", "200|204", nil},
	{"GET", tfAccount + tfLatest, "", "404", nil},
}

// tfTemplate makes a plan and an app and gives the app's host key.
const tfTemplate = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
	"parameters":{"app":{"type":"string"}},
	"resources":[
	{"type":"Microsoft.Web/serverfarms","apiVersion":"2023-12-01","name":"templated","location":"[resourceGroup().location]","sku":{"name":"Y1"},"properties":{"reserved":true}},
	{"type":"Microsoft.Web/sites","apiVersion":"2023-12-01","name":"[parameters('app')]","location":"[resourceGroup().location]","kind":"functionapp,linux",
	"dependsOn":["[resourceId('Microsoft.Web/serverfarms','templated')]"],"properties":{"serverFarmId":"[resourceId('Microsoft.Web/serverfarms','templated')]",
	"siteConfig":{"appSettings":[{"name":"FUNCTIONS_WORKER_RUNTIME","value":"custom"}]}}}],
	"outputs":{"key":{"type":"string","value":"[listKeys(concat(resourceId('Microsoft.Web/sites',parameters('app')),'/host/default'),'2022-03-01').functionKeys.default]"},
	"host":{"type":"string","value":"[reference(parameters('app')).defaultHostName]"}}}`

// templateDeployment is azurerm_resource_group_template_deployment.
func (r replay) templateDeployment(t *testing.T) {
	const at = "{rg}/providers/Microsoft.Resources/deployments/tf?api-version=2020-06-01"
	action := func(name string) string { return strings.Replace(at, "?", "/"+name+"?", 1) }
	body := `{"properties":{"mode":"Incremental","debugSetting":{"detailLevel":""},"parameters":{"app":{"value":"tf-templated"}},"template":` + tfTemplate + `}}`
	r.also = nil // this one polls
	r.run(t,
		step{"GET", at, "", "404", nil},
		step{"POST", action("validate"), body, "200|202", []string{"properties.provisioningState", "!error"}},
	)
	put := r.send(t, request{method: "PUT", path: r.names.Replace(at), body: body, header: r.header})
	if put.status != http.StatusOK && put.status != http.StatusCreated {
		t.Fatalf("deployment: %s", put)
	}
	r.await(t, put)
	found := []string{"properties.provisioningState=Succeeded", "properties.outputs.host.value", "properties.outputs.key.value", "properties.outputResources.1.id",
		"properties.providers.0.resourceTypes.0.resourceType", "properties.parameters.app.value=tf-templated"}
	r.run(t,
		step{"GET", at, "", "200", found},
		step{"POST", action("exportTemplate"), "", "200", []string{"template.resources.1.name"}},
		step{"GET", "{sub}/providers/Microsoft.Web?api-version=2022-09-01", "", "200", []string{"resourceTypes.0.apiVersions.0"}},
		step{"DELETE", "{web}/sites/tf-templated?api-version=2023-12-01", "", "200|204", nil},
		step{"DELETE", at, "", "200|202|204", nil},
	)
	until(t, "the deployment is gone", func() bool {
		return r.send(t, request{method: "GET", path: r.names.Replace(at)}).status == http.StatusNotFound
	})
}

// await follows an operation that goes on, by the address that its answer gives.
func (r replay) await(t *testing.T, a answer) {
	t.Helper()
	address := a.header.Get("Azure-Asyncoperation")
	if address == "" {
		return
	}
	if !strings.HasPrefix(address, r.p.Management+"/") {
		t.Fatalf("clients cannot poll %q", address)
	}
	var last answer
	until(t, "the operation is over", func() bool {
		last = r.send(t, request{method: "GET", path: address, header: r.header})
		return slices.Contains([]string{"Succeeded", "Failed", "Canceled"}, last.text("status"))
	})
	if last.text("status") != "Succeeded" {
		t.Fatalf("the operation: %s", last)
	}
}

var tfAppCreate = []step{
	{"GET", "{web}/serverFarms/plan", "", "200", []string{"sku.name"}},
	{"GET", "{site}", "", "404", nil},
	{"POST", "{sub}/providers/Microsoft.Web/checkNameAvailability?api-version=2023-01-01", `{"name":"{app}","type":"Microsoft.Web/sites"}`, "200", []string{"nameAvailable=true", "message="}},
	{"PUT", "{site}", tfAppBody, "200|202", nil},
	{"GET", "{site}", "", "200", nil},
	{"PUT", "{site}/basicPublishingCredentialsPolicies/scm", `{"properties":{"allow":false}}`, "200", nil},
	{"PUT", "{site}/basicPublishingCredentialsPolicies/ftp", `{"properties":{"allow":false}}`, "200", nil},
	{"PUT", "{site}", tfAppBody, "200|202", nil},
	{"GET", "{site}", "", "200", nil},
	{"PUT", "{site}/config/slotConfigNames", `{"properties":{"appSettingNames":["AzureWebJobsStorage"],"connectionStringNames":null}}`, "200", nil},
	{"PUT", "{site}/config/authsettings", `{"properties":{"enabled":false}}`, "200", nil},
	{"PUT", "{site}/config/authsettingsV2", `{"properties":{"platform":{"enabled":false}}}`, "200", nil},
	{"PUT", "{site}/config/azurestorageaccounts", `{"properties":{}}`, "200", nil},
	{"PUT", "{site}/config/connectionstrings", `{"properties":{"Db":{"value":"Server=x","type":"SQLAzure"}}}`, "200", nil},
	{"PUT", "{site}/config/logs", `{"properties":{"applicationLogs":{"fileSystem":{"level":"Off"}}}}`, "200", nil},
}

// tfAppRead is the provider's refresh, in its order. Anything but 200 ends a plan.
var tfAppRead = []step{
	{"GET", "{site}", "", "200", []string{
		"id={site}", "kind=functionapp,linux", "location=local", "properties.siteConfig", "!properties.inProgressOperationId", "properties.serverFarmId={web}/serverfarms/plan",
		"properties.hostNameSslStates.1.hostType=Repository", "properties.defaultHostName", "properties.enabled=true", "properties.customDomainVerificationId", "properties.outboundIpAddresses"}},
	{"POST", "{site}/config/appSettings/list", "", "200", []string{"properties.FUNCTIONS_EXTENSION_VERSION=~4", "properties.WEBSITE_CONTENTSHARE=tf-app-1"}},
	{"POST", "{site}/config/connectionStrings/list", "", "200", []string{"properties.Db.value=Server=x", "properties.Db.type=SQLAzure"}},
	{"GET", "{site}/config/slotConfigNames", "", "200", []string{"properties.appSettingNames.0=AzureWebJobsStorage", "properties.connectionStringNames"}},
	{"POST", "{site}/config/azurestorageaccounts/list", "", "200", []string{"properties"}},
	{"POST", "{site}/config/publishingcredentials/list", "", "200", []string{"properties.publishingUserName=${app}", "properties.publishingPassword"}},
	{"GET", "{site}/config/publishingcredentials", "", "200|404|405", nil}, // whatever it is
	{"POST", "{site}/config/publishingcredentials/list", "", "200", nil},
	{"POST", "{site}/config/authsettings/list", "", "200", []string{"properties"}},
	{"GET", "{site}/config/authsettingsV2/list", "", "200", []string{"properties"}},
	{"POST", "{site}/config/backup/list", "", "200|404", nil},
	{"GET", "{site}/config/logs", "", "200", []string{"properties.applicationLogs", "properties.httpLogs.fileSystem"}},
	{"GET", "{site}/basicPublishingCredentialsPolicies/ftp", "", "200", []string{"properties.allow=false"}},
	{"GET", "{site}/basicPublishingCredentialsPolicies/scm", "", "200", []string{"properties.allow=false"}},
	{"GET", "{site}/config/web", "", "200", []string{
		"properties.ftpsState=Disabled", "properties.minTlsVersion=1.2", "properties.scmMinTlsVersion=1.2", "properties.loadBalancing=LeastRequests",
		"properties.managedPipelineMode=Integrated", "properties.ipSecurityRestrictionsDefaultAction=Allow", "properties.linuxFxVersion="}},
}

var tfAppUpdate = []step{
	{"GET", "{site}", "", "200", nil},
	{"GET", "{site}", "", "200", nil},
	{"GET", "{web}/serverFarms/plan", "", "200", nil},
	{"POST", "{site}/config/appSettings/list", "", "200", nil},
	{"PUT", "{site}", tfAppBody, "200|202", nil},
	{"PATCH", "{site}/config/web", `{"properties":{"alwaysOn":false,"ftpsState":"Disabled"}}`, "200", nil},
}

var tfHostKeys = []step{
	{"GET", "{site}", "", "200", nil},
	{"POST", "{site}/host/default/listKeys", "", "200", []string{"masterKey", "functionKeys.default", "systemKeys"}},
}

// tfFunction is refused with words: an app runs from a package.
var tfFunction = []step{
	{"GET", "{site}/functions/hook", "", "400|404", nil},
	{"GET", "{site}", "", "200", []string{"!properties.inProgressOperationId"}},
	{"PUT", "{site}/functions/hook", `{"properties":{"config":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function"}]},"language":"Custom","isDisabled":false}}`,
		"400", []string{"error.code=NotSupported", "Message"}},
	{"GET", "{site}", "", "200", []string{"properties.siteConfig"}},
	{"DELETE", "{site}/functions/hook", "", "204|404", nil},
}

// roleAssignment gives the app's scope a role for a principal.
func (r replay) roleAssignment(t *testing.T) {
	_, object := r.principal(t, "terraform")
	id := uuid.NewString()
	at := "{site}/providers/Microsoft.Authorization/roleAssignments/" + id + "?api-version=2022-04-01"
	found := r.send(t, request{method: "GET", header: r.header, path: r.names.Replace("{site}/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-05-01-preview&$filter=" + escape("roleName eq 'Website Contributor'"))})
	definition := found.text("value.0.id")
	if found.has("!value.1") != nil || !strings.HasSuffix(definition, websiteContributor) {
		t.Fatalf("the provider needs exactly one role of a name: %s", found)
	}
	read := step{"GET", at, "", "200", []string{"id", "properties.principalId=" + object, "properties.scope={site}", "properties.roleDefinitionId=" + definition, "properties.principalType=ServicePrincipal"}}
	r.run(t,
		step{"GET", at, "", "404", nil},
		step{"PUT", at, `{"properties":{"roleDefinitionId":"` + definition + `","principalId":"` + object + `","principalType":"ServicePrincipal"}}`, "201", []string{"id"}},
		read, read, read, read, read, // until it is there five times
		read,
		step{"GET", definition + "?api-version=2022-05-01-preview", "", "200", []string{"properties.roleName=Website Contributor", "properties.permissions.0.actions"}},
		step{"DELETE", at, "", "200|204|404", nil},
		step{"GET", at, "", "404", nil},
	)
}

var tfDestroy = []step{
	{"DELETE", "{site}?deleteEmptyServerFarm=false&deleteMetrics=false", "", "200|204", nil},
	{"GET", "{site}", "", "404", nil},
	{"DELETE", "{web}/serverFarms/plan", "", "200|204", nil},
	{"GET", "{web}/serverFarms/plan", "", "404", nil},
	{"GET", "{rg}/resources?api-version=2023-07-01&$expand=provisioningState&$top=10", "", "200", []string{"value", "!value.0"}},
	{"DELETE", "{rg}?api-version=2023-07-01", "", "200|202", nil},
	{"GET", "{rg}?api-version=2023-07-01", "", "404", nil},
}
