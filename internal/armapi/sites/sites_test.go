package sites_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

func TestAnswersHaveTheFormClientsRead(t *testing.T) {
	f := newFixture(t)
	f.create()
	for name, call := range map[string][2]string{
		"plan":               {"GET", planAt},
		"plans":              {"GET", webAt + "/serverfarms"},
		"site":               {"GET", siteAt},
		"web":                {"GET", siteAt + "/config/web"},
		"appsettings":        {"POST", siteAt + "/config/appsettings/list"},
		"connectionstrings":  {"POST", siteAt + "/config/connectionstrings/list"},
		"slotConfigNames":    {"GET", siteAt + "/config/slotConfigNames"},
		"logs":               {"GET", siteAt + "/config/logs"},
		"authsettings":       {"POST", siteAt + "/config/authsettings/list"},
		"authsettingsV2":     {"GET", siteAt + "/config/authsettingsV2/list"},
		"mounts":             {"POST", siteAt + "/config/azurestorageaccounts/list"},
		"metadata":           {"POST", siteAt + "/config/metadata/list"},
		"backup":             {"POST", siteAt + "/config/backup/list"},
		"credentials":        {"POST", siteAt + "/config/publishingcredentials/list"},
		"publishxml":         {"POST", siteAt + "/publishxml"},
		"policies":           {"GET", siteAt + "/basicPublishingCredentialsPolicies"},
		"references":         {"GET", siteAt + "/config/configreferences/appsettings"},
		"bindings":           {"GET", siteAt + "/hostNameBindings"},
		"stacks":             {"GET", "/providers/Microsoft.Web/functionAppStacks"},
		"regions":            {"GET", "/subscriptions/" + sub + "/providers/Microsoft.Web/geoRegions"},
		"site-missing":       {"GET", webAt + "/sites/nobody"},
		"slot":               {"GET", siteAt + "/slots/staging"},
		"host-not-reachable": {"GET", siteAt + "/hostruntime/admin/host/status"},
	} {
		golden(t, name, f.call(call[0], call[1], ""))
	}
}

// TestTerraformCreatesAnApp replays what the azurerm provider sends for a service
// plan and a Linux function app, with the statuses that it takes.
func TestTerraformCreatesAnApp(t *testing.T) {
	f := newFixture(t)
	farm := strings.Replace(planAt, "serverfarms", "serverFarms", 1)
	f.want(404, "GET", farm, "")
	f.want(200, "PUT", farm, `{"location":"local","tags":{},"sku":{"name":"Y1"},"properties":{"reserved":true,"hyperV":false,"perSiteScaling":false,"elasticScaleEnabled":false,"zoneRedundant":false}}`)
	f.want(200, "GET", farm, "")

	f.want(200, "GET", farm, "")
	f.want(404, "GET", siteAt, "")
	name := f.object("POST", "/subscriptions/"+sub+"/providers/Microsoft.Web/checknameavailability", `{"name":"orders","type":"Microsoft.Web/sites"}`)
	if diff := cmp.Diff(map[string]any{"nameAvailable": true, "reason": "", "message": ""}, name); diff != "" {
		t.Error(diff)
	}
	f.want(200, "PUT", siteAt, siteBody)
	f.want(200, "GET", siteAt, "")
	f.want(200, "PUT", siteAt+"/basicPublishingCredentialsPolicies/scm", `{"properties":{"allow":false}}`)
	f.want(200, "PUT", siteAt+"/basicPublishingCredentialsPolicies/ftp", `{"properties":{"allow":false}}`)
	f.want(200, "PUT", siteAt, siteBody)
	for section, body := range map[string]string{
		"slotConfigNames":      `{"appSettingNames":["SECRET"]}`,
		"backup":               `{"enabled":true,"storageAccountUrl":"https://x"}`,
		"authsettings":         `{"enabled":true,"configVersion":"v1"}`,
		"authsettingsV2":       `{"platform":{"enabled":false}}`,
		"azurestorageaccounts": `{"data":{"type":"AzureFiles","accountName":"a","shareName":"s","accessKey":"k","mountPath":"/m"}}`,
		"connectionstrings":    `{"Db":{"value":"Server=x","type":"SQLAzure"}}`,
		"logs":                 `{"applicationLogs":{"fileSystem":{"level":"Warning"}}}`,
	} {
		f.want(200, "PUT", siteAt+"/config/"+section, `{"properties":`+body+`}`)
	}
	f.readsOfTerraform(t, 200)
	if names := f.object("GET", siteAt+"/config/slotConfigNames", ""); at(names, "properties", "connectionStringNames") == nil {
		t.Error("one list of sticky names is null beside another that is not, which makes the provider panic")
	}

	f.want(200, "GET", siteAt, "")
	f.want(200, "GET", siteAt, "")
	f.want(200, "GET", farm, "")
	f.want(200, "POST", siteAt+"/config/appSettings/list", "")
	f.want(200, "PUT", siteAt, siteBody)
	f.want(200, "PATCH", siteAt+"/config/web", `{"properties":{"alwaysOn":true}}`)

	f.want(409, "DELETE", farm, "")
	f.want(200, "DELETE", siteAt+"?api-version=2023-12-01&deleteEmptyServerFarm=false&deleteMetrics=false", "")
	f.want(404, "GET", siteAt, "")
	f.want(200, "GET", farm, "")
	f.want(200, "DELETE", farm, "")
	f.want(404, "GET", farm, "")
	f.want(204, "DELETE", farm, "")
	f.want(204, "DELETE", siteAt, "")
}

