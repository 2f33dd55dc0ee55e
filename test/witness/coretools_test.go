package witness

import (
	"net/http"
	"strings"
	"testing"
)

// coreTools replays func azure functionapp list-functions and publish.
func coreTools(t *testing.T, c *caller) {
	c.app(t, "func-rg", "func-app", hello(t))
	r := replaying(c, "2015-08-01", "func-rg", "func-app", http.Header{"User-Agent": {"functions-core-tools/4.14.0"}})
	t.Run("publish", func(t *testing.T) {
		r.find(t)
		r.publish(t)
	})
	t.Run("list-functions", func(t *testing.T) {
		r.find(t)
		r.run(t, step{"GET", "{site}/functions", "", "200", nil},
			step{"GET", "{site}/functions", "", "200", []string{"value.0.properties.config.bindings.0.type=httpTrigger", "value.0.properties.config.bindings.0.authLevel=function",
				"value.0.properties.invoke_url_template", "value.0.properties.name=f"}})
		keys := r.send(t, request{method: "POST", path: r.names.Replace("{site}/functions/f/listKeys?api-version=2015-08-01")})
		key := keys.text("default") // the first value of a flat object
		if keys.status != http.StatusOK || key == "" {
			t.Fatalf("keys of a function: %s", keys)
		}
		c.p.calls(t, "func-app", key, http.StatusOK)
	})
	t.Run("logstream", func(t *testing.T) {
		r.find(t)
		r.logStream(t, "/api/logstream/application", false)
	})
	t.Run("az webapp log tail", func(t *testing.T) { r.logStream(t, "/logstream", true) })
}

// find is how the tool gets to an app: by its name alone.
func (r replay) find(t *testing.T) {
	t.Helper()
	r.run(t, step{"GET", "/subscriptions?api-version=2018-09-01", "", "200", []string{"value.0.subscriptionId={subid}", "value.0.displayName"}},
		step{"POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2019-04-01",
			`{"subscriptions":["{subid}"],"query":"where type =~ 'Microsoft.Web/sites' and name =~ '{app}' | project id"}`, "200",
			[]string{"data.columns.0.name=id", "data.rows.0.0={site}", "!data.rows.1"}})
	r.together(t,
		step{"GET", "{site}", "", "200", []string{"properties.enabledHostNames.1", "properties.sku=Dynamic", "kind", "properties.hostNames.0"}},
		step{"POST", "{site}/config/PublishingCredentials/list", "", "200", []string{"properties.publishingUserName", "properties.publishingPassword"}},
		step{"GET", "{site}/config/web", "", "200", []string{"properties"}},
		step{"POST", "{site}/config/AppSettings/list", "", "200", []string{"properties.FUNCTIONS_WORKER_RUNTIME=custom"}},
		step{"POST", "{site}/config/ConnectionStrings/list", "", "200", []string{"properties"}},
	)
}

func (r replay) publish(t *testing.T) {
	t.Helper()
	settings := r.do(t, "POST", r.names.Replace("{site}/config/AppSettings/list?api-version=2015-08-01"), "")
	r.run(t,
		step{"PUT", "{site}/config/AppSettings", string(settings.body), "200", []string{"properties.FUNCTIONS_WORKER_RUNTIME"}}, // the whole answer sent back
		step{"PUT", "{site}/config/web", `{"properties":{"linuxFxVersion":""}}`, "200", nil},
		step{"GET", "{site}/basicPublishingCredentialsPolicies/scm?api-version=2022-03-01", "", "200", []string{"properties.allow"}},
		step{"GET", "/providers/Microsoft.Web/functionAppStacks?api-version=2020-10-01&stackOsType=Linux&removeHiddenStacks=true", "", "200", []string{"value"}},
		step{"GET", "{scm}/api/settings", "", "200", nil},
		step{"POST", "{scm}/api/zipdeploy?isAsync=true&author=me", zip(t), "200|202", nil},
	)
	until(t, "the deployment is over", func() bool {
		a := r.send(t, request{method: "GET", path: r.names.Replace("{scm}/api/deployments/latest")})
		return a.has("status=4") == nil
	})
	r.run(t, step{"GET", "{scm}/api/isdeploying", "", "200", []string{"value"}}, step{"GET", "{scm}/api/deployments", "", "200", []string{"0.id"}})
	list := r.send(t, request{method: "GET", path: r.names.Replace("{scm}/api/deployments")})
	id := list.text("0.id")
	r.run(t,
		step{"GET", "{scm}/api/deployments/" + id, "", "200", []string{"status=4", "complete=true"}},
		step{"GET", "{scm}/api/deployments/" + id + "/log", "", "200", nil},
		step{"POST", "{site}/host/default/sync", "", "200|204", nil},
		step{"POST", "{site}/syncfunctiontriggers", "", "200|204", nil},
		step{"POST", "{site}/host/default/listKeys?api-version=2023-12-01", "", "200", []string{"masterKey"}},
	)
	if !strings.Contains(r.names.Replace("{scm}"), ".scm.") {
		t.Error("the tool finds the host by .scm. in its name")
	}
}
