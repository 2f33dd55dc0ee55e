package resources

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

func TestAnswersHaveTheirForm(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", sub+"/resourcegroups/Mine", `{"location":"West Europe","tags":{"a":"b"}}`, 201)
	f.put(resource.Group(testSub, "Mine").Child("Microsoft.Web", "sites", "Shop"), inventory.Resource{
		Location: "local", Kind: "functionapp", Tags: map[string]string{"env": "test"},
		SKU: json.RawMessage(`{"name":"Y1"}`), Identity: json.RawMessage(`{"type":"SystemAssigned"}`),
		Properties: json.RawMessage(`{"provisioningState":"Succeeded","state":"Running"}`), Private: json.RawMessage(`{"secret":"hunter2"}`),
	})
	const site = `where type =~ 'Microsoft.Web/sites' and name =~ 'shop' | project id, Sku = sku, properties.State`
	tests := []struct{ name, method, target, body string }{
		{"metadata-2022", "GET", "/metadata/endpoints?api-version=2022-09-01", ""},
		{"metadata-2020", "GET", "/metadata/endpoints?api-version=2020-06-01", ""},
		{"metadata-2018", "GET", "//metadata/endpoints?api-version=2018-01-01", ""},
		{"metadata-2015", "GET", "/metadata/endpoints?api-version=2015-01-01", ""},
		{"tenants", "GET", "/tenants?" + version, ""},
		{"subscriptions", "GET", "/subscriptions?" + version, ""},
		{"subscription", "GET", sub + "?" + version, ""},
		{"locations", "GET", sub + "/locations?" + version, ""},
		{"provider", "GET", sub + "/providers/microsoft.web?" + version, ""},
		{"provider-of-tenant", "GET", "/providers/Microsoft.Web?" + version, ""},
		{"provider-unknown", "GET", sub + "/providers/Microsoft.Foo?" + version, ""},
		{"group", "GET", sub + "/resourceGroups/mine?" + version, ""},
		{"group-missing", "GET", sub + "/resourceGroups/other?" + version, ""},
		{"groups", "GET", sub + "/resourceGroups?" + version, ""},
		{"resources", "GET", sub + "/resources?$expand=createdTime,changedTime,provisioningState&" + version, ""},
		{"permissions", "GET", sub + "/resourceGroups/mine/providers/Microsoft.Authorization/permissions?" + version, ""},
		{"locks", "GET", sub + "/providers/Microsoft.Authorization/locks?" + version, ""},
		{"graph-table", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2019-04-01", graphRequest(site)},
		{"graph-objects", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", graphRequest("Resources | " + site + " | limit 1")},
		{"graph-unsupported", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", graphRequest("Resources | summarize count() by type")},
	}
	for _, tt := range tests {
		w := f.as("owner", tt.method, tt.target, tt.body)
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s: what is private is told: %s", tt.name, w.Body)
		}
		golden(t, tt.name, w.Code, w.Body.String())
	}
}

func graphRequest(query string) string {
	text, _ := json.Marshal(map[string]any{"subscriptions": []string{testSub}, "query": query})
	return string(text)
}

func TestMetadataNeedsNoToken(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{"/metadata/endpoints?api-version=2022-09-01", "//metadata/endpoints?api-version=2018-01-01", "/metadata/endpoints", "/metadata/endpoints?api-version=x"} {
		if w := f.as("", "GET", target, ""); w.Code != 200 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/tenants?", "/subscriptions?", sub + "/resources?"} {
		if w := f.as("", "GET", target+version, ""); w.Code != 401 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

func TestProvidersAreAlwaysRegistered(t *testing.T) {
	f := newFixture(t)
	for _, action := range []string{"register", "unregister"} {
		got := f.do("POST", sub+"/providers/Microsoft.Web/"+action, "", 200)
		if got["registrationState"] != "Registered" || got["id"] != sub+"/providers/Microsoft.Web" {
			t.Errorf("%s: %v", action, got)
		}
	}
	for _, target := range []string{sub + "/providers", "/providers"} {
		if got := f.do("GET", target, "", 200); len(got["value"].([]any)) != 3 {
			t.Errorf("%s: %v", target, got)
		}
		mixed := f.do("GET", target+"/Microsoft.Resources", "", 200)["resourceTypes"].([]any)
		if first := mixed[0].(map[string]any); first["resourceType"] != "deployments" || len(mixed) != 8 {
			t.Errorf("%s: types of two packages: %v", target, mixed)
		}
	}
}

func TestGroupsLiveAndDie(t *testing.T) {
	f := newFixture(t)
	const path = sub + "/resourceGroups/RG-1"
	f.do("HEAD", path, "", 404)
	if got := f.do("PUT", path, `{"location":"West Europe","tags":{"a":"b"},"managedBy":"me"}`, 201); got["id"] != path || got["location"] != "westeurope" || got["managedBy"] != "me" {
		t.Errorf("%v", got)
	}
	lower := strings.ToLower(path)
	f.do("HEAD", lower, "", 204)
	if got := f.do("GET", lower, "", 200); got["id"] != path || got["name"] != "RG-1" {
		t.Errorf("the first spelling is lost: %v", got)
	}
	if got := f.do("PATCH", path, `{"tags":{"c":"d"}}`, 200); fmt.Sprint(got["tags"]) != "map[c:d]" || got["managedBy"] != "me" {
		t.Errorf("%v", got)
	}
	if got := f.do("PUT", path, `{"location":"westeurope","tags":null,"properties":{"provisioningState":"x"}}`, 200); fmt.Sprint(got["tags"]) != "map[]" {
		t.Errorf("tags are left: %v", got)
	}
	site := resource.Group(testSub, "rg-1").Child("Microsoft.Web", "sites", "s")
	f.put(site, inventory.Resource{Location: "local"})
	f.do("DELETE", lower, "", 200)
	if len(f.torn) != 1 || !f.torn[0].Equal(resource.Group(testSub, "RG-1")) {
		t.Errorf("torn down: %v", f.torn)
	}
	if _, err := f.inv.Get(t.Context(), site); !errors.Is(err, problem.NotFound) {
		t.Errorf("what lay in the group: %v", err)
	}
	f.do("GET", path, "", 404)
	if got := f.do("DELETE", path, "", 404); errorCode(got) != "ResourceGroupNotFound" {
		t.Errorf("%v", got)
	}
}

func TestGroupsThatCannotBeAreRefused(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", sub+"/resourceGroups/here", `{"location":"local"}`, 201)
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	tooMany, _ := json.Marshal(map[string]any{"location": "local", "tags": many})
	tests := []struct {
		name, method, group, body string
		status                    int
		code                      string
	}{
		{"no location", "PUT", "new", `{}`, 400, "LocationRequired"},
		{"null location", "PUT", "new", `{"location":null}`, 400, "LocationRequired"},
		{"odd location", "PUT", "new", `{"location":"a/b"}`, 400, "LocationNotAvailableForResourceGroup"},
		{"moved", "PUT", "here", `{"location":"elsewhere"}`, 409, "InvalidResourceGroupLocation"},
		{"no body", "PUT", "new", ``, 400, "InvalidRequestContent"},
		{"wrong type", "PUT", "new", `{"location":"local","tags":["a"]}`, 400, "InvalidRequestContent"},
		{"name with a stop at its end", "PUT", "new.", `{"location":"local"}`, 400, "InvalidResourceGroupName"},
		{"name with a star", "PUT", "n*w", `{"location":"local"}`, 400, "InvalidResourceGroupName"},
		{"long name", "PUT", strings.Repeat("x", 91), `{"location":"local"}`, 400, "InvalidResourceGroupName"},
		{"too many tags", "PUT", "new", string(tooMany), 400, "TooManyTags"},
		{"odd tag", "PATCH", "here", `{"tags":{"a<b":"c"}}`, 400, "InvalidTagNameCharacters"},
		{"tag twice", "PATCH", "here", `{"tags":{"a":"b","A":"c"}}`, 400, "DuplicateTagName"},
		{"long value of a tag", "PATCH", "here", `{"tags":{"a":"` + strings.Repeat("x", 257) + `"}}`, 400, "InvalidTagValueLength"},
		{"change of what there is not", "PATCH", "new", `{}`, 404, "ResourceGroupNotFound"},
	}
	for _, tt := range tests {
		if got := f.do(tt.method, sub+"/resourceGroups/"+tt.group, tt.body, tt.status); errorCode(got) != tt.code {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestGroupsChangeUnderConditions(t *testing.T) {
	f := newFixture(t)
	const target = sub + "/resourceGroups/g?" + version
	w := f.as("owner", "PUT", target, `{"location":"local"}`, "If-None-Match", "*")
	if w.Code != 201 || w.Header().Get("ETag") == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	tag := w.Header().Get("ETag")
	if w := f.as("owner", "PUT", target, `{"location":"local"}`, "If-None-Match", "*"); w.Code != 412 {
		t.Errorf("%d", w.Code)
	}
	if w := f.as("owner", "PATCH", target, `{"tags":{"a":"b"}}`, "If-Match", tag); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, method := range []string{"PATCH", "DELETE"} {
		if w := f.as("owner", method, target, `{}`, "If-Match", tag); w.Code != 412 {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}

func TestResourcesNeedTheirGroup(t *testing.T) {
	f := newFixture(t)
	const site = sub + "/resourceGroups/g/providers/Microsoft.Web/sites/s"
	if got := f.do("PUT", site, `{}`, 404); errorCode(got) != "ResourceGroupNotFound" {
		t.Errorf("%v", got)
	}
	f.do("PUT", sub+"/resourceGroups/g", `{"location":"local"}`, 201)
	f.do("PUT", site, `{}`, 200)
	id := resource.Group(testSub, "g")
	f.put(id, inventory.Resource{Location: "local", Deleting: true})
	for target, body := range map[string]string{site: `{}`, sub + "/resourceGroups/g": `{"location":"local"}`} {
		if got := f.do("PUT", target, body, 409); errorCode(got) != "ResourceGroupBeingDeleted" {
			t.Errorf("%v", got)
		}
	}
	f.do("DELETE", sub+"/resourceGroups/g", "", 200) // finishes what was interrupted
}

func TestGroupsThatCannotBeTornDownStay(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", sub+"/resourceGroups/g", `{"location":"local"}`, 201)
	f.tear = problem.New(problem.Unavailable, "the node cannot be reached")
	f.do("DELETE", sub+"/resourceGroups/g", "", 503)
	got := f.do("GET", sub+"/resourceGroups/g", "", 200)
	if state := got["properties"].(map[string]any)["provisioningState"]; state != "Succeeded" {
		t.Errorf("%v", got)
	}
}

// fill makes two groups with resources of several types.
func (f *fixture) fill() {
	for _, name := range []string{"mine", "yours"} {
		f.do("PUT", sub+"/resourceGroups/"+name, `{"location":"local","tags":{"owner":"`+name+`"}}`, 201)
		g := resource.Group(testSub, name)
		site := g.Child("Microsoft.Web", "sites", name+"-app")
		f.put(site, inventory.Resource{Location: "local", Kind: "functionapp", Tags: map[string]string{"env": "test", "team": name},
			Properties: json.RawMessage(`{"InstrumentationKey":"key-of-` + name + `"}`)})
		f.put(site.Child("", "slots", "next"), inventory.Resource{Location: "local"})
		f.put(site.Child("", "functions", "f"), inventory.Resource{})
		f.put(site.Child("Microsoft.Authorization", "roleAssignments", "r"), inventory.Resource{Location: "local"})
		f.put(g.Child("Microsoft.KeyVault", "vaults", name+"-vault"), inventory.Resource{Location: "local", Tags: map[string]string{"env": "live"}})
	}
}

func TestListsShowWhatIsAskedFor(t *testing.T) {
	f := newFixture(t)
	f.fill()
	const all = "mine-vault mine-app mine-app/next yours-vault yours-app yours-app/next"
	tests := []struct{ name, path, query, want string }{
		{"all", "/resources", "", all},
		{"of a group", "/resourceGroups/MINE/resources", "", "mine-vault mine-app mine-app/next"},
		{"type", "/resources", "$filter=resourceType eq 'microsoft.web/SITES'", "mine-app yours-app"},
		{"name", "/resources", "$filter=name eq 'mine-app'", "mine-app"},
		{"type and name", "/resources", "$filter=resourceType eq 'Microsoft.KeyVault/vaults' and name eq 'yours-vault'", "yours-vault"},
		{"part of a name", "/resources", "$filter=substringof('vault', name)", "mine-vault yours-vault"},
		{"or and parentheses", "/resources", "$filter=(name eq 'mine-app' or name eq 'yours-app') and resourceGroup eq 'yours'", "yours-app"},
		{"not", "/resources", "$filter=not (resourceType ne 'Microsoft.KeyVault/vaults')", "mine-vault yours-vault"},
		{"tag", "/resources", "$filter=tagName eq 'env' and tagValue eq 'live'", "mine-vault yours-vault"},
		{"name and value of different tags", "/resources", "$filter=tagName eq 'env' and tagValue eq 'mine'", ""},
		{"start of a tag's name", "/resources", "$filter=startswith(tagName, 'te')", "mine-app yours-app"},
		{"groups", "/resourcegroups", "", "mine yours"},
		{"groups by tag", "/resourceGroups", "$filter=tagName eq 'owner' and tagValue eq 'yours'", "yours"},
		{"nothing", "/resources", "$filter=name eq ''''", ""},
	}
	for _, tt := range tests {
		got := f.do("GET", sub+tt.path+"?"+strings.ReplaceAll(tt.query, " ", "%20"), "", 200)
		if names(got) != tt.want {
			t.Errorf("%s: %s", tt.name, names(got))
		}
	}
	for _, filter := range []string{"plan eq 'x'", "name gt 'x'", "name eq x", "name eq 'x", "name eq 'x' extra", "f(name)", "name eq 'x' and", "((name eq 'x')", "'x' eq name"} {
		got := f.do("GET", sub+"/resources?$filter="+strings.ReplaceAll(filter, " ", "%20"), "", 400)
		if errorCode(got) != "InvalidFilterInQueryString" {
			t.Errorf("%s: %v", filter, got)
		}
	}
}

func TestListsHavePages(t *testing.T) {
	f := newFixture(t)
	f.fill()
	target, seen := sub+"/resources?$top=4&"+version, ""
	for pages := 0; target != ""; pages++ {
		got := f.do("GET", target, "", 200)
		seen += names(got) + " | "
		link, _ := got["nextLink"].(string)
		if target = strings.TrimPrefix(link, "https://localhost:7443"); pages > 3 || link != "" && target == link {
			t.Fatalf("%s", link)
		}
	}
	if seen != "mine-vault mine-app mine-app/next yours-vault | yours-app yours-app/next | " {
		t.Error(seen)
	}
}

func TestCallersSeeWhatTheyMayRead(t *testing.T) {
	f := newFixture(t)
	f.fill()
	tests := []struct{ who, path, want string }{
		{"guest", "/resources", "mine-vault mine-app mine-app/next"},
		{"guest", "/resourceGroups", "mine"},
		{"guest", "/resourceGroups/yours/resources", ""},
		{"stranger", "/resources", ""},
		{"stranger", "/resourceGroups", ""},
	}
	for _, tt := range tests {
		w := f.as(tt.who, "GET", sub+tt.path+"?"+version, "")
		if w.Code != 200 || names(object(t, w)) != tt.want {
			t.Errorf("%s %s: %d %s", tt.who, tt.path, w.Code, w.Body)
		}
	}
	w := f.as("guest", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", graphRequest("Resources | project name | limit 3"))
	if got := object(t, w); fmt.Sprint(got["data"]) != "[map[name:mine-vault] map[name:mine-app] map[name:mine-app/next]]" {
		t.Errorf("%v", got)
	}
	for _, target := range []string{"/resourceGroups/yours", "/resourceGroups/nowhere"} {
		if w := f.as("guest", "GET", sub+target+"?"+version, ""); w.Code != 403 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

func TestGraphFindsWhatToolsLookFor(t *testing.T) {
	f := newFixture(t)
	f.fill()
	ask := func(query, more string) map[string]any {
		body := strings.TrimSuffix(graphRequest(query), "}") + more + "}"
		w := f.as("owner", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2019-04-01", body)
		return object(t, w)
	}
	tests := []struct{ name, query, rows string }{
		{"app", "where type =~ 'Microsoft.Web/sites' and name =~ 'MINE-app' | project id", "[[" + sub + "/resourceGroups/mine/providers/Microsoft.Web/sites/mine-app]]"},
		{"slot", "where type =~ 'Microsoft.Web/sites/slots' and name =~ 'yours-app/next' | project name", "[[yours-app/next]]"},
		{"instrumentation key", `where properties.InstrumentationKey =~ "key-of-yours" | project name`, "[[yours-app]]"},
		{"missing", "where name =~ 'x' | project id", "[]"},
		{"exact type is in lower case", "Resources | where type == 'microsoft.keyvault/vaults' | project name | take 1", "[[mine-vault]]"},
		{"in", "resources | where name in~ ('MINE-APP', 'x') | project n = name, location", "[[mine-app local]]"},
		{"tag", "where tags.team == 'yours' | project name, tags.env", "[[yours-app test]]"},
		{"nothing asked of a member", "where kind != '' | project name", "[[mine-app] [yours-app]]"},
		{"limit 0", "limit 0", "[]"},
	}
	for _, tt := range tests {
		got := ask(tt.query, "")
		data, _ := got["data"].(map[string]any)
		if fmt.Sprint(data["rows"]) != tt.rows {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	for _, query := range []string{"where", "where x == 'y'", "where name", "where name ~ 'x'", "where name == x", "summarize count()", "project", "project x",
		"project id,", "limit", "limit x", "Resources where name == 'x'", "Resources |", "| limit 1", "project id | project id", "join x", "where name == 'x' |", "where (name == 'x'"} {
		if got := ask(query, ""); errorCode(got) != "BadRequest" {
			t.Errorf("%s: %v", query, got)
		}
	}
	page := ask("project name", `,"options":{"$top":4}`)
	token, _ := page["$skipToken"].(string)
	rest := ask("project name", `,"options":{"$top":4,"$skipToken":"`+token+`"}`)
	if page["count"] != 4.0 || page["totalRecords"] != 6.0 || rest["count"] != 2.0 || rest["$skipToken"] != nil {
		t.Errorf("%v %v", page, rest)
	}
	for _, more := range []string{`,"facets":[{}]`, `,"options":{"$top":0}`, `,"options":{"$skip":-1}`, `,"options":{"$skipToken":"x"}`, `,"options":{"resultFormat":"csv"}`} {
		if got := ask("project id", more); errorCode(got) != "BadRequest" {
			t.Errorf("%s: %v", more, got)
		}
	}
}
