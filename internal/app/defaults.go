package app

import (
	"encoding/json"
	"math"
)

// SiteDefaults are the properties of an app that nobody set.
func SiteDefaults() map[string]any {
	return map[string]any{
		"enabled": true, "httpsOnly": false, "clientAffinityEnabled": false, "clientCertEnabled": false, "clientCertMode": "Required",
		"clientCertExclusionPaths": nil, "containerSize": 1536, "dailyMemoryTimeQuota": 0, "hostNamesDisabled": false, "hyperV": false,
		"isXenon": false, "keyVaultReferenceIdentity": "SystemAssigned", "publicNetworkAccess": "Enabled", "redundancyMode": "None",
		"reserved": false, "scmSiteAlsoStopped": false, "storageAccountRequired": false,
		"virtualNetworkSubnetId": nil, "vnetRouteAllEnabled": false, "vnetImagePullEnabled": false, "vnetContentShareEnabled": false,
		"vnetBackupRestoreEnabled": false, "endToEndEncryptionEnabled": false, "functionsRuntimeAdminIsolationEnabled": false,
		"serverFarmId": nil, "functionAppConfig": nil,
	}
}

// WebDefaults are what Terraform's provider and the command line expect of the
// configuration of an app on Linux that nobody set.
func WebDefaults(name string) map[string]any {
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

// sameEffect reports whether two stored values come to the same once the defaults
// are put below them: clients send back whole answers, which restarts nothing.
func sameEffect(defaults map[string]any, a, b json.RawMessage) bool {
	base, err := json.Marshal(defaults)
	if err != nil {
		return false
	}
	over := func(text json.RawMessage) json.RawMessage {
		m := map[string]json.RawMessage{}
		if json.Unmarshal(base, &m) != nil || json.Unmarshal(orEmpty(text), &m) != nil {
			return text
		}
		delete(m, "reserved") // shown by kind and plan; nothing runs otherwise for it
		return Members(m).json()
	}
	return sameJSON(over(a), over(b))
}
