package witness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/test/witness/node"
)

// errands are what the script asks of the test.
func errands(t *testing.T, c *caller) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/deploy", func(_ http.ResponseWriter, r *http.Request) { c.deploy(t, r.FormValue("app"), nil) })
	mux.HandleFunc("/await", func(w http.ResponseWriter, r *http.Request) {
		deadline := time.Now().Add(patience)
		for {
			status, err := c.p.call(r.Context(), r.FormValue("app"), "/api/f", r.FormValue("key"))
			if err == nil && fmt.Sprint(status) == r.FormValue("status") {
				return
			}
			if r.Context().Err() != nil || time.Now().After(deadline) {
				http.Error(w, fmt.Sprintf("the app answers %d, %v", status, err), http.StatusGatewayTimeout)
				return
			}
			time.Sleep(5 * time.Millisecond) // between looks at another process
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestJavaScriptClientDrivesTheProgram(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := p.owner(t)
	upstream := hello(t)
	out := node.Run(t, filepath.Join("node", "manage.cjs"),
		"MANAGEMENT="+p.Management, "TENANT="+c.cred.TenantID, "CLIENT="+c.cred.ClientID, "SECRET="+c.cred.ClientSecret,
		"SUBSCRIPTION="+c.cred.SubscriptionID, "UPSTREAM="+upstream, "TEST="+errands(t, c).URL,
		"NODE_EXTRA_CA_CERTS="+filepath.Join(p.dir, "ca.pem"))
	var got map[string]any
	must(t, json.Unmarshal(out, &got))
	want := map[string]any{
		"groupBefore": false, "group": "node-group", "plan": "Dynamic", "state": "Running",
		"host":     "node-app.localhost:" + p.Functions[strings.LastIndex(p.Functions, ":")+1:],
		"lists":    map[string]any{"groups": []any{"node-group"}, "apps": []any{"node-app"}},
		"settings": map[string]any{"TESTKIT_UPSTREAM": upstream, "FUNCTIONS_WORKER_RUNTIME": "custom", "GREETING": "hello", "REF": "@Microsoft.KeyVault(VaultName=kv;SecretName=s)"},
		"keys":     map[string]any{"master": "string", "default": "string"},
		"set":      "rotated-by-the-node-client-0123456789-abcd",
		"stopped":  "Stopped", "functions": []any{"node-app/f"}, "functionKeys": "string", "references": []any{"REF"}, "deployments": 1.0,
		"deleted": "404 ResourceNotFound", "groupDeleted": "404 ResourceGroupNotFound",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the client saw (-want +got):\n%s", diff)
	}
}
