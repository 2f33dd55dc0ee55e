package witness

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// outputOf gives the value of an output.
func outputOf(t *testing.T, outputs any, name string) string {
	t.Helper()
	all, _ := outputs.(map[string]any)
	one, _ := all[name].(map[string]any)
	text, _ := one["value"].(string)
	return text
}

func TestGoClientDeploysTemplates(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := newGoClient(t, p.owner(t))
	ctx := t.Context()
	factory, err := armresources.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	deployments, operations := factory.NewDeploymentsClient(), factory.NewDeploymentOperationsClient()
	_, err = c.groups.CreateOrUpdate(ctx, "rg", armresources.ResourceGroup{Location: to.Ptr("local")}, nil)
	must(t, err)
	text, err := os.ReadFile("../../internal/armapi/deployments/testdata/functionapp.json")
	must(t, err)
	var template map[string]any
	must(t, json.Unmarshal(text, &template))
	asked := armresources.Deployment{Properties: &armresources.DeploymentProperties{
		Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template,
		Parameters: map[string]any{"appName": map[string]any{"value": "templated"}, "secret": map[string]any{"value": "sesame"}},
	}}

	checking, err := deployments.BeginValidate(ctx, "rg", "main", asked, nil)
	must(t, err)
	checked, err := checking.PollUntilDone(ctx, nil)
	must(t, err)
	if checked.Error != nil || len(checked.Properties.ValidatedResources) != 5 {
		t.Errorf("validation: %+v", checked.DeploymentValidateResult)
	}
	making, err := deployments.BeginCreateOrUpdate(ctx, "rg", "main", asked, nil)
	must(t, err)
	made, err := making.PollUntilDone(ctx, nil)
	must(t, err)
	keys, err := c.web.ListHostKeys(ctx, "rg", "templated", nil)
	must(t, err)
	if key := outputOf(t, made.Properties.Outputs, "hostKey"); key == "" || key != *keys.FunctionKeys["default"] {
		t.Errorf("outputs: %v", made.Properties.Outputs)
	}
	if outputOf(t, made.Properties.Outputs, "masterKey") != "" {
		t.Error("a secure output is shown")
	}
	done := 0
	for pager := operations.NewListPager("rg", "main", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		must(t, err)
		for _, op := range page.Value {
			done++
			one, err := operations.Get(ctx, "rg", "main", *op.OperationID, nil)
			must(t, err)
			if *one.Properties.ProvisioningState != "Succeeded" || *one.Properties.TargetResource.ID == "" {
				t.Errorf("operation: %+v", one.Properties)
			}
		}
	}
	if done != 5 {
		t.Errorf("%d operations", done)
	}
	exported, err := deployments.ExportTemplate(ctx, "rg", "main", nil)
	must(t, err)
	if exported.Template == nil {
		t.Error("no template is exported")
	}
	exists, err := deployments.CheckExistence(ctx, "rg", "main", nil)
	must(t, err)
	if !exists.Success {
		t.Error("the deployment is said not to exist")
	}

	asking, err := deployments.BeginWhatIf(ctx, "rg", "main", armresources.DeploymentWhatIf{Properties: &armresources.DeploymentWhatIfProperties{
		Mode: asked.Properties.Mode, Template: template, Parameters: asked.Properties.Parameters,
	}}, nil)
	must(t, err)
	if would, err := asking.PollUntilDone(ctx, nil); err != nil || len(would.Properties.Changes) != 5 {
		t.Errorf("what-if: %v", err)
	}
	t.Run("failures are told", func(t *testing.T) { failingDeployment(t, deployments) })

	removing, err := deployments.BeginDelete(ctx, "rg", "main", nil)
	must(t, err)
	_, err = removing.PollUntilDone(ctx, nil)
	must(t, err)
	_, err = deployments.Get(ctx, "rg", "main", nil)
	wantError(t, err, http.StatusNotFound, "DeploymentNotFound")
}

func failingDeployment(t *testing.T, deployments *armresources.DeploymentsClient) {
	ctx := t.Context()
	begin := func(name string) error {
		making, err := deployments.BeginCreateOrUpdate(ctx, "rg", "failing", armresources.Deployment{Properties: &armresources.DeploymentProperties{
			Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: map[string]any{"resources": []any{map[string]any{
				"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": name, "location": "local", "sku": map[string]any{"name": "Standard_LRS"},
			}}}}}, nil)
		if err == nil {
			_, err = making.PollUntilDone(ctx, nil)
		}
		return err
	}
	err := begin("No-Good")
	if err == nil || !strings.Contains(err.Error(), "DeploymentFailed") || !strings.Contains(err.Error(), "AccountNameInvalid") {
		t.Errorf("a resource that cannot be: %v", err)
	}
	wantError(t, begin("[nope()]"), http.StatusBadRequest, "InvalidTemplate")
}