// readsOfTerraform sends the provider's reads of an app in its order.
func (f *fixture) readsOfTerraform(t *testing.T, backup int) {
	t.Helper()
	site := f.object("GET", siteAt, "")
	if at(site, "properties", "siteConfig") == nil || at(site, "properties", "inProgressOperationId") != nil || at(site, "properties", "serverFarmId") != planAt {
		t.Errorf("the provider would wait forever or fail: %v", at(site, "properties"))
	}
	for _, call := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/config/appSettings/list", 200}, {"POST", "/config/connectionStrings/list", 200}, {"GET", "/config/slotConfigNames", 200},
		{"POST", "/config/azurestorageaccounts/list", 200}, {"POST", "/config/publishingcredentials/list", 200},
		{"GET", "/config/publishingcredentials", 404}, {"POST", "/config/publishingcredentials/list", 200},
		{"POST", "/config/authsettings/list", 200}, {"GET", "/config/authsettingsV2/list", 200}, {"POST", "/config/backup/list", backup},
		{"GET", "/config/logs", 200}, {"GET", "/basicPublishingCredentialsPolicies/ftp", 200}, {"GET", "/basicPublishingCredentialsPolicies/scm", 200},
		{"GET", "/config/web", 200},
	} {
		f.want(call.status, call.method, siteAt+call.path, "")
	}
}

