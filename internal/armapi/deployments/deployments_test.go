package deployments_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

type deployment struct {
	ID         string
	Properties struct {
		ProvisioningState string
		Outputs           map[string]struct{ Type, Value string }
		Parameters        map[string]struct {
			Type  string
			Value any
		}
		OutputResources []struct{ ID string }
		Error           *fault
	}
}

type fault struct {
	Code, Message, Target string
	Details               []fault
}

// group makes the resource group "rg" and gives its id.
func group(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	id := p.Subscription() + "/resourceGroups/rg"
	p.Do(t, http.MethodPut, id, map[string]any{"location": "local"}, nil)
	return id
}

// owner gives the object id of the principal that the tests act as.
func owner(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var list struct {
		Value []struct{ Properties struct{ PrincipalID string } }
	}
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.Authorization/roleAssignments", nil, &list)
	if len(list.Value) == 0 {
		t.Fatal("nobody has a role")
	}
	return list.Value[0].Properties.PrincipalID
}

func functionApp(t *testing.T) json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("testdata/functionapp.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// deploy deploys a template and waits until it has ended.
func deploy(t *testing.T, p *platformtest.Platform, id string, template any, parameters map[string]any) deployment {
	t.Helper()
	given := map[string]any{}
	for name, v := range parameters {
		given[name] = map[string]any{"value": v}
	}
	p.Do(t, http.MethodPut, id, map[string]any{"location": "local", "properties": map[string]any{
		"mode": "Incremental", "template": template, "parameters": given,
	}}, nil)
	return ended(t, p, id)
}

func ended(t *testing.T, p *platformtest.Platform, id string) (d deployment) {
	t.Helper()
	platformtest.Until(t, "the deployment has ended", func() bool {
		d = deployment{}
		p.Do(t, http.MethodGet, id, nil, &d)
		return d.Properties.ProvisioningState != "Running" && d.Properties.ProvisioningState != "Accepted"
	})
	return d
}

func TestFunctionAppTemplateDeploys(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	id := group(t, p) + "/providers/Microsoft.Resources/deployments/main"
	d := deploy(t, p, id, functionApp(t), map[string]any{"appName": "made", "secret": "sesame", "principalId": owner(t, p)})
	if d.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v", d.Properties)
	}
	master, host := p.HostKeys(t, "made")
	out := d.Properties.Outputs
	if out["hostKey"].Value != host || host == "" || out["masterKey"].Type != "SecureString" || out["masterKey"].Value != "" || master == "" {
		t.Errorf("outputs: %+v", out)
	}
	if !strings.HasPrefix(out["hostName"].Value, "made.") || !strings.Contains(out["blob"].Value, ".blob.") {
		t.Errorf("outputs: %+v", out)
	}
	if s := d.Properties.Parameters["secret"]; s.Type != "SecureString" || s.Value != nil {
		t.Errorf("the secure parameter is shown: %+v", s)
	}
	if n := len(d.Properties.OutputResources); n != 6 {
		t.Errorf("%d output resources: %v", n, d.Properties.OutputResources)
	}
	var settings struct{ Properties map[string]string }
	p.Do(t, http.MethodPost, p.Site("made")+"/config/appsettings/list", nil, &settings)
	if s := settings.Properties; s["API_SECRET"] != "sesame" || !strings.Contains(s["AzureWebJobsStorage"], "AccountKey=") {
		t.Error("the settings are not those of the template")
	}
	var again deployment
	if again = deploy(t, p, id, functionApp(t), map[string]any{"appName": "made", "secret": "sesame"}); again.Properties.ProvisioningState != "Succeeded" {
		t.Errorf("deploying again: %+v", again.Properties.Error)
	}
}

