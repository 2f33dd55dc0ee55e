package platform_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestHashOnlyCountsAtOnce: a key that is made right after the setting is not kept,
// though the copy that was running before still serves.
func TestHashOnlyCountsAtOnce(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"one"}, nil))
	_, host := p.HostKeys(t, "orders")
	platformtest.Until(t, "the app runs", func() bool {
		status, _, err := p.TryCall(t.Context(), "orders", "/api/one", host)
		return err == nil && status == http.StatusOK
	})
	p.Do(t, http.MethodPut, p.Site("orders")+"/config/appsettings", map[string]any{"properties": map[string]string{
		testkit.UpstreamSetting: up, "FUNCTIONS_WORKER_RUNTIME": "custom", "LATCHKEY_KEY_VALUES": "hash-only",
	}}, nil)
	var made struct{ Value string }
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/made", map[string]any{}, &made)
	if listed := listHost(t, p, "orders").FunctionKeys["made"]; made.Value == "" || listed == made.Value || !strings.Contains(listed, "…") {
		t.Errorf("made %d bytes, and listed as %.8s", len(made.Value), listed)
	}
}