func TestStoppedAppCanBeReadAndChanged(t *testing.T) {
	f := newFixture(t, func(c *sites.Config) {
		c.Status = func(context.Context, app.App) ([]sites.InstanceStatus, error) {
			return nil, errors.New("no node answers")
		}
	})
	f.create()
	f.want(200, "POST", siteAt+"/stop", "")
	f.clock.Advance(30 * 24 * time.Hour) // every token of the app has long expired
	f.readsOfTerraform(t, 404)
	for _, path := range []string{"", "/config", "/config/web", "/config/logs", "/config/slotConfigNames", "/config/authsettingsV2/list",
		"/config/configreferences/appsettings", "/config/configreferences/connectionstrings", "/config/configreferences/appsettings/SECRET",
		"/basicPublishingCredentialsPolicies", "/hostNameBindings", "/instances", "/slots", "/usages", "/siteextensions", "/privateEndpointConnections"} {
		f.want(200, "GET", siteAt+path, "")
	}
	if w := f.want(200, "GET", siteAt+"/virtualNetworkConnections", ""); strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("network connections, which clients read as an array: %s", w.Body)
	}
	site := f.object("GET", siteAt, "")
	if at(site, "properties", "state") != "Stopped" || at(site, "properties", "enabled") != true || at(site, "properties", "availabilityState") != "Normal" {
		t.Errorf("a stopped app shows %v", at(site, "properties"))
	}
	f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"A":"1"}}`)
	f.want(200, "POST", siteAt+"/config/configreferences/appsettings/refresh", "")
	f.want(204, "POST", siteAt+"/syncfunctiontriggers", "")
	f.want(204, "POST", siteAt+"/host/default/sync", "")
	f.want(400, "GET", siteAt+"/hostruntime/admin/host/status", "")
	f.want(200, "POST", siteAt+"/restart?api-version=2023-12-01&softRestart=true&synchronous=false", "")
	f.want(200, "POST", siteAt+"/start", "")
	if site := f.object("GET", siteAt, ""); at(site, "properties", "state") != "Running" {
		t.Errorf("after start the state is %v", at(site, "properties", "state"))
	}
	f.want(200, "PATCH", siteAt, `{"properties":{"enabled":false}}`)
	if site := f.object("GET", siteAt, ""); at(site, "properties", "state") != "Stopped" || at(site, "properties", "enabled") != false {
		t.Errorf("an app that is not enabled shows %v", at(site, "properties", "state"))
	}
}

func TestPlanIsNamedAsItIsSpelledItself(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.want(200, "PUT", siteAt, strings.Replace(siteBody, "serverfarms/plan", "serverFarms/PLAN", 1))
	if got := at(f.object("GET", siteAt, ""), "properties", "serverFarmId"); got != planAt {
		t.Errorf("the plan's id is %v, not %s", got, planAt)
	}
}

func TestSiteShowsNoSettings(t *testing.T) {
	f := newFixture(t)
	f.create()
	for _, path := range []string{siteAt, siteAt + "/config/web", webAt + "/sites", planAt + "/sites"} {
		if text := f.want(200, "GET", path, "").Body.String(); strings.Contains(text, "FUNCTIONS_WORKER") || strings.Contains(text, "KeyVault(") {
			t.Errorf("%s has settings: %s", path, text)
		}
	}
}

func TestWholeBodyCanBeSentBack(t *testing.T) {
	f := newFixture(t)
	f.create()
	before := f.want(200, "GET", siteAt, "")
	after := f.want(200, "PUT", siteAt, before.Body.String())
	if diff := cmp.Diff(before.Body.String(), after.Body.String()); diff != "" {
		t.Error(diff)
	}
	if settings := f.object("POST", siteAt+"/config/appsettings/list", ""); at(settings, "properties", "FUNCTIONS_WORKER_RUNTIME") != "node" {
		t.Errorf("settings are %v", settings)
	}
	web := f.want(200, "GET", siteAt+"/config/web", "").Body.String()
	for _, method := range []string{"PATCH", "PUT"} {
		if diff := cmp.Diff(web, f.want(200, method, siteAt+"/config/web", web).Body.String()); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
	farm := f.want(200, "GET", planAt, "").Body.String()
	if diff := cmp.Diff(farm, f.want(200, "PUT", planAt, farm).Body.String()); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsRoundTripWithETag(t *testing.T) {
	f := newFixture(t)
	f.create()
	first := f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"A":"1","Gone":null}}`).Header().Get("ETag")
	listed := f.want(200, "POST", siteAt+"/config/appsettings/list", "")
	if first == "" || listed.Header().Get("ETag") != first || strings.Contains(listed.Body.String(), "Gone") {
		t.Errorf("ETag %q after %q: %s", listed.Header().Get("ETag"), first, listed.Body)
	}
	f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"A":"2"}}`, "If-Match", first)
	f.want(412, "PUT", siteAt+"/config/appsettings", `{"properties":{"A":"3"}}`, "If-Match", first)
	f.want(412, "PUT", siteAt, siteBody, "If-None-Match", "*")
	f.want(412, "PUT", siteAt, siteBody, "If-Match", `"no"`)
	if m := f.object("POST", siteAt+"/config/appsettings/list", ""); at(m, "properties", "A") != "2" {
		t.Errorf("%v", m)
	}
}

func TestBadBodiesAreNamedAndNeverServerErrors(t *testing.T) {
	f := newFixture(t)
	f.create()
	for _, tt := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PUT", siteAt, ``, 400, "empty"},
		{"PUT", siteAt, `{`, 400, "not JSON"},
		{"PUT", siteAt, `{"properties":{"httpsOnly":"yes"}}`, 400, "properties.httpsOnly"},
		{"PUT", siteAt, `{"identity":{"type":"Mine"}}`, 400, "identity.type"},
		{"PUT", siteAt, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"/x":{}}}}`, 400, "userAssignedIdentities"},
		{"PUT", siteAt, `{"location":"elsewhere"}`, 409, "already exists in location"},
		{"PUT", webAt + "/sites/fresh", `{}`, 400, "location"},
		{"PUT", webAt + "/sites/a.b", `{"location":"local"}`, 400, "a.b"},
		{"PUT", webAt + "/sites/fresh", `{"location":"local","properties":{"serverFarmId":"plan"}}`, 400, "serverFarmId"},
		{"PUT", webAt + "/sites/fresh", `{"location":"local","properties":{"serverFarmId":"` + planAt + `x"}}`, 404, "serverFarmId"},
		{"PUT", siteAt + "/config/appsettings", `{}`, 400, "properties"},
		{"PUT", siteAt + "/config/appsettings", `{"properties":{"A":{"secret":1}}}`, 400, "properties.A' must be text"},
		{"PUT", siteAt + "/config/appsettings", `{"properties":{"a":"1","A":"2"}}`, 400, "differ only in case"},
		{"PUT", siteAt + "/config/connectionstrings", `{"properties":{"A":"text"}}`, 400, "properties.A' must be an object"},
		{"PUT", siteAt + "/config/slotConfigNames", `{"properties":{"appSettingNames":"A"}}`, 400, "appSettingNames"},
		{"PATCH", siteAt + "/config/web", `{"properties":{"alwaysOn":"x"}}`, 400, "alwaysOn"},
		{"PUT", siteAt + "/basicPublishingCredentialsPolicies/scm", `{"properties":{}}`, 400, "properties.allow"},
		{"PUT", planAt, `{"location":"local","sku":{"name":"X9"}}`, 400, "X9"},
		{"PUT", webAt + "/serverfarms/a.b", `{"location":"local"}`, 400, "a.b"},
		{"PATCH", webAt + "/serverfarms/none", `{}`, 404, "none"},
		{"PATCH", webAt + "/sites/none", `{}`, 404, "none"},
		{"PUT", siteAt + "/slots/staging", `{}`, 404, "slots are not supported"},
	} {
		w := f.call(tt.method, tt.path, tt.body)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s %s answers %d %s", tt.method, tt.path, tt.body, w.Code, w.Body)
		}
	}
}

