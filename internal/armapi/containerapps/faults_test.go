package containerapps_test

import (
	"fmt"
	"strings"
	"testing"
)

// body makes the body of an app from members of its configuration and template.
func body(identity, configuration, template string) string {
	if template == "" {
		template = `"containers":[{"name":"main","image":"i"}]`
	}
	return fmt.Sprintf(`{"location":"local","identity":%s,"properties":{"environmentId":%q,"configuration":{%s},"template":{%s}}}`, identity, envAt, configuration, template)
}

func TestWhatIsWrongIsToldWithCodeAndField(t *testing.T) {
	const template, secret, ref = "InvalidParameterValueInContainerTemplate", "ContainerAppSecretInvalid", "ContainerAppSecretRefNotFound"
	one := userAt + "one"
	user := `{"type":"UserAssigned","userAssignedIdentities":{"` + one + `":{}}}`
	tests := []struct {
		name, identity, configuration, template string
		code, field                             string
	}{
		{"identity that is not there", `{"type":"UserAssigned","userAssignedIdentities":{"` + userAt + `nobody":{}}}`, "", "", "BadRequest", "nobody"},
		{"identity setting of no identity", "null", `"identitySettings":[{"identity":"x","lifecycle":"All"}]`, "", template, "configuration.identitySettings[0].identity"},
		{"identity setting of one not assigned", "null", `"identitySettings":[{"identity":"` + one + `"}]`, "", template, "configuration.identitySettings[0].identity"},
		{"identity setting of system without one", user, `"identitySettings":[{"identity":"system"}]`, "", template, "configuration.identitySettings[0].identity"},
		{"lifecycle typo", user, `"identitySettings":[{"identity":"` + one + `","lifecycle":"Mian"}]`, "", template, "configuration.identitySettings[0].lifecycle"},
		{"identity setting twice", user, `"identitySettings":[{"identity":"` + one + `"},{"identity":"` + strings.ToUpper(one) + `"}]`, "", template, "configuration.identitySettings[1].identity"},
		{"registry identity not assigned", "null", `"registries":[{"server":"r.io","identity":"system"}]`, "", template, "configuration.registries[0].identity"},
		{"registry of the environment's identity", "null", `"registries":[{"server":"r.io","identity":"system-environment"}]`, "", template, "configuration.registries[0].identity"},
		{"registry password without secret", "null", `"registries":[{"server":"r.io","username":"u","passwordSecretRef":"p"}]`, "", ref, "configuration.registries[0].passwordSecretRef"},
		{"registry twice", "null", `"registries":[{"server":"r.io"},{"server":"R.io"}]`, "", template, "configuration.registries[1].server"},
		{"secret without value", "null", `"secrets":[{"name":"a"}]`, "", secret, "configuration.secrets[0]"},
		{"secret with both", "null", `"secrets":[{"name":"a","value":"v","keyVaultUrl":"https://kv.vault.x/secrets/a","identity":"system"}]`, "", secret, "configuration.secrets[0]"},
		{"secret twice", "null", `"secrets":[{"name":"a","value":"v"},{"name":"a","value":"v"}]`, "", secret, "configuration.secrets[1]"},
		{"secret name", "null", `"secrets":[{"name":"A_b","value":"v"}]`, "", secret, "configuration.secrets[0]"},
		{"vault secret without identity", "null", `"secrets":[{"name":"a","keyVaultUrl":"https://kv.vault.x/secrets/a"}]`, "", secret, "configuration.secrets[0]"},
		{"vault secret with identity not assigned", "null", `"secrets":[{"name":"a","keyVaultUrl":"https://kv.vault.x/secrets/a","identity":"system"}]`, "", template, "configuration.secrets[0].identity"},
		{"vault secret of another scheme", user, `"secrets":[{"name":"a","keyVaultUrl":"http://kv.vault.x/secrets/a","identity":"` + one + `"}]`, "", "ContainerAppSecretKeyVaultUrlInvalid", "configuration.secrets[0].keyVaultUrl"},
		{"vault address of a key", user, `"secrets":[{"name":"a","keyVaultUrl":"https://kv.vault.x/keys/a","identity":"` + one + `"}]`, "", "ContainerAppSecretKeyVaultUrlInvalid", "configuration.secrets[0].keyVaultUrl"},
		{"weights below 100", "null", `"activeRevisionsMode":"Multiple","ingress":{"traffic":[{"latestRevision":true,"weight":90}]}`, "", "ContainerAppInvalidTrafficWeight", "configuration.ingress.traffic"},
		{"traffic to no revision", "null", `"activeRevisionsMode":"Multiple","ingress":{"traffic":[{"revisionName":"orders--x","weight":100}]}`, "", template, "configuration.ingress.traffic[0].revisionName"},
		{"label twice", "null", `"activeRevisionsMode":"Multiple","ingress":{"traffic":[{"latestRevision":true,"weight":100,"label":"l"},{"revisionName":"orders--x","weight":0,"label":"l"}]}`, "", template, "configuration.ingress.traffic[1].label"},
		{"target port", "null", `"ingress":{"targetPort":70000}`, "", template, "configuration.ingress.targetPort"},
		{"mode", "null", `"activeRevisionsMode":"Some"`, "", template, "configuration.activeRevisionsMode"},
		{"no containers", "null", "", `"containers":[]`, template, "template.containers"},
		{"no image", "null", "", `"containers":[{"name":"main"}]`, "ContainerAppImageRequired", "template.containers[0].image"},
		{"0 cores", "null", "", `"containers":[{"name":"main","image":"i","resources":{"cpu":0,"memory":"1Gi"}}]`, template, "template.containers[0].resources.cpu"},
		{"memory", "null", "", `"containers":[{"name":"main","image":"i","resources":{"cpu":1,"memory":"1GB"}}]`, template, "template.containers[0].resources.memory"},
		{"name twice", "null", "", `"containers":[{"name":"main","image":"i"}],"initContainers":[{"name":"main","image":"i"}]`, template, "template.initContainers[0].name"},
		{"name of a container", "null", "", `"containers":[{"name":"Main_","image":"i"}]`, template, "template.containers[0].name"},
		{"secretRef without secret", "null", "", `"containers":[{"name":"main","image":"i","env":[{"name":"A","secretRef":"none"}]}]`, ref, "template.containers[0].env[0].secretRef"},
		{"variable twice", "null", "", `"containers":[{"name":"main","image":"i","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]`, template, "template.containers[0].env[1].name"},
		{"mount of no volume", "null", "", `"containers":[{"name":"main","image":"i","volumeMounts":[{"volumeName":"v","mountPath":"/v"}]}]`, template, "template.containers[0].volumeMounts[0].volumeName"},
		{"file outside of its volume", "null", `"secrets":[{"name":"a","value":"v"}]`, `"containers":[{"name":"main","image":"i"}],"volumes":[{"name":"v","storageType":"Secret","secrets":[{"secretRef":"a","path":"../x"}]}]`, template, "template.volumes[0].secrets[0].path"},
		{"probe of an init container", "null", "", `"containers":[{"name":"main","image":"i"}],"initContainers":[{"name":"init","image":"i","probes":[{"type":"Liveness","tcpSocket":{"port":1}}]}]`, template, "template.initContainers[0].probes"},
		{"probe without a way", "null", "", `"containers":[{"name":"main","image":"i","probes":[{"type":"Liveness"}]}]`, template, "template.containers[0].probes[0]"},
		{"more least than most", "null", "", `"containers":[{"name":"main","image":"i"}],"scale":{"minReplicas":5,"maxReplicas":2}`, template, "template.scale.maxReplicas"},
		{"rule with identity not assigned", "null", "", `"containers":[{"name":"main","image":"i"}],"scale":{"rules":[{"name":"q","azureQueue":{"accountName":"a","queueName":"q","queueLength":1,"identity":"system"}}]}`, template, "template.scale.rules[0].azureQueue.identity"},
		{"rule of no kind", "null", "", `"containers":[{"name":"main","image":"i"}],"scale":{"rules":[{"name":"q"}]}`, template, "template.scale.rules[0]"},
		{"rule twice", "null", "", `"containers":[{"name":"main","image":"i"}],"scale":{"rules":[{"name":"q","http":{}},{"name":"q","http":{}}]}`, template, "template.scale.rules[1].name"},
		{"suffix", "null", "", `"revisionSuffix":"A_","containers":[{"name":"main","image":"i"}]`, template, "template.revisionsuffix"},
		{"another type", "null", `"secrets":7`, "", "InvalidRequestContent", "properties.configuration.secrets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.environment()
			f.user("one")
			w := f.want(400, "PUT", appAt, body(tt.identity, tt.configuration, tt.template))
			if !strings.Contains(w.Body.String(), `"code":"`+tt.code+`"`) || !strings.Contains(w.Body.String(), tt.field) {
				t.Errorf("want %s of %s: %s", tt.code, tt.field, w.Body)
			}
			f.want(404, "GET", appAt, "")
		})
	}
}

