package witness

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/testkit"
)

// answering is an image whose container answers at its port.
func answering(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "image")
	must(t, os.MkdirAll(folder, 0o700))
	program, err := os.Executable()
	must(t, err)
	text, err := json.Marshal(map[string]any{
		"command": []string{"/bin/sh", "-c", `FUNCTIONS_CUSTOMHANDLER_PORT=$PORT exec "$0"`, program}, "env": map[string]string{testkit.UpstreamSetting: "http://127.0.0.1:9"}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "container.json"), text, 0o600))
	return folder
}

// Clients of container apps that cannot run here are replayed: what they send is what
// their own logs show.
func TestClientsOfContainerAppsAreReplayed(t *testing.T) {
	p := upContained(t)
	c := p.owner(t)
	r := replaying(c, "2025-07-01", "tf-ca-rg", "", http.Header{"Accept": {"application/json"}, "X-Ms-Correlation-Request-Id": {uuid.NewString()}})
	group := c.group("tf-ca-rg")
	r.names = strings.NewReplacer("{sub}", c.subscription(), "{rg}", group, "{env}", group+"/providers/Microsoft.App/managedEnvironments/env",
		"{shop}", group+"/providers/Microsoft.App/containerApps/shop", "{reader}", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Reader",
		"{other}", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Other", "{Image}", answering(t))
	r.run(t, step{"PUT", "{rg}?api-version=2023-07-01", `{"location":"local","tags":{}}`, "200|201", nil},
		step{"PUT", "{reader}?api-version=2024-11-30", `{"location":"local","properties":{"isolationScope":"None"},"tags":{}}`, "200|201", nil},
		step{"PUT", "{other}?api-version=2024-11-30", `{"location":"local","properties":{"isolationScope":"None"},"tags":{}}`, "200|201", nil})
	t.Run("azurerm", func(t *testing.T) { r.azurermContainers(t) })
	r.header = http.Header{"Accept": {"*/*"}, "User-Agent": {"AZURECLI/2.64.0"}, "X-Ms-Client-Request-Id": {uuid.NewString()}, "CommandName": {"containerapp identity assign"}}
	r.version = "2024-03-01"
	t.Run("az containerapp identity", func(t *testing.T) { r.azContainerIdentity(t) })
	r.version = "2025-07-01"
	t.Run("azurerm destroy", func(t *testing.T) { r.run(t, tfContainersDestroy...) })
}

const tfEnvironmentBody = `{"identity":{"type":"None","userAssignedIdentities":null},"location":"local","name":"env","properties":{"appLogsConfiguration":{"destination":""},
	"peerAuthentication":{"mtls":{"enabled":false}},"peerTrafficConfiguration":{"encryption":{"enabled":false}},"vnetConfiguration":{},
	"workloadProfiles":[{"name":"Consumption","workloadProfileType":"Consumption"}],"zoneRedundant":false},"tags":{"zone":"one"}}`

// tfContainerBody is an app whose identity is {identity}, with the value {greeting} in
// its template.
const tfContainerBody = `{"identity":{identity},"location":"local","properties":{"configuration":{"activeRevisionsMode":"Single",
	"ingress":{"allowInsecure":true,"exposedPort":0,"external":true,"fqdn":"","ipSecurityRestrictions":[{"action":"Allow","description":"","ipAddressRange":"127.0.0.0/8","name":"here"}],
	"targetPort":8080,"traffic":[{"latestRevision":true,"weight":100}],"transport":"auto"},"maxInactiveRevisions":7,
	"registries":[{"identity":"{reader}","passwordSecretRef":"","server":"registry.example","username":""},{"identity":"","passwordSecretRef":"plain","server":"other.example","username":"someone"}],
	"secrets":[{"identity":"","keyVaultUrl":"","name":"plain","value":"by-value"}]},
	"managedEnvironmentId":"{env}","template":{"containers":[{"env":[{"name":"GREETING","value":"{greeting}"},{"name":"PLAIN","secretRef":"plain"}],"image":"{Image}","name":"main",
	"probes":[{"failureThreshold":3,"initialDelaySeconds":1,"periodSeconds":10,"tcpSocket":{"host":"","port":8080},"timeoutSeconds":1,"type":"Liveness"},
	{"failureThreshold":3,"httpGet":{"httpHeaders":[],"host":"","path":"/","port":8080,"scheme":"HTTP"},"initialDelaySeconds":0,"periodSeconds":1,"successThreshold":1,"timeoutSeconds":1,"type":"Readiness"}],
	"resources":{"cpu":0.25,"ephemeralStorage":"","memory":"0.5Gi"},"volumeMounts":[{"mountPath":"/work","subPath":"","volumeName":"work"}]}],
	"initContainers":[{"command":["/bin/true"],"env":[],"image":"{Image}","name":"prepare","resources":{"cpu":0.25,"ephemeralStorage":"","memory":"0.5Gi"},"volumeMounts":[]}],
	"scale":{"cooldownPeriod":60,"maxReplicas":3,"minReplicas":1,"pollingInterval":15,"rules":[{"http":{"auth":[],"metadata":{"concurrentRequests":"20"}},"name":"requests"}]},
	"terminationGracePeriodSeconds":5,"volumes":[{"name":"work","storageType":"EmptyDir"}]},"workloadProfileName":"Consumption"},"tags":{"team":"shop"}}`

var tfEnvironmentRead = step{"GET", "{env}", "", "200", []string{"id={env}", "location=local", "properties.provisioningState=Succeeded", "properties.defaultDomain", "properties.staticIp",
	"properties.zoneRedundant=false", "properties.workloadProfiles.0.name=Consumption", "properties.customDomainConfiguration.customDomainVerificationId"}}

var tfContainerRead = []step{
	{"GET", "{shop}", "", "200", []string{"id={shop}", "location=local", "tags.team=shop", "properties.managedEnvironmentId={env}", "properties.workloadProfileName=Consumption",
		"properties.latestRevisionName", "properties.latestRevisionFqdn", "properties.outboundIpAddresses.0", "properties.customDomainVerificationId",
		"properties.configuration.ingress.fqdn", "properties.configuration.ingress.targetPort=8080", "properties.configuration.ingress.traffic.0.latestRevision=true",
		"properties.configuration.registries.0.identity={reader}", "properties.configuration.maxInactiveRevisions=7", "properties.configuration.secrets.0.name=plain",
		"!properties.configuration.secrets.0.value", "properties.template.scale.rules.0.http.metadata.concurrentRequests=20", "properties.template.terminationGracePeriodSeconds=5",
		"properties.template.containers.0.probes.1.type=Readiness", "properties.template.initContainers.0.name=prepare"}},
	{"POST", "{shop}/listSecrets", "", "200", []string{"value.0.name=plain", "value.0.value=by-value"}},
	{"GET", "{env}", "", "200", nil},
}

var tfContainersDestroy = []step{
	{"DELETE", "{shop}", "", "200|202|204", nil},
	{"GET", "{shop}", "", "404", nil},
	{"DELETE", "{env}", "", "200|202|204", nil},
	{"GET", "{env}", "", "404", nil},
}

// azurermContainers is azurerm_container_app_environment and azurerm_container_app:
// create, read while the app runs and is stopped, change.
func (r replay) azurermContainers(t *testing.T) {
	r.run(t, step{"GET", "{env}", "", "404", nil})
	r.put(t, "{env}", tfEnvironmentBody)
	r.run(t, tfEnvironmentRead, step{"GET", "{shop}", "", "404", nil}, tfEnvironmentRead)
	body := func(identity, greeting string) string {
		return strings.NewReplacer("{identity}", identity, "{greeting}", greeting).Replace(tfContainerBody)
	}
	r.put(t, "{shop}", body(`{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"{reader}":{}}}`, "hello"))
	r.run(t, tfContainerRead...)
	r.run(t, step{"GET", "{shop}", "", "200", []string{"identity.type=SystemAssigned,UserAssigned", "identity.principalId", "identity.tenantId"}})
	r.run(t, step{"POST", "{shop}/stop", "", "200", nil})
	r.run(t, tfContainerRead...)
	r.run(t, step{"POST", "{shop}/start", "", "200", nil})
	r.run(t, step{"GET", "{env}", "", "200", nil}, step{"PATCH", "{env}", `{"location":"local","name":"env","properties":{},"tags":{"zone":"two"}}`, "200", []string{"tags.zone=two"}}, tfEnvironmentRead)
	r.run(t, tfContainerRead[:2]...)
	r.put(t, "{shop}", body(`{"type":"UserAssigned","userAssignedIdentities":{"{reader}":{}}}`, "bye"))
	r.run(t, tfContainerRead...)
	r.run(t, step{"GET", "{shop}", "", "200", []string{"identity.type=UserAssigned", "!identity.principalId", "properties.template.containers.0.env.0.value=bye"}})
}

// put is a PUT that is followed to its end, as clients follow it.
func (r replay) put(t *testing.T, path, body string) {
	t.Helper()
	path = r.names.Replace(path) + "?api-version=" + r.version
	a := r.send(t, request{method: "PUT", path: path, body: r.names.Replace(body), header: r.header})
	switch {
	case a.status != http.StatusOK && a.status != http.StatusCreated:
		t.Fatalf("PUT %s: %s", path, a)
	case a.status == http.StatusCreated && a.header.Get("Azure-Asyncoperation") == "":
		t.Fatalf("PUT %s: 201 without the header that az wants", path)
	}
	r.await(t, a)
}

// azContainerIdentity is az containerapp identity assign, remove and show.
func (r replay) azContainerIdentity(t *testing.T) {
	other := strings.ToLower(r.names.Replace("{other}"))
	revision := r.send(t, request{method: "GET", path: r.names.Replace("{shop}?api-version=") + r.version, header: r.header}).text("properties.latestRevisionName")
	was := r.send(t, request{method: "POST", path: r.names.Replace("{shop}/listSecrets?api-version=") + r.version, header: r.header})
	r.azAssign(t, func(identity map[string]any) { identity["type"] = "SystemAssigned,UserAssigned" }, "identity.type=SystemAssigned,UserAssigned", "identity.principalId")
	r.azAssign(t, func(identity map[string]any) {
		identity["userAssignedIdentities"].(map[string]any)[other] = map[string]any{}
	}, "identity.type=SystemAssigned,UserAssigned", "identity.principalId")
	r.users(t, 2)
	r.azAssign(t, func(identity map[string]any) {
		maps.DeleteFunc(identity["userAssignedIdentities"].(map[string]any), func(id string, _ any) bool { return strings.EqualFold(id, other) })
	}, "identity.type=SystemAssigned,UserAssigned")
	r.users(t, 1)
	r.azAssign(t, func(identity map[string]any) { identity["type"] = "UserAssigned" }, "identity.type=UserAssigned", "!identity.principalId")
	r.users(t, 1)
	r.run(t, step{"GET", "{shop}", "", "200", []string{"properties.latestRevisionName=" + revision, "identity.userAssignedIdentities"}}) // show
	now := r.send(t, request{method: "POST", path: r.names.Replace("{shop}/listSecrets?api-version=") + r.version, header: r.header})
	if string(now.body) != string(was.body) || was.text("value.0.value") == "" {
		t.Errorf("the secrets were %s and are %s", was.body, now.body)
	}
	r.run(t, step{"GET", "{shop}/revisions", "", "200", []string{"value.0.name"}})
}

// users checks how many user-assigned identities the app has, each with its ids.
func (r replay) users(t *testing.T, want int) {
	t.Helper()
	a := r.send(t, request{method: "GET", path: r.names.Replace("{shop}?api-version=") + r.version, header: r.header})
	list, _ := a.at("identity.userAssignedIdentities").(map[string]any)
	if len(list) != want {
		t.Errorf("there are %d identities, not %d: %v", len(list), want, list)
	}
	for id, one := range list {
		if ids, _ := one.(map[string]any); ids["principalId"] == nil || ids["clientId"] == nil {
			t.Errorf("%s has %v", id, one)
		}
	}
}

// azAssign reads the app and the values of its secrets, puts all of it back with
// another identity, waits and reads again.
func (r replay) azAssign(t *testing.T, change func(identity map[string]any), reads ...string) {
	t.Helper()
	r.run(t, step{"GET", "{sub}/providers/Microsoft.App?api-version=2022-09-01", "", "200", []string{"registrationState=Registered", "resourceTypes.0.resourceType"}})
	at := r.names.Replace("{shop}")
	app := r.send(t, request{method: "GET", path: at + "?api-version=" + r.version, header: r.header})
	body, _ := app.at("").(map[string]any)
	identity, _ := body["identity"].(map[string]any)
	if app.status != http.StatusOK || identity == nil {
		t.Fatalf("az reads the identity: %s", app)
	}
	secrets := r.send(t, request{method: "POST", path: at + "/listSecrets?api-version=" + r.version, header: r.header})
	body["properties"].(map[string]any)["configuration"].(map[string]any)["secrets"] = secrets.at("value")
	change(identity)
	text, err := json.Marshal(body)
	must(t, err)
	r.put(t, "{shop}", string(text))
	r.run(t, step{"GET", "{shop}", "", "200", reads})
}