func TestNameTakenElsewhereIsAConflict(t *testing.T) {
	f := newFixture(t)
	f.create()
	w := f.want(200, "POST", "/subscriptions/"+sub+"/providers/Microsoft.Web/checknameavailability", `{"name":"ORDERS","type":"Microsoft.Web/sites"}`)
	if !strings.Contains(w.Body.String(), `"AlreadyExists"`) || !strings.Contains(w.Body.String(), "Hostname 'ORDERS' already exists") {
		t.Errorf("name check: %s", w.Body)
	}
	w = f.want(200, "POST", "/subscriptions/"+sub+"/providers/Microsoft.Web/checknameavailability", `{"name":"no.good"}`)
	if !strings.Contains(w.Body.String(), `"Invalid"`) {
		t.Errorf("name check: %s", w.Body)
	}
	other := strings.Replace(siteAt, "/rg/", "/other/", 1)
	w = f.want(409, "PUT", other, `{"location":"local"}`)
	if !strings.Contains(w.Body.String(), "already exists") {
		t.Errorf("put: %s", w.Body)
	}
}

func TestConsumptionAppGetsAPlanThatGoesWithIt(t *testing.T) {
	f := newFixture(t)
	site := f.object("PUT", siteAt, `{"location":"West Europe","kind":"functionapp,linux"}`)
	plan, _ := at(site, "properties", "serverFarmId").(string)
	if plan != webAt+"/serverfarms/WestEuropeLinuxDynamicPlan" || at(site, "properties", "sku") != "Dynamic" {
		t.Errorf("plan %q, sku %v", plan, at(site, "properties", "sku"))
	}
	f.object("PUT", webAt+"/sites/bills", `{"location":"westeurope","kind":"functionapp,linux","properties":{"serverFarmId":"`+plan+`"}}`)
	if p := f.object("GET", plan, ""); at(p, "properties", "numberOfSites") != 2.0 || at(p, "kind") != "functionapp" {
		t.Errorf("%v", p)
	}
	f.want(200, "DELETE", siteAt, "")
	f.want(200, "GET", plan, "")
	f.want(200, "DELETE", webAt+"/sites/bills", "")
	f.want(404, "GET", plan, "")
}

func TestFlexConsumptionAppKeepsItsConfig(t *testing.T) {
	f := newFixture(t)
	f.want(200, "PUT", planAt, `{"location":"local","sku":{"name":"FC1"},"properties":{"reserved":true}}`)
	config := `{"deployment":{"storage":{"type":"blobContainer","value":"https://acct.blob.x/cont"}},"runtime":{"name":"node","version":"20"},"scaleAndConcurrency":{"instanceMemoryMB":2048}}`
	site := f.object("PUT", siteAt, `{"location":"local","kind":"functionapp,linux","properties":{"serverFarmId":"`+planAt+`","functionAppConfig":`+config+`}}`)
	var want any
	if err := json.Unmarshal([]byte(config), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, at(site, "properties", "functionAppConfig")); diff != "" || at(site, "properties", "sku") != "FlexConsumption" {
		t.Errorf("%s, sku %v", diff, at(site, "properties", "sku"))
	}
}

