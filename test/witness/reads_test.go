package witness

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization"
	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/armapi/deployments"
	"github.com/latchkey/latchkey/internal/armapi/directory"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/armapi/health"
	"github.com/latchkey/latchkey/internal/armapi/installation"
	"github.com/latchkey/latchkey/internal/armapi/keyvault"
	"github.com/latchkey/latchkey/internal/armapi/managedidentity"
	"github.com/latchkey/latchkey/internal/armapi/monitor"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/armapi/storage"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/vaultsecrets"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// operations are all that the program serves. They are only looked at: none of
// their handlers works.
func operations(t *testing.T) []arm.Operation {
	t.Helper()
	base, err := resources.New(resources.Config{
		Inventory: &inventory.Inventory{}, Authorize: anything{}, TenantID: "t", SubscriptionID: groupsSubscription,
		Permissions: func(context.Context, arm.Caller, resource.ID) ([]authz.Permission, error) { return nil, nil },
	})
	must(t, err)
	own, err := directory.New(directory.Config{Directory: &identity.Directory{}, Roles: &rbac.Roles{}, Audit: &audit.Log{}, Groups: &groups.Groups{}, TenantID: "t", SubscriptionID: "s"})
	must(t, err)
	rollouts, err := deployments.New(deployments.Config{Inventory: &inventory.Inventory{}, TenantID: "t", SubscriptionID: "s",
		Invoke: func(context.Context, arm.Inner) (int, []byte, error) { return 0, nil, nil }})
	must(t, err)
	accounts, err := storage.New(storage.Config{Inventory: &inventory.Inventory{}})
	must(t, err)
	vaults, err := keyvault.New(keyvault.Config{Vaults: &vault.Vaults{}, Secrets: &secrets.Store{}, TenantID: "t", Authorize: anything{},
		VaultURL: func(string) string { return "" }})
	must(t, err)
	owned, err := managedidentity.New(managedidentity.Config{Identities: &managed.Identities{}, Directory: &identity.Directory{}, Authorize: anything{},
		TenantID: "t", SubscriptionName: "s"})
	must(t, err)
	contained, err := containerapps.New(containerapps.Config{Apps: &containerapp.Apps{}, Identities: &managed.Identities{}, Authorize: anything{}, Domain: "localhost", Secrets: &vaultsecrets.Secrets{}})
	must(t, err)
	return slices.Concat(contained.Operations(), owned.Operations(), base.Operations(), rollouts.Operations(), accounts.Operations(), vaults.Operations(), own.Operations(), own.GraphOperations(), authorization.New(nil).Operations(),
		sites.New(sites.Config{}).Operations(), functions.New(functions.Config{}).Operations(), installation.New(installation.Config{}).Operations(), monitor.New(monitor.Config{}).Operations(), health.New(health.Config{}).Operations())
}

// sameCatalogue checks that the program serves the types and actions of the
// operations and no others: what it lists for a type that there is not.
func sameCatalogue(t *testing.T, c *caller, ops []arm.Operation) {
	t.Helper()
	api, err := arm.New(arm.Config{
		Authenticate: func(context.Context, *http.Request) (arm.Caller, error) { return arm.Caller{}, nil },
		Authorize:    anything{}, Log: slog.New(slog.DiscardHandler),
	}, ops...)
	must(t, err)
	local := func(path string) string {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "https://localhost"+path, nil))
		return answer{body: w.Body.Bytes()}.text("error.message")
	}
	paths := []string{"/providers/Not.There/x"}
	for _, ns := range regexp.MustCompile(`(Microsoft|Latchkey)\.\w+`).FindAllString(local(paths[0]), -1) {
		paths = append(paths, "/providers/"+ns+"/notThere/x")
	}
	if len(paths) < 5 {
		t.Fatalf("namespaces: %s", local(paths[0]))
	}
	for _, path := range paths {
		got := c.send(t, request{method: "GET", path: path}).text("error.message")
		if want := local(path); got != want {
			t.Errorf("the program serves other types than this test knows; add their provider to operations.\nprogram: %s\ntest:    %s", got, want)
		}
	}
}

// isReadOperation reports whether an operation changes nothing.
func isReadOperation(op arm.Operation) bool {
	verb := strings.ToLower(op.Pattern[strings.LastIndex(op.Pattern, "/")+1:])
	named := slices.ContainsFunc([]string{"list", "check", "validate", "whatif"}, func(p string) bool { return strings.HasPrefix(verb, p) })
	return op.Method == http.MethodGet || op.Method == http.MethodPost && (op.Reads || named)
}

