package platform_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestKeysOfAFunctionThatADeploymentLeavesOut: they outlive it and a restart, and
// work again with the next one; the audit record has both. A package that cannot be
// loaded leaves out nothing.
func TestKeysOfAFunctionThatADeploymentLeavesOut(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"one", "two"}, nil))
	var keys map[string]string
	platformtest.Until(t, "the function has keys", func() bool {
		return p.Client.Do(t.Context(), http.MethodPost, p.Site("orders")+"/functions/two/listkeys", nil, &keys) == nil && keys["default"] != ""
	})
	calls := func(function string, want int) {
		t.Helper()
		platformtest.Until(t, function+" answers as it should", func() bool {
			status, _, err := p.TryCall(t.Context(), "orders", "/api/"+function, keys["default"])
			return err == nil && status == want
		})
	}
	calls("two", http.StatusOK)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"one"}, nil))
	calls("two", http.StatusNotFound)
	platformtest.Until(t, "the quarantine is told", func() bool { return strings.Contains(p.Log.String(), "keysQuarantined") })
	var gone struct {
		Value []struct {
			Properties struct {
				Name, Function, State string
				QuarantinedUntil      time.Time
			}
		}
	}
	if err := p.Client.Do(t.Context(), http.MethodGet, p.Site("orders")+"/host/default/quarantinedKeyMetadata", nil, &gone); err != nil || len(gone.Value) != 1 {
		t.Fatalf("%+v, %v", gone, err)
	}
	if k := gone.Value[0].Properties; k.Name != "default" || k.Function != "two" || k.State != "quarantined" || k.QuarantinedUntil.IsZero() {
		t.Errorf("listed as %+v", k)
	}
	p.Stop(t)
	p.Restart(t)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"one", "two"}, nil))
	calls("two", http.StatusOK)
	platformtest.Until(t, "the return is told", func() bool { return strings.Contains(p.Log.String(), "keysReturned") })
}