// principals is an identity service that counts.
type principals struct{ calls []string }

func (p *principals) Ensure(_ context.Context, site resource.ID, block json.RawMessage) (json.RawMessage, error) {
	p.calls = append(p.calls, site.Name()+" "+string(block))
	return json.RawMessage(strings.Replace(string(block), `"SystemAssigned"`, `"SystemAssigned","principalId":"p1","tenantId":"t"`, 1)), nil
}

func (p *principals) Merge(_ context.Context, old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	return managed.Next(old, said, patch)
}

func (p *principals) Shown(_ context.Context, stored json.RawMessage, _ resource.ID) (json.RawMessage, error) {
	if b, err := managed.Parse(stored); err != nil || !b.System() && !b.User() {
		return nil, err
	}
	return stored, nil
}

func TestIdentityIsKeptAndPrincipalsAreOurs(t *testing.T) {
	ids := &principals{}
	f := newFixture(t, func(c *sites.Config) { c.Identities = ids })
	f.create()
	if site := f.object("GET", siteAt, ""); at(site, "identity") != nil {
		t.Errorf("an app without identity shows %v", at(site, "identity"))
	}
	const user = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"
	site := f.object("PATCH", siteAt, `{"identity":{"type":"systemassigned","principalId":"forged"}}`)
	if diff := cmp.Diff(map[string]any{"type": "SystemAssigned", "principalId": "p1", "tenantId": "t"}, at(site, "identity")); diff != "" {
		t.Error(diff)
	}
	generation := at(site, "properties", "latchkey", "generation")
	site = f.object("PUT", siteAt, strings.Replace(siteBody, `"type":"None"`, `"type":"SystemAssigned"`, 1))
	if at(site, "identity", "principalId") != "p1" || at(site, "properties", "latchkey", "generation") != generation {
		t.Errorf("sent again: %v, generation %v after %v", at(site, "identity"), at(site, "properties", "latchkey", "generation"), generation)
	}
	site = f.object("PATCH", siteAt, `{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"`+user+`":{}}}}`)
	if at(site, "identity", "type") != "SystemAssigned, UserAssigned" || at(site, "identity", "userAssignedIdentities", user) == nil {
		t.Errorf("with a user-assigned one: %v", at(site, "identity"))
	}
	site = f.object("PATCH", siteAt, `{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"`+strings.ToUpper(user)+`":{},"`+user+`2":{}}}}`)
	if list, _ := at(site, "identity", "userAssignedIdentities").(map[string]any); len(list) != 2 {
		t.Errorf("with two: %v", list)
	}
	site = f.object("PATCH", siteAt, `{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"`+user+`2":null}}}`)
	if list, _ := at(site, "identity", "userAssignedIdentities").(map[string]any); len(list) != 1 {
		t.Errorf("after null: %v", list)
	}
	site = f.object("PATCH", siteAt, `{"identity":{"type":"None"}}`)
	if at(site, "identity") != nil || !strings.Contains(ids.calls[len(ids.calls)-1], `"None"`) {
		t.Errorf("after None: %v, last call %q", at(site, "identity"), ids.calls[len(ids.calls)-1])
	}
}

func TestSiteShowsWhatRuns(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := newFixture(t, func(c *sites.Config) {
		c.Status = func(_ context.Context, a app.App) ([]sites.InstanceStatus, error) {
			return []sites.InstanceStatus{{Node: "n1", State: "Running", Since: since}}, nil
		}
	})
	f.create()
	site := f.object("GET", siteAt, "")
	want := map[string]any{"generation": 1.0, "release": "", "instances": []any{map[string]any{"node": "n1", "state": "Running", "errors": []any{}, "since": "2026-01-02T03:04:05Z"}}}
	if diff := cmp.Diff(want, at(site, "properties", "latchkey")); diff != "" {
		t.Error(diff)
	}
	if list := f.object("GET", siteAt+"/instances", ""); at(list, "value", 0, "name") != "n1" {
		t.Errorf("instances: %v", list)
	}
}

