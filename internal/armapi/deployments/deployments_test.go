package deployments_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
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
	p := platformtest.Start(t, platform.Config{})
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
