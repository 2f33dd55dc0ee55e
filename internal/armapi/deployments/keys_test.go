package deployments_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// keyTemplate has an app with keys of every kind, set before anything is deployed:
// types with the names of all they lie in, flat values and such in properties.
func keyTemplate(partner string) map[string]any {
	const version = "2022-09-01"
	key := func(typ, name string, properties any) map[string]any {
		r := map[string]any{"type": "Microsoft.Web/sites/" + typ, "apiVersion": version, "name": name, "dependsOn": []any{"[resourceId('Microsoft.Web/sites', 'made')]"}}
		if properties != nil {
			r["properties"] = properties
		}
		return r
	}
	flat := key("functions/keys", "made/hello/partner", nil)
	flat["value"] = "flat-value"
	return map[string]any{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"resources": []any{
			map[string]any{"type": "Microsoft.Web/sites", "apiVersion": version, "name": "made", "location": "local", "kind": "functionapp,linux",
				"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []any{map[string]string{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"}}}}},
			key("host/functionKeys", "made/default/partner", map[string]string{"name": "partner", "value": partner}),
			key("host/functionKeys", "made/default/generated", map[string]string{"name": "generated"}),
			key("host/systemKeys", "made/default/eventgrid_extension", map[string]string{}),
			key("functions/keys", "made/hello/generated", map[string]string{}),
			flat,
		},
		"outputs": map[string]any{"key": map[string]any{"type": "string",
			"value": "[listkeys(resourceId('Microsoft.Web/sites/host', 'made', 'default'), '2022-09-01').functionKeys.generated]"}},
	}
}

type listed struct {
	MasterKey                string
	FunctionKeys, SystemKeys map[string]string
	Hello                    map[string]string
}

func listKeys(t *testing.T, p *platformtest.Platform) (l listed) {
	t.Helper()
	p.Do(t, http.MethodPost, p.Site("made")+"/host/default/listkeys", nil, &l)
	p.Do(t, http.MethodPost, p.Site("made")+"/functions/hello/listkeys", nil, &l.Hello)
	return l
}

func TestTemplateDeployedTwiceGivesTheSameKeys(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	id := group(t, p) + "/providers/Microsoft.Resources/deployments/keys"
	d := deploy(t, p, id, keyTemplate("first-value"), nil)
	if d.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v", d.Properties.Error)
	}
	first := listKeys(t, p)
	for _, value := range []string{
		first.MasterKey, first.FunctionKeys["default"], first.FunctionKeys["generated"], first.SystemKeys["eventgrid_extension"],
		first.Hello["default"], first.Hello["generated"],
	} {
		if len(value) != 56 {
			t.Errorf("a key was not generated: %+v", first)
		}
	}
	if first.FunctionKeys["partner"] != "first-value" || first.Hello["partner"] != "flat-value" || d.Properties.Outputs["key"].Value != first.FunctionKeys["generated"] {
		t.Errorf("%+v", first)
	}
	if d := deploy(t, p, id, keyTemplate("first-value"), nil); d.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v", d.Properties.Error)
	}
	if diff := cmp.Diff(first, listKeys(t, p)); diff != "" {
		t.Errorf("keys changed: %s", diff)
	}
	deploy(t, p, id, keyTemplate("second-value"), nil)
	first.FunctionKeys["partner"] = "second-value"
	if diff := cmp.Diff(first, listKeys(t, p)); diff != "" {
		t.Errorf("with another value: %s", diff)
	}
	p.Do(t, http.MethodPut, p.Site("made")+"/host/default/functionKeys/generated", map[string]any{}, nil)
	if listKeys(t, p).FunctionKeys["generated"] == first.FunctionKeys["generated"] {
		t.Error("a client that sets a key without a value gets a new one, as ever")
	}
}