func TestHostRuntimeIsAskedWithMoreThanRead(t *testing.T) {
	var asked []string
	f := newFixture(t, func(c *sites.Config) {
		c.HostRuntime = func(c *arm.Call, a app.App, path string) (arm.Reply, error) {
			asked = append(asked, c.HTTP.Method+" "+a.Name+" "+path)
			if strings.HasSuffix(path, "broken") {
				return arm.Reply{}, problem.New(problem.Internal, "oops")
			}
			return arm.OK(map[string]string{"state": "Running"}), nil
		}
	})
	f.create()
	f.want(200, "GET", siteAt+"/hostruntime/admin/host/status", "")
	f.want(200, "POST", siteAt+"/hostruntime/runtime/webhooks/x/a%20b", "")
	f.want(400, "GET", siteAt+"/hostruntime/admin/broken", "")
	want := []string{"GET orders /admin/host/status", "POST orders /runtime/webhooks/x/a%20b", "GET orders /admin/broken"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	f.deny = "Microsoft.Web/sites/hostruntime/host/action"
	f.want(403, "GET", siteAt+"/hostruntime/admin/host/status", "")
	f.want(403, "GET", siteAt+"/hostruntime/admin", "")
}

func TestActionsAreThoseOfRoles(t *testing.T) {
	f := newFixture(t)
	f.create()
	for _, tt := range []struct{ method, path, action string }{
		{"GET", "", "Microsoft.Web/sites/read"},
		{"PUT", "", "Microsoft.Web/sites/write"},
		{"POST", "/stop", "Microsoft.Web/sites/stop/action"},
		{"POST", "/config/appsettings/list", "Microsoft.Web/sites/config/list/action"},
		{"GET", "/config/appsettings/names", "Microsoft.Web/sites/config/list/action"},
		{"PUT", "/config/appsettings", "Microsoft.Web/sites/config/write"},
		{"GET", "/config/web", "Microsoft.Web/sites/config/read"},
		{"GET", "/config/authsettingsV2/list", "Microsoft.Web/sites/config/list/action"},
		{"POST", "/config/publishingcredentials/list", "Microsoft.Web/sites/config/list/action"},
		{"POST", "/publishxml", "Microsoft.Web/sites/publishxml/action"},
		{"GET", "/config/configreferences/appsettings/SECRET", "Microsoft.Web/sites/config/read"},
		{"GET", "/basicPublishingCredentialsPolicies/scm", "Microsoft.Web/sites/basicPublishingCredentialsPolicies/read"},
	} {
		f.actions = nil
		f.call(tt.method, siteAt+tt.path, "{}")
		if !slices.Equal(slices.Compact(f.actions), []string{tt.action + " " + siteAt}) { // asked again when the body is there
			t.Errorf("%s %s asks for %q", tt.method, tt.path, f.actions)
		}
	}
}

func TestListsArePaged(t *testing.T) {
	f := newFixture(t)
	f.create()
	for _, name := range []string{"a1", "b1", "c1"} {
		f.want(200, "PUT", webAt+"/sites/"+name, `{"location":"local","properties":{"serverFarmId":"`+planAt+`"}}`)
	}
	var names []any
	next := "/subscriptions/" + sub + "/providers/Microsoft.Web/sites?api-version=2023-12-01&$top=3"
	for next != "" {
		list := f.object("GET", next, "")
		value, _ := at(list, "value").([]any)
		for _, v := range value {
			names = append(names, at(v, "name"))
		}
		link, _ := at(list, "nextLink").(string)
		next = strings.TrimPrefix(link, "https://localhost:7443")
	}
	if diff := cmp.Diff([]any{"a1", "b1", "c1", "orders"}, names); diff != "" {
		t.Error(diff)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte(siteBody))
	f.Add([]byte(`{"properties":{"A":"x"}}`))
	f.Add([]byte(`{"properties":{"platform":{"enabled":1}},"identity":{"type":"UserAssigned"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		x := newFixture(t)
		x.create()
		for _, call := range [][2]string{{"PUT", ""}, {"PATCH", ""}, {"PUT", "/config/appsettings"}, {"PUT", "/config/connectionstrings"},
			{"PATCH", "/config/web"}, {"PUT", "/config/logs"}, {"PUT", "/config/slotConfigNames"}, {"PUT", "/basicPublishingCredentialsPolicies/scm"}} {
			if w := x.call(call[0], siteAt+call[1], string(body)); w.Code >= http.StatusInternalServerError {
				t.Errorf("%s %s answers %d: %s", call[0], call[1], w.Code, w.Body)
			}
		}
		x.want(200, "GET", siteAt, "")
		x.want(200, "GET", siteAt+"/config/web", "")
		x.want(200, "GET", siteAt+"/config/logs", "")
		x.want(200, "GET", siteAt+"/config/slotConfigNames", "")
	})
}