// stranger makes a principal that may do some actions in a group, and signs in.
func stranger(t *testing.T, p *platformtest.Platform, group string, actions ...string) *platformtest.Platform {
	t.Helper()
	var principal struct{ ID, ObjectID, AppID string }
	p.Do(t, http.MethodPost, "/providers/Latchkey.Directory/principals", map[string]any{"name": "stranger"}, &principal)
	var secret struct{ Secret string }
	p.Do(t, http.MethodPost, principal.ID+"/addSecret", map[string]any{}, &secret)
	role := p.Subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + uuid.NewString()
	p.Do(t, http.MethodPut, role, map[string]any{"properties": map[string]any{
		"roleName": "Some", "type": "CustomRole", "permissions": []any{map[string]any{"actions": actions}}, "assignableScopes": []string{p.Subscription()},
	}}, nil)
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(), map[string]any{"properties": map[string]any{
		"roleDefinitionId": role, "principalId": principal.ObjectID, "principalType": "ServicePrincipal",
	}}, nil)
	other := *p
	other.Cred.ClientID, other.Cred.ClientSecret = principal.AppID, secret.Secret
	client, err := armclient.New(other.Cred)
	if err != nil {
		t.Fatal(err)
	}
	other.Client = client
	return &other
}

// resources makes a template of resources.
func resources(list ...any) map[string]any { return map[string]any{"resources": list} }

func storageAccount(name string, more map[string]any) map[string]any {
	res := map[string]any{
		"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": name, "location": "local", "sku": map[string]any{"name": "Standard_LRS"},
	}
	for member, v := range more {
		res[member] = v
	}
	return res
}

func TestDeploymentsDoNoMoreThanTheirCallerMay(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	rg := group(t, p)
	p.Do(t, http.MethodPut, rg+"/providers/Microsoft.Storage/storageAccounts/existing1", map[string]any{"location": "local", "sku": map[string]any{"name": "Standard_LRS"}}, nil)
	other := stranger(t, p, rg, "Microsoft.Resources/deployments/*", "Microsoft.Web/serverfarms/*")
	id := rg + "/providers/Microsoft.Resources/deployments/"
	plan := map[string]any{"type": "Microsoft.Web/serverfarms", "apiVersion": "2023-12-01", "name": "plan", "location": "local", "sku": map[string]any{"name": "Y1"}}

	d := deploy(t, other, id+"one", resources(storageAccount("mine1", nil), plan), nil)
	if d.Properties.ProvisioningState != "Failed" || d.Properties.Error.Code != "DeploymentFailed" || d.Properties.Error.Details[0].Code != "AuthorizationFailed" {
		t.Fatalf("%+v", d.Properties)
	}
	var page struct {
		Value []struct {
			Properties struct {
				ProvisioningState string
				TargetResource    struct{ ResourceName string }
			}
		}
	}
	other.Do(t, http.MethodGet, id+"one/operations", nil, &page)
	states := map[string]string{}
	for _, op := range page.Value {
		states[op.Properties.TargetResource.ResourceName] = op.Properties.ProvisioningState
	}
	if states["mine1"] != "Failed" || states["plan"] != "Succeeded" { // what does not depend on the failure is deployed
		t.Errorf("operations: %v", states)
	}
	if err := p.Client.Do(t.Context(), http.MethodGet, rg+"/providers/Microsoft.Storage/storageAccounts/mine1", nil, nil); !errors.Is(err, problem.NotFound) {
		t.Errorf("the account: %v", err)
	}

	steal := map[string]any{"resources": []any{}, "outputs": map[string]any{"key": map[string]any{"type": "string",
		"value": "[listKeys(resourceId('Microsoft.Storage/storageAccounts', 'existing1'), '2023-01-01').keys[0].value]"}}}
	d = deploy(t, other, id+"two", steal, nil)
	if d.Properties.ProvisioningState != "Failed" || !strings.Contains(d.Properties.Error.Message, "does not have authorization") || len(d.Properties.Outputs) > 0 {
		t.Errorf("%+v %+v", d.Properties, d.Properties.Error)
	}

	nested := map[string]any{"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "elsewhere", "resourceGroup": "other",
		"properties": map[string]any{"mode": "Incremental", "template": resources()}}
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/other", map[string]any{"location": "local"}, nil)
	d = deploy(t, other, id+"three", resources(nested), nil)
	if d.Properties.ProvisioningState != "Failed" || d.Properties.Error.Details[0].Code != "AuthorizationFailed" {
		t.Errorf("nested: %+v", d.Properties)
	}
}