// readBodies are for reads that want one, by the end of the pattern.
var readBodies = map[string]string{
	"/{deployment}/validate": rollout, "/{deployment}/whatIf": rollout,
	"/providers/Microsoft.Storage/checkNameAvailability":       `{"name":"somename","type":"Microsoft.Storage/storageAccounts"}`,
	"/providers/Microsoft.KeyVault/checkNameAvailability":      `{"name":"some-name","type":"Microsoft.KeyVault/vaults"}`,
	"/managedEnvironments/{environment}/checkNameAvailability": `{"name":"some-name","type":"Microsoft.App/containerApps"}`,
	"/providers/Microsoft.Web/checknameavailability":           `{"name":"somename","type":"Microsoft.Web/sites"}`,
	"/providers/Microsoft.ResourceGraph/resources":             `{"query":"Resources | project id"}`,
	"/v1.0/directoryObjects/getByIds":                          `{"ids":[]}`,
	"/vaults/{vault}/checkAccess":                              `{"objectId":"11111111-2222-3333-4444-555555555555","secret":"s"}`,
	"/providers/Latchkey.Keys/find":                            `{"value":"nobody's"}`,
	"/host/default/findkey":                                    `{"value":"nobody's"}`,
	"/getMemberGroups":                                         `{"securityEnabledOnly":true}`,
	"/checkMemberGroups":                                       `{"groupIds":["11111111-2222-3333-4444-555555555555"]}`,
}

// rollout is a deployment without resources.
const rollout = `{"location":"local","properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
	"contentVersion":"1.0.0.0","resources":[],"outputs":{"x":{"type":"string","value":"y"}}}}}`

// readFailures are the answers of reads that do not succeed, documented as such,
// by the end of the pattern: a status and a code. "never" are those of an app that
// was never deployed.
var readFailures = map[string]string{
	"/config/backup/list":                        "404 NotFound",         // no backup is configured
	"/slots/{slot}":                              "404 ResourceNotFound", // there are no slots
	"/roleAssignments/{name}":                    "404 RoleAssignmentNotFound",
	"/replicas/{replica}":                        "404 ReplicaNotFound",             // none runs
	"/operations/{operation}":                    "404 DeploymentOperationNotFound", // the deployment has no resources
	"/containerappOperationStatuses/{operation}": "404 OperationNotFound",
	"/containerappOperationResults/{operation}":  "404 OperationNotFound",
	"/operationStatuses/{operation}":             "404 OperationNotFound",
	"/operationResults/{operation}":              "404 OperationNotFound",
	"/deletedVaults/{vault}":                     "404 DeletedVaultNotFound", // it is not deleted
	"/secretReferences/{secret}":                 "404 NotFound",             // the container app has none in a vault
	"/decisions/{id}":                            "404 ResourceNotFound",     // nobody was refused with this id
}

// otherScopes are deployments where none are supported.
var otherScopes = regexp.MustCompile(`^(/providers/Microsoft.Management/.*)?/providers/Microsoft.Resources/deployments`)

// never are the reads of functions and deployments, of which an app has none that
// was never deployed.
var never = regexp.MustCompile(`/functions/\{function\}|/(deployments|deploymentStatus|releases)/\{id\}`)

// reading says how the program's reads are called for one app.
type reading struct {
	*caller
	groups   *strings.Replacer // for patterns in which {group} is one of principals
	params   *strings.Replacer
	deployed bool
}

// ofGroups finds patterns in which {group} is a group of principals.
var ofGroups = regexp.MustCompile(`^(/v1.0|/providers/Latchkey.Directory)/groups/`)

func readsOf(c *caller, app, principal, group string, deployed bool) reading {
	return reading{c, strings.NewReplacer("{group}", group, "{member}", principal), strings.NewReplacer(
		"{object}", principal, "{identity}", "readidentity",
		"{scope}", c.site("reads", app), "{sub}", c.cred.SubscriptionID, "{subscription}", c.cred.SubscriptionID, "{group}", "reads", "{site}", app,
		"{plan}", "plan", "{function}", "f", "{id}", "latest", "{setting}", "REF", "{namespace}", "Microsoft.Web", "{location}", "local",
		"{slot}", "staging", "{role}", reader, "{name}", "11111111-2222-3333-4444-555555555555", "{principal}", principal, "{credential}", "cluster",
		"{account}", "readstorage", "{child}", "child", "{deployment}", "rollout", "{managementGroup}", "all", "{vault}", "readvault", "{secret}", "s", "{operation}", "none",
		"{app}", "readapp", "{environment}", "readenv", "{revision}", "readapp--one", "{replica}", "none",
	), deployed}
}

