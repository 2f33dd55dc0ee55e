package witness

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// functionImage is an image with a function app, run by the program itself.
func functionImage(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "image")
	must(t, os.MkdirAll(filepath.Join(folder, "app", "f"), 0o700))
	must(t, os.WriteFile(filepath.Join(folder, "app", "host.json"), []byte(testkit.HostJSON(testkit.Default, "")), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "app", "f", "function.json"), []byte(testkit.HTTPFunction("function", "")), 0o600))
	program, err := binary()
	must(t, err)
	upstream := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Outputs":{"res":{"body":"called"}}}`)
	}))
	// A process has no root of its own, so the folder is named.
	run := `LATCHKEY_MOUNTED_KEYS=$CONTAINER_ROOT/run/secrets/functions-keys exec "$0" start app --port $PORT --metrics-address "" --no-watch --data-dir "$CONTAINER_ROOT/data"`
	text, err := json.Marshal(map[string]any{"command": []string{"/bin/sh", "-c", run, program}, "env": map[string]string{testkit.UpstreamSetting: upstream}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "container.json"), text, 0o600))
	return folder
}

// A function app that is a container app has its access keys from the app's secrets.
func TestAFunctionAppAsAContainerAppHasItsKeysFromSecrets(t *testing.T) {
	p := upContained(t)
	c := p.owner(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*platformtest.Patience)
	defer cancel()
	at := c.group("rg") + "/providers/Microsoft.App/"
	c.do(t, "PUT", c.group("rg")+"?api-version=2021-04-01", `{"location":"local"}`)
	c.do(t, "PUT", at+"managedEnvironments/env?api-version=2025-07-01", `{"location":"local","properties":{}}`)
	image := functionImage(t)
	put := func(master, key string) answer {
		t.Helper()
		body, err := json.Marshal(map[string]any{"kind": "functionapp", "location": "local", "properties": map[string]any{
			"environmentId": at + "managedEnvironments/env",
			"configuration": map[string]any{"ingress": map[string]any{"external": true, "targetPort": 80}, "secrets": []any{
				map[string]string{"name": "host-master", "value": master}, map[string]string{"name": "functions-f-default", "value": key}}},
			"template": map[string]any{"containers": []any{map[string]any{"name": "host", "image": image}}, "scale": map[string]any{"minReplicas": 1}},
		}})
		must(t, err)
		return c.do(t, "PUT", at+"containerApps/fn?api-version=2025-07-01", string(body))
	}
	made := put("the-master-key", "the-first-key")
	host := strings.Split(made.text("properties.configuration.ingress.fqdn"), ":")[0]
	call := func(path, key string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.Functions+path, nil)
		must(t, err)
		r.Host = host
		if key != "" {
			r.Header.Set("X-Functions-Key", key)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, string(text)
	}
	until(t, "the function's key opens it", func() bool {
		status, body := call("/api/f", "the-first-key")
		return status == 200 && strings.Contains(body, "called")
	})
	for key, want := range map[string]int{"": 401, "wrong": 401, "the-master-key": 200} {
		if status, body := call("/api/f", key); status != want {
			t.Errorf("with the key %q: %d %s", key, status, body)
		}
	}
	if status, body := call("/admin/functions/f/keys", "the-master-key"); status != 200 || !strings.Contains(body, "the-first-key") {
		t.Errorf("the host's keys: %d %s", status, body)
	}

	now := put("the-master-key", "the-second-key")
	revision := now.text("properties.latestRevisionName")
	if revision != made.text("properties.latestRevisionName") {
		t.Errorf("another key made revision %s", revision)
	}
	c.do(t, "POST", at+"containerApps/fn/revisions/"+revision+"/restart?api-version=2025-07-01", "")
	until(t, "the new key is in force, the old one not", func() bool {
		status, _ := call("/api/f", "the-second-key")
		old, _ := call("/api/f", "the-first-key")
		return status == 200 && old == 401
	})
}