func TestSubscriptionDeploymentsReachIntoGroups(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	template := map[string]any{
		"$schema":    "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#",
		"parameters": map[string]any{"secret": map[string]any{"type": "securestring"}},
		"resources": []any{
			map[string]any{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "made", "location": "[deployment().location]"},
			map[string]any{
				"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "module", "resourceGroup": "made",
				"dependsOn": []any{"[subscriptionResourceId('Microsoft.Resources/resourceGroups', 'made')]"},
				"properties": map[string]any{"mode": "Incremental", "expressionEvaluationOptions": map[string]any{"scope": "inner"},
					"parameters": map[string]any{"tag": map[string]any{"value": "[parameters('secret')]"}},
					"template": map[string]any{
						"parameters": map[string]any{"tag": map[string]any{"type": "securestring"}},
						"resources":  []any{storageAccount("inmodule1", map[string]any{"tags": map[string]any{"length": "[string(length(parameters('tag')))]"}})},
						"outputs":    map[string]any{"id": map[string]any{"type": "string", "value": "[resourceId('Microsoft.Storage/storageAccounts', 'inmodule1')]"}},
					}},
			},
			map[string]any{
				"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "outer", "resourceGroup": "made", "dependsOn": []any{"module"},
				"properties": map[string]any{"mode": "Incremental", "template": resources(storageAccount("inouter1", map[string]any{
					"tags": map[string]any{"secret": "[parameters('secret')]"}}))},
			},
		},
		"outputs": map[string]any{"id": map[string]any{"type": "string",
			"value": "[reference(extensionResourceId(format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, 'made'), 'Microsoft.Resources/deployments', 'module'), '2022-09-01').outputs.id.value]"}},
	}
	id := p.Subscription() + "/providers/Microsoft.Resources/deployments/sub"
	d := deploy(t, p, id, template, map[string]any{"secret": "sesame"})
	made := p.Subscription() + "/resourceGroups/made"
	if d.Properties.ProvisioningState != "Succeeded" || d.Properties.Outputs["id"].Value != made+"/providers/Microsoft.Storage/storageAccounts/inmodule1" {
		t.Fatalf("%+v %+v", d.Properties, d.Properties.Error)
	}
	if n := len(d.Properties.OutputResources); n != 5 {
		t.Errorf("%d resources: %v", n, d.Properties.OutputResources)
	}
	var list struct{ Value []json.RawMessage }
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.Resources/deployments/", nil, &list)
	if len(list.Value) != 1 {
		t.Errorf("deployments to the subscription: %s", list.Value)
	}
	p.Do(t, http.MethodGet, made+"/providers/Microsoft.Resources/deployments", nil, &list)
	if len(list.Value) != 2 || strings.Contains(fmt.Sprintf("%s", list.Value), "sesame") {
		t.Errorf("deployments to the group: %s", list.Value)
	}
	// The outer template was written into the nested one, so that is not kept.
	if err := p.Client.Do(t.Context(), http.MethodPost, made+"/providers/Microsoft.Resources/deployments/outer/exportTemplate", nil, nil); !errors.Is(err, problem.Conflict) {
		t.Errorf("exporting it: %v", err)
	}
	var exported map[string]any
	p.Do(t, http.MethodPost, id+"/exportTemplate", nil, &exported)
	if exported["template"] == nil || strings.Contains(fmt.Sprint(exported), "sesame") {
		t.Errorf("exported: %v", exported)
	}
}

func TestWhatIfTellsWithoutDoing(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	rg := group(t, p)
	id := rg + "/providers/Microsoft.Resources/deployments/d"
	ask := func(tag string) map[string]string {
		var answer struct {
			Status     string
			Properties struct {
				Changes []struct{ ResourceID, ChangeType string }
			}
		}
		p.Do(t, http.MethodPost, id+"/whatIf", map[string]any{"properties": map[string]any{"mode": "Complete",
			"template": resources(storageAccount("asked1", map[string]any{"tags": map[string]any{"a": tag}}))}}, &answer)
		changes := map[string]string{"status": answer.Status}
		for _, c := range answer.Properties.Changes {
			changes[c.ResourceID[strings.LastIndexByte(c.ResourceID, '/')+1:]] = c.ChangeType
		}
		return changes
	}
	if got := ask("1"); got["asked1"] != "Create" || got["status"] != "Succeeded" {
		t.Errorf("before: %v", got)
	}
	if err := p.Client.Do(t.Context(), http.MethodGet, id, nil, nil); !errors.Is(err, problem.NotFound) {
		t.Errorf("a deployment was made: %v", err)
	}
	deploy(t, p, id, resources(storageAccount("asked1", map[string]any{"tags": map[string]any{"a": "1"}}), storageAccount("other1", nil)), nil)
	if got := ask("1"); got["asked1"] != "NoChange" || got["other1"] != "Delete" {
		t.Errorf("the same again: %v", got)
	}
	if got := ask("2"); got["asked1"] != "Modify" {
		t.Errorf("another tag: %v", got)
	}
}