// all calls every read and checks that it is answered.
func (r reading) all(t *testing.T, ops []arm.Operation) {
	t.Helper()
	slowest, which := time.Duration(0), ""
	called := 0
	probe := r.params.Replace("/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Web/sites/{site}/host/default/systemKeys/probe")
	if a := r.send(t, request{method: http.MethodPut, path: probe + "?api-version=2023-12-01", body: `{"properties":{"name":"probe"}}`}); outcome(a) != "answered" {
		t.Errorf("a system key to read: %s", a)
	}
	for _, op := range ops {
		if !isReadOperation(op) || strings.Contains(op.Pattern, "/hostruntime/") { // which is the running host itself
			continue
		}
		path := op.Pattern
		if ofGroups.MatchString(path) {
			path = r.groups.Replace(path)
		}
		path = strings.ReplaceAll(r.params.Replace(path), "{key}", keyRead(path))
		if strings.Contains(path, "{") {
			t.Errorf("%s %s: the test has no value for a parameter", op.Method, op.Pattern)
			continue
		}
		begin := time.Now()
		a := r.send(t, request{method: op.Method, path: path + "?api-version=2023-12-01", body: bodyOf(op.Pattern)})
		if took := time.Since(begin); took > slowest {
			slowest, which = took, op.Pattern
		}
		called++
		if got, want := outcome(a), r.expected(op); got != want {
			t.Errorf("%s %s: %s, not %s: %s", op.Method, path, got, want, a)
		}
	}
	t.Logf("%d reads; the slowest took %s: %s", called, slowest.Round(time.Millisecond), which)
	if called < 100 {
		t.Errorf("only %d operations read something", called)
	}
}

// keyRead names a key that is there, of the kind that a pattern is about.
func keyRead(pattern string) string {
	switch {
	case strings.Contains(pattern, "/masterKey"):
		return "_master"
	case strings.Contains(pattern, "/systemKey"):
		return "probe"
	}
	return "default"
}

// byEnd finds what is kept for the end of a pattern.
func byEnd(of map[string]string, pattern string) string {
	for end, value := range of {
		if strings.HasSuffix(pattern, end) {
			return value
		}
	}
	return ""
}

// bodyOf gives the body of a read.
func bodyOf(pattern string) string {
	body := byEnd(readBodies, pattern)
	if !strings.Contains(pattern, "/resourceGroups/") {
		body = toSubscription(body)
	}
	return body
}

// toSubscription makes a deployment to a subscription of one to a group.
func toSubscription(body string) string {
	return strings.Replace(body, "deploymentTemplate.json", "subscriptionDeploymentTemplate.json", 1)
}

// outcome is "answered", or the status and the code of a failure.
func outcome(a answer) string {
	if a.status < 300 {
		return "answered"
	}
	return fmt.Sprint(a.status, " ", a.text("error.code"))
}

func (r reading) expected(op arm.Operation) string {
	if failure := byEnd(readFailures, op.Pattern); failure != "" {
		return failure
	}
	if otherScopes.MatchString(op.Pattern) {
		return "400 DeploymentScopeNotSupported"
	}
	if !r.deployed && never.MatchString(op.Pattern) {
		return "404 NotFound"
	}
	return "answered"
}

