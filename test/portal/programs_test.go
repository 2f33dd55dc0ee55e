package portal_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// saysSetting makes this test binary a program of an app that answers with the variable
// of its environment that the setting names.
const saysSetting = "PORTAL_TEST_SAYS"

// program is that program; it is for custom handlers and for containers.
func program() {
	name := os.Getenv(saysSetting)
	if name == "" {
		return
	}
	port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	if port == "" {
		port = os.Getenv("PORT")
	}
	_ = http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, os.Getenv(name))
	}))
	os.Exit(3)
}

// sayer makes an app "orders" whose function "hello" says what its setting DB_PASSWORD
// is.
func sayer(t *testing.T) *platformtest.Platform {
	t.Helper()
	patient(t)
	chromium(t) // before anything is started for nothing
	p := platformtest.Start(t, platformtest.Config{})
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, p.Site("orders"), map[string]any{"location": "local", "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": saysSetting, "value": "DB_PASSWORD"}, {"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"},
		}}}}, nil)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	return p
}

// container makes a platform that runs container apps as processes, with an app "shop"
// whose container says what its variable DB is, the secret "db" of the vault "lab"; more
// changes its body.
func container(t *testing.T, more func(p *platformtest.Platform, body map[string]any)) *platformtest.Platform {
	t.Helper()
	patient(t)
	chromium(t)
	cfg := platform.Config{}
	cfg.Containers.Engine, cfg.Containers.ProcessAsRoot = platform.EngineProcess, true
	p := platformtest.Start(t, cfg)
	image := filepath.Join(t.TempDir(), "image")
	self, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(image, 0o700)
	}
	text, _ := json.Marshal(map[string]any{"command": []string{self}, "env": map[string]string{saysSetting: "DB"}})
	if err == nil {
		err = os.WriteFile(filepath.Join(image, "container.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	group := p.Subscription() + "/resourceGroups/rg"
	p.Do(t, http.MethodPut, group, map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.App/managedEnvironments/env", map[string]any{"location": "local", "properties": map[string]any{
		"workloadProfiles": []any{map[string]any{"name": "Consumption", "workloadProfileType": "Consumption"}}}}, nil)
	makeVault(t, p)
	body := map[string]any{"location": "local", "identity": map[string]any{"type": "SystemAssigned"}, "properties": map[string]any{
		"environmentId": group + "/providers/Microsoft.App/managedEnvironments/env", "workloadProfileName": "Consumption",
		"configuration": map[string]any{"activeRevisionsMode": "Multiple", "ingress": map[string]any{"external": true, "targetPort": 8080, "allowInsecure": true}, "secrets": []any{
			map[string]any{"name": "db", "keyVaultUrl": "https://lab.vault.azure.net/secrets/db", "identity": "system"}, map[string]any{"name": "plain", "value": "text"}}},
		"template": map[string]any{
			"containers": []any{map[string]any{"name": "main", "image": image, "resources": map[string]any{"cpu": 0.25, "memory": "0.5Gi"},
				"env": []any{map[string]any{"name": "DB", "secretRef": "db"}, map[string]any{"name": "HOSTILE", "value": hostile}}}},
			"scale": map[string]any{"minReplicas": 1, "maxReplicas": 2, "rules": []any{map[string]any{"name": "many", "http": map[string]any{"metadata": map[string]any{"concurrentRequests": "7"}}}}},
		}}}
	if more != nil {
		more(p, body)
	}
	p.Do(t, http.MethodPut, box(p), body, nil)
	return p
}

// box is the id of the container app.
func box(p *platformtest.Platform) string {
	return p.Subscription() + "/resourceGroups/rg/providers/Microsoft.App/containerApps/shop"
}

// settled waits until the container app is how it is to be, and gives its newest
// revision.
func settled(t *testing.T, p *platformtest.Platform, state string) string {
	t.Helper()
	var app struct {
		Properties struct {
			Provisioning string `json:"provisioningState"`
			Latest       string `json:"latestRevisionName"`
		}
	}
	platformtest.Until(t, "the container app is "+state, func() bool {
		p.Do(t, http.MethodGet, box(p), nil, &app)
		return app.Properties.Provisioning == state
	})
	return app.Properties.Latest
}

// callContainer asks the container app from outside; "" while it is starting.
func callContainer(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var app struct {
		Properties struct {
			Configuration struct{ Ingress struct{ FQDN string } }
		}
	}
	p.Do(t, http.MethodGet, box(p), nil, &app)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Node.FunctionsAddr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = app.Properties.Configuration.Ingress.FQDN
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}