func TestCompleteModeRemovesWhatIsNotInTheTemplate(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	rg := group(t, p)
	deploy(t, p, rg+"/providers/Microsoft.Resources/deployments/first", resources(storageAccount("stays1", nil), storageAccount("goes1", nil)), nil)
	assignment := rg + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	p.Do(t, http.MethodPut, assignment, map[string]any{"properties": map[string]any{
		"roleDefinitionId": p.Subscription() + "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7", "principalId": owner(t, p),
	}}, nil)
	p.CreateApp(t, "goes", platformtest.Upstream(t, http.NotFoundHandler())) // with its plan, which it uses
	nested := map[string]any{"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "nested",
		"properties": map[string]any{"mode": "Incremental", "template": resources(storageAccount("nested1", nil))}}
	id := rg + "/providers/Microsoft.Resources/deployments/second"
	p.Do(t, http.MethodPut, id, map[string]any{"properties": map[string]any{"mode": "Complete", "template": resources(storageAccount("stays1", nil), nested)}}, nil)
	if d := ended(t, p, id); d.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v", d.Properties)
	}
	for name, there := range map[string]bool{"Microsoft.Storage/storageAccounts/stays1": true, "Microsoft.Storage/storageAccounts/nested1": true,
		"Microsoft.Storage/storageAccounts/goes1": false, "Microsoft.Web/sites/goes": false, "Microsoft.Resources/deployments/first": true} {
		if err := p.Client.Do(t.Context(), http.MethodGet, rg+"/providers/"+name, nil, nil); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.Do(t, http.MethodGet, assignment, nil, nil)
}

func TestTemplatesThatCannotBeDeployedAreRefused(t *testing.T) {
	p := platformtest.Start(t, platformtest.Config{})
	rg := group(t, p)
	id := rg + "/providers/Microsoft.Resources/deployments/d"
	for name, tt := range map[string]struct {
		body any
		says string
	}{
		"no properties":  {map[string]any{}, "properties"},
		"no template":    {map[string]any{"properties": map[string]any{"mode": "Incremental"}}, "properties.template"},
		"linked":         {map[string]any{"properties": map[string]any{"templateLink": map[string]any{"uri": "https://x"}}}, "not supported"},
		"mode":           {map[string]any{"properties": map[string]any{"mode": "Whatever", "template": resources()}}, "Incremental or Complete"},
		"expression":     {map[string]any{"properties": map[string]any{"template": resources(storageAccount("[nope()]", nil))}}, "resources[0].name"},
		"parameter":      {map[string]any{"properties": map[string]any{"template": resources(), "parameters": map[string]any{"x": map[string]any{"value": 1}}}}, `"x"`},
		"key vault":      {map[string]any{"properties": map[string]any{"template": map[string]any{"parameters": map[string]any{"x": map[string]any{"type": "string"}}}, "parameters": map[string]any{"x": map[string]any{"reference": map[string]any{}}}}}, "key vault"},
		"id of no scope": {map[string]any{"properties": map[string]any{"template": resources(storageAccount("x", map[string]any{"scope": "nowhere"}))}}, "scope"},
	} {
		for _, call := range []struct{ method, path string }{{http.MethodPost, id + "/validate"}, {http.MethodPut, id}, {http.MethodPost, id + "/whatIf"}} {
			err := p.Client.Do(t.Context(), call.method, call.path, tt.body, nil)
			if !errors.Is(err, problem.Invalid) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("%s: %s: %v", name, call.path, err)
			}
		}
	}
	for _, path := range []string{"/providers/Microsoft.Resources/deployments/d", "/providers/Microsoft.Management/managementGroups/m/providers/Microsoft.Resources/deployments/d"} {
		if err := p.Client.Do(t.Context(), http.MethodPut, path, map[string]any{}, nil); !errors.Is(err, problem.Invalid) || !strings.Contains(fmt.Sprint(err), "not supported") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