func TestAllFaultsAreToldAtOnceAndWithoutSecrets(t *testing.T) {
	f := newFixture(t)
	f.environment()
	w := f.object(400, "PUT", appAt, body("null", `"activeRevisionsMode":"x","secrets":[{"name":"A!","value":"hidden"}]`, `"containers":[{"name":"m"}]`))
	if details := at(w, "error", "details").([]any); len(details) != 3 || strings.Contains(text(w), "hidden") {
		t.Errorf("%s", text(w))
	}
}

func TestNamesOfApps(t *testing.T) {
	f := newFixture(t)
	f.environment()
	for name, want := range map[string]int{"a1": 201, "my-app": 201, "A": 400, "Orders": 400, "1a": 400, "a--b": 400, "a-": 400, "a": 400, strings.Repeat("a", 32): 201, strings.Repeat("a", 33): 400} {
		w := f.call("PUT", groupAt+"/providers/Microsoft.App/containerApps/"+name, plain("i"))
		if w.Code != want || want == 400 && !strings.Contains(w.Body.String(), "ContainerAppInvalidName") {
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestWhatAnAppMakesUseOfMustBeTheCallersToGive(t *testing.T) {
	f := newFixture(t)
	f.environment()
	one := f.user("one")
	assign := body(`{"type":"UserAssigned","userAssignedIdentities":{"`+one+`":{}}}`, "", "")
	f.deny("Microsoft.App/managedEnvironments/join/action")
	if w := f.want(403, "PUT", appAt, assign); !strings.Contains(w.Body.String(), "LinkedAuthorizationFailed") {
		t.Errorf("environment: %s", w.Body)
	}
	f.deny("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")
	f.want(403, "PUT", appAt, assign)
	f.deny("")
	created := f.want(201, "PUT", appAt, assign)
	f.deny("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")
	f.want(200, "PUT", appAt, assign) // it has it already
	f.deny("Microsoft.App/containerApps/listSecrets/action")
	f.want(403, "POST", appAt+"/listSecrets", "")
	f.deny("Microsoft.App/containerApps/read")
	f.want(404, "GET", created.Header().Get("Azure-AsyncOperation"), "")
	f.deny("")
	f.want(200, "GET", created.Header().Get("Azure-AsyncOperation"), "")
	f.want(404, "GET", "/subscriptions/"+sub+"/providers/Microsoft.App/locations/local/containerappOperationStatuses/nonsense", "")
}

func TestConditionsAndEnvironments(t *testing.T) {
	f := newFixture(t)
	w := f.want(400, "PUT", appAt, plain("i"))
	if !strings.Contains(w.Body.String(), "ManagedEnvironmentNotFound") {
		t.Errorf("without environment: %s", w.Body)
	}
	f.environment()
	f.want(201, "PUT", appAt, plain("i"))
	tag := f.want(200, "GET", appAt, "").Header().Get("ETag")
	f.want(200, "PATCH", appAt, `{"tags":{"a":"b"}}`, "If-Match", tag)
	f.want(412, "PATCH", appAt, `{"tags":{"a":"c"}}`, "If-Match", tag)
	f.want(412, "PUT", appAt, plain("i"), "If-None-Match", "*")
	f.want(409, "DELETE", envAt, "")
	f.want(409, "PUT", appAt, strings.Replace(plain("i"), `"local"`, `"elsewhere"`, 1))
	f.want(400, "PUT", appAt, strings.Replace(plain("i"), "managedEnvironments/env", "managedEnvironments/other", 1))
	f.want(200, "DELETE", appAt, "")
	f.want(204, "DELETE", appAt, "")
	f.want(404, "GET", appAt+"/revisions", "")
	f.want(404, "PATCH", appAt, `{}`)
	f.want(200, "DELETE", envAt, "")
	f.want(204, "DELETE", envAt, "")
	f.want(404, "GET", envAt+"/workloadProfileStates", "")
}

// What Terraform's provider sends for an environment and an app.
func TestTerraformsSequences(t *testing.T) {
	f := newFixture(t)
	f.want(404, "GET", envAt, "")
	w := f.want(201, "PUT", envAt, `{"location":"local","name":"env","identity":{"type":"None"},"tags":{},"properties":{"appLogsConfiguration":{"destination":"","logAnalyticsConfiguration":null},
		"vnetConfiguration":{},"zoneRedundant":false,"peerAuthentication":{"mtls":{"enabled":false}},"peerTrafficConfiguration":{"encryption":{"enabled":false}},"publicNetworkAccess":"Enabled",
		"workloadProfiles":[{"name":"Consumption","workloadProfileType":"Consumption"}]}}`)
	if s := f.object(200, "GET", w.Header().Get("Azure-AsyncOperation"), ""); s["status"] != "Succeeded" {
		t.Errorf("status: %v", s)
	}
	f.want(200, "PATCH", envAt, `{"tags":{"a":"b"},"properties":{"vnetConfiguration":null,"zoneRedundant":false,"defaultDomain":"x","staticIp":null}}`)
	env := f.object(200, "GET", envAt, "")
	if at(env, "properties", "provisioningState") != "Succeeded" || text(env["identity"]) != `{"type":"None"}` || at(env, "properties", "defaultDomain") == "x" ||
		text(at(env, "properties", "workloadProfiles")) != `[{"name":"Consumption","workloadProfileType":"Consumption"}]` {
		t.Errorf("environment: %s", text(env))
	}
	f.want(404, "GET", appAt, "")
	f.want(201, "PUT", appAt, `{"location":"local","identity":{"type":"None","userAssignedIdentities":null},"tags":{},"properties":{"managedEnvironmentId":"`+envAt+`","workloadProfileName":"Consumption",
		"configuration":{"activeRevisionsMode":"Single","ingress":null,"dapr":null,"maxInactiveRevisions":100,"registries":[],"secrets":[{"name":"a","value":"b"}]},
		"template":{"containers":[{"name":"main","image":"i","resources":{"cpu":0.25,"memory":"0.5Gi"},"env":[],"probes":[],"volumeMounts":[],"args":[],"command":[]}],"initContainers":[],"revisionSuffix":"",
		"scale":{"maxReplicas":10,"minReplicas":0,"cooldownPeriod":300,"pollingInterval":30,"rules":[]},"terminationGracePeriodSeconds":0,"volumes":[]}}}`)
	app := f.object(200, "GET", appAt, "")
	set(app, f.object(200, "POST", appAt+"/listSecrets", "")["value"], "properties", "configuration", "secrets")
	set(app, []any{object{"identity": "system", "lifecycle": "None"}}, "properties", "configuration", "identitySettings")
	app["identity"] = object{"type": "SystemAssigned"}
	f.want(200, "PUT", appAt, text(app))
	after := f.object(200, "GET", appAt, "")
	if at(after, "properties", "latestRevisionName") != at(app, "properties", "latestRevisionName") || at(after, "properties", "workloadProfileName") != "Consumption" ||
		text(at(after, "properties", "configuration", "identitySettings")) != `[{"identity":"system","lifecycle":"None"}]` {
		t.Errorf("updated: %s", text(after))
	}
}
