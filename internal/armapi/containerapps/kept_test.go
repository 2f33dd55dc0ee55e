package containerapps_test

import (
	"strings"
	"testing"
)

// Members that nothing here follows are kept and shown, so that what clients read is
// what they wrote.
func TestWhatNothingFollowsIsKeptAndShown(t *testing.T) {
	f := newFixture(t)
	env := f.object(201, "PUT", envAt, `{"location":"local","properties":{"zoneRedundant":true,"vnetConfiguration":{"infrastructureSubnetId":"/subnet","internal":true},
		"peerAuthentication":{"mtls":{"enabled":true}},"peerTrafficConfiguration":{"encryption":{"enabled":true}},"publicNetworkAccess":"Disabled",
		"appLogsConfiguration":{"destination":"log-analytics","logAnalyticsConfiguration":{"customerId":"c","sharedKey":"s3cret"}},"infrastructureResourceGroup":"infra",
		"workloadProfiles":[{"name":"Consumption","workloadProfileType":"Consumption"}]}}`)
	for path, want := range map[string]any{"zoneRedundant": true, "vnetConfiguration.internal": true, "peerAuthentication.mtls.enabled": true, "peerTrafficConfiguration.encryption.enabled": true,
		"publicNetworkAccess": "Disabled", "appLogsConfiguration.destination": "log-analytics", "appLogsConfiguration.logAnalyticsConfiguration.customerId": "c", "infrastructureResourceGroup": "infra"} {
		if got := at(env, names("properties."+path)...); got != want {
			t.Errorf("the environment's %s is %v", path, got)
		}
	}
	if strings.Contains(text(env), "s3cret") {
		t.Errorf("a key is shown: %s", text(env))
	}
	w := f.want(400, "PUT", envAt+"2", `{"location":"local","identity":{"type":"SystemAssigned"},"properties":{}}`)
	if !strings.Contains(w.Body.String(), "identity.type") {
		t.Errorf("an environment's identity: %s", w.Body)
	}
	app := func(ingress, container, rest string) string {
		return body("null", `"dapr":{"enabled":true,"appId":"a"},"service":{"type":"redis"},"runtime":{"java":{"enableMetrics":true}},"ingress":{`+ingress+`}`,
			`"serviceBinds":[{"serviceId":"/s","name":"n"}],"containers":[{"name":"main","image":"i",`+container+`}]`+rest)
	}
	shown := f.object(201, "PUT", appAt, app(`"external":true,"targetPort":80,"allowInsecure":true`,
		`"resources":{"cpu":0.5,"memory":"1Gi","ephemeralStorage":"2Gi"},"probes":[{"type":"Liveness","tcpSocket":{"host":"h","port":80},"terminationGracePeriodSeconds":7}]`,
		`,"volumes":[{"name":"v","storageType":"EmptyDir","mountOptions":"ro"}]`))
	for path, want := range map[string]any{"configuration.dapr.appId": "a", "configuration.service.type": "redis", "configuration.runtime.java.enableMetrics": true,
		"configuration.ingress.allowInsecure": true} {
		if got := at(shown, names("properties."+path)...); got != want {
			t.Errorf("%s is %v", path, got)
		}
	}
	template := at(shown, "properties", "template")
	for what, got := range map[string]any{"/s": at(template, "serviceBinds", 0, "serviceId"), "2Gi": at(template, "containers", 0, "resources", "ephemeralStorage"),
		"h": at(template, "containers", 0, "probes", 0, "tcpSocket", "host"), "ro": at(template, "volumes", 0, "mountOptions")} {
		if got != what {
			t.Errorf("%s is %v", what, got)
		}
	}
	if got := at(template, "containers", 0, "probes", 0, "terminationGracePeriodSeconds"); got != 7.0 {
		t.Errorf("terminationGracePeriodSeconds is %v", got)
	}
	for _, kind := range []string{"AzureFile", "NfsAzureFile"} {
		w := f.want(400, "PUT", appAt, app(`"targetPort":80`, `"env":[]`, `,"volumes":[{"name":"v","storageType":"`+kind+`","storageName":"s"}]`))
		if !strings.Contains(w.Body.String(), "template.volumes[0].storageType") {
			t.Errorf("%s: %s", kind, w.Body)
		}
	}
}

func names(path string) (list []any) {
	for name := range strings.SplitSeq(path, ".") {
		list = append(list, name)
	}
	return list
}