func TestNoReadDependsOnARunningApp(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "", "--containers", "none")
	c := p.owner(t)
	ops := operations(t)
	sameCatalogue(t, c, ops)
	_, principal := c.principal(t, "reader")
	c.do(t, "PUT", "/providers/Latchkey.Directory/principals/"+principal+"/federatedCredentials/cluster?api-version=2026-01-01",
		`{"issuer":"https://issuer.example","subject":"s","audiences":["api://AzureADTokenExchange"]}`)

	group := c.do(t, "POST", "/providers/Latchkey.Directory/groups?api-version=2026-01-01", `{"name":"readers"}`).text("objectId")
	c.do(t, "PUT", "/providers/Latchkey.Directory/groups/"+group+"/members/"+principal+"?api-version=2026-01-01", "")

	c.app(t, "reads", "never", "http://127.0.0.1:1")
	const deployment = "/providers/Microsoft.Resources/deployments/rollout?api-version=2021-04-01"
	c.do(t, "PUT", c.group("reads")+deployment, strings.Replace(rollout, `"location":"local",`, "", 1))
	c.do(t, "PUT", c.subscription()+deployment, toSubscription(rollout))
	account := c.group("reads") + "/providers/Microsoft.Storage/storageAccounts/readstorage"
	c.do(t, "PUT", account+"?api-version=2023-05-01", `{"location":"local","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	for _, child := range []string{"blobServices/default/containers", "fileServices/default/shares", "queueServices/default/queues", "tableServices/default/tables"} {
		c.do(t, "PUT", account+"/"+child+"/child?api-version=2023-05-01", `{}`)
	}
	own := c.group("reads") + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/readidentity"
	c.do(t, "PUT", own+"?api-version=2023-01-31", `{"location":"local"}`)
	c.do(t, "PUT", own+"/federatedIdentityCredentials/cluster?api-version=2023-01-31",
		`{"properties":{"issuer":"https://issuer.example","subject":"of-the-identity","audiences":["api://AzureADTokenExchange"]}}`)
	contained := c.group("reads") + "/providers/Microsoft.App"
	c.do(t, "PUT", contained+"/managedEnvironments/readenv?api-version=2025-07-01", `{"location":"local","properties":{}}`)
	c.do(t, "PUT", contained+"/containerApps/readapp?api-version=2025-07-01", `{"location":"local","properties":{"environmentId":"`+contained+`/managedEnvironments/readenv",
		"template":{"revisionSuffix":"one","containers":[{"name":"main","image":"example.com/none"}]}}}`)
	kv := c.group("reads") + "/providers/Microsoft.KeyVault/vaults/readvault"
	c.do(t, "PUT", kv+"?api-version=2023-07-01", `{"location":"local","properties":{"tenantId":"`+c.cred.TenantID+`","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`)
	c.do(t, "PUT", kv+"/secrets/s?api-version=2023-07-01", `{"properties":{"value":"v"}}`)
	c.do(t, "PUT", c.group("reads")+"/providers/Microsoft.Web/serverfarms/plan?api-version=2023-12-01", `{"location":"local","sku":{"name":"Y1"}}`)
	c.app(t, "reads", "broken", "http://127.0.0.1:1")
	c.deploy(t, "broken", map[string]string{"host.json": `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"/bin/false"}}}`})
	c.app(t, "reads", "healthy", hello(t))
	c.deploy(t, "healthy", nil)
	key := c.do(t, "POST", c.site("reads", "healthy")+"/host/default/listkeys?api-version=2023-12-01", "").text("functionKeys.default")
	p.calls(t, "healthy", key, http.StatusOK)
	until(t, "the broken app shows what is wrong", func() bool {
		if _, err := p.call(t.Context(), "broken", "/api/f", ""); err != nil {
			t.Fatal(err)
		}
		return c.do(t, "GET", c.site("reads", "broken")+"?api-version=2023-12-01", "").has("properties.latchkey.instances.0.errors.0") == nil
	})

	for _, app := range []string{"never", "broken", "healthy"} {
		c.do(t, "PATCH", c.site("reads", app)+"?api-version=2023-12-01", `{"identity":{"type":"SystemAssigned"}}`)
	}
	apps := map[string]bool{"never": false, "broken": true, "healthy": true}
	for app, deployed := range apps {
		t.Run("as it is, "+app, func(t *testing.T) { readsOf(c, app, principal, group, deployed).all(t, ops) })
	}
	for app := range apps {
		c.do(t, "POST", c.site("reads", app)+"/stop?api-version=2023-12-01", "")
	}
	for app := range apps {
		p.calls(t, app, key, http.StatusForbidden)
	}
	for app, deployed := range apps {
		t.Run("stopped, "+app, func(t *testing.T) {
			readsOf(c, app, principal, group, deployed).all(t, ops)
			host := c.send(t, request{method: "GET", path: c.site("reads", app) + "/hostruntime/admin/host/status?api-version=2023-12-01"})
			if outcome(host) != "400 BadRequest" || !strings.HasPrefix(host.text("error.message"), "Encountered an error (ServiceUnavailable) from host runtime") {
				t.Errorf("what only a running host can answer: %s", host)
			}
		})
	}
	writesOfAStopped(t, c)
}

// writesOfAStopped are the writes that do not need a running app either.
func writesOfAStopped(t *testing.T, c *caller) {
	t.Helper()
	site := c.site("reads", "healthy")
	const version = "?api-version=2023-12-01"
	c.do(t, "PUT", site+"/host/default/functionkeys/mine"+version, `{"properties":{"name":"mine","value":"a-key-of-my-own-0123456789"}}`)
	c.do(t, "PUT", site+"/functions/f/keys/mine"+version, `{"properties":{"name":"mine"}}`)
	settings := c.do(t, "POST", site+"/config/appsettings/list"+version, "")
	c.do(t, "PUT", site+"/config/appsettings"+version, string(settings.body))
	c.do(t, "PATCH", site+"/config/web"+version, `{"properties":{"http20Enabled":true}}`)
	c.do(t, "PATCH", site+version, `{"properties":{"httpsOnly":false}}`)
	c.deploy(t, "healthy", map[string]string{"more.txt": "a second package"})
	c.do(t, "POST", site+"/syncfunctiontriggers"+version, "")
	c.do(t, "POST", site+"/start"+version, "")
	c.p.calls(t, "healthy", "a-key-of-my-own-0123456789", http.StatusOK)
}
