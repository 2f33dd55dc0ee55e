package sites

import (
	"context"
	"math"

	"github.com/latchkey/latchkey/internal/app"
)

// web gives an app's whole configuration: what was set over the defaults. It
// never has app settings or connection strings.
func (api *API) web(ctx context.Context, a app.App) (map[string]any, error) {
	v, err := api.Apps.Section(ctx, a.ID, app.Web)
	if err != nil {
		return nil, missing(err, a.ID)
	}
	web := webDefaults(a.Name)
	return web, overlay(web, v.JSON)
}

// webDefaults are what Terraform's provider and the command line expect of an app
// on Linux whose configuration nobody set.
func webDefaults(name string) map[string]any {
	return map[string]any{
		"acrUseManagedIdentityCreds": false, "acrUserManagedIdentityID": nil, "alwaysOn": false, "apiDefinition": nil, "apiManagementConfig": nil,
		"appCommandLine": "", "appSettings": nil, "autoHealEnabled": false, "autoHealRules": nil, "autoSwapSlotName": nil,
		"azureStorageAccounts": map[string]any{}, "connectionStrings": nil, "cors": nil, "defaultDocuments": []string{},
		"detailedErrorLoggingEnabled": false, "documentRoot": nil, "elasticWebAppScaleLimit": 0, "experiments": map[string]any{"rampUpRules": []any{}},
		"ftpsState": "Disabled", "functionAppScaleLimit": 0, "functionsRuntimeScaleMonitoringEnabled": false, "handlerMappings": nil,
		"healthCheckPath": nil, "http20Enabled": false, "httpLoggingEnabled": false, "ipSecurityRestrictions": allowAll(),
		"ipSecurityRestrictionsDefaultAction": "Allow", "javaContainer": nil, "javaContainerVersion": nil, "javaVersion": nil,
		"keyVaultReferenceIdentity": nil, "limits": nil, "linuxFxVersion": "", "loadBalancing": "LeastRequests", "localMySqlEnabled": false,
		"logsDirectorySizeLimit": 35, "managedPipelineMode": "Integrated", "managedServiceIdentityId": nil, "metadata": nil, "minTlsCipherSuite": nil,
		"minTlsVersion": "1.2", "minimumElasticInstanceCount": 0, "netFrameworkVersion": "v4.0", "nodeVersion": "", "numberOfWorkers": 1,
		"phpVersion": "", "powerShellVersion": "", "preWarmedInstanceCount": 0, "publicNetworkAccess": "Enabled", "publishingUsername": "$" + name,
		"push": nil, "pythonVersion": "", "remoteDebuggingEnabled": false, "remoteDebuggingVersion": nil, "requestTracingEnabled": false,
		"requestTracingExpirationTime": nil, "scmIpSecurityRestrictions": allowAll(), "scmIpSecurityRestrictionsDefaultAction": "Allow",
		"scmIpSecurityRestrictionsUseMain": false, "scmMinTlsVersion": "1.2", "scmType": "None", "tracingOptions": nil, "use32BitWorkerProcess": false,
		"virtualApplications": []any{map[string]any{"virtualPath": "/", "physicalPath": `site\wwwroot`, "preloadEnabled": false, "virtualDirectories": nil}},
		"vnetName":            "", "vnetPrivatePortsCount": 0, "vnetRouteAllEnabled": false, "webSocketsEnabled": false, "websiteTimeZone": nil,
		"windowsFxVersion": nil, "xManagedServiceIdentityId": nil,
	}
}

// allowAll is the entry that a list of restrictions without any shows; clients
// skip it.
func allowAll() []any {
	return []any{map[string]any{
		"ipAddress": "Any", "action": "Allow", "priority": math.MaxInt32, "name": "Allow all", "description": "Allow all access",
	}}
}
