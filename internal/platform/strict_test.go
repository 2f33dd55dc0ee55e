package platform_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// functionKey and systemKey are the platform's published examples of the format.
const (
	functionKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAzFuZg7Zjw=="
	weakKey     = "chosen by people, long enough"
)

// TestStrictModeHoldsOnEveryWayToAKey: through the management API, by a template,
// by declaration, and through the app's own API, whether the app runs or not.
func TestStrictModeHoldsOnEveryWayToAKey(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{Keys: []keyseed.Entry{
		{App: "orders", Name: "declared", Value: weakKey}, {App: "orders", Name: "good", Generate: true},
	}})
	upstream := platformtest.Upstream(t, saying("hello"))
	p.CreateApp(t, "orders", upstream)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	value := map[string]any{"properties": map[string]string{"value": weakKey}}
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/old", value, nil)
	platformtest.Until(t, "a key that people chose works", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", weakKey)
		return status == http.StatusOK
	})
	platformtest.Until(t, "the declared one is made", func() bool { return listHost(t, p, "orders").FunctionKeys["declared"] == weakKey })
	setSettings(t, p, "orders", map[string]string{
		testkit.UpstreamSetting: upstream, "FUNCTIONS_WORKER_RUNTIME": "custom",
		"AzureWebJobsFeatureFlags": "EnableWorkerIndexing,StrictHISModeWarn,StrictHISModeEnabled",
	})
	platformtest.Until(t, "it does not any more", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", weakKey)
		return status == http.StatusUnauthorized
	})
	refused := func() {
		t.Helper()
		for _, at := range []string{"/host/default/functionKeys/k", "/host/default/systemKeys/k", "/host/default/masterKey/_master", "/functions/f/keys/k"} {
			if err := p.Client.Do(t.Context(), http.MethodPut, p.Site("orders")+at, value, nil); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "StrictHISModeEnabled") {
				t.Errorf("%s: %v", at, err)
			}
		}
		// A good key of another kind is no better.
		for _, at := range []string{"/host/default/systemKeys/k", "/host/default/masterKey/_master"} {
			other := map[string]any{"properties": map[string]string{"value": functionKey}}
			if err := p.Client.Do(t.Context(), http.MethodPut, p.Site("orders")+at, other, nil); !errors.Is(err, problem.Invalid) {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	refused()
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/made", map[string]any{}, nil)
	p.Do(t, http.MethodDelete, p.Site("orders")+"/host/default/functionKeys/declared", nil, nil)
	p.Do(t, http.MethodDelete, p.Site("orders")+"/host/default/functionKeys/good", nil, nil)
	restarted(t, p) // declared keys are made when a node starts
	platformtest.Until(t, "the declared key that is good is there", func() bool { return listHost(t, p, "orders").FunctionKeys["good"] != "" })
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	refused()
	keys := listHost(t, p, "orders")
	if keys.FunctionKeys["declared"] != "" || keys.FunctionKeys["old"] != weakKey || len(keys.FunctionKeys["made"]) != 56 || keys.SystemKeys["k"] != "" {
		t.Errorf("%+v", keys)
	}
	platformtest.Until(t, "the log says which declared key cannot be", func() bool { return strings.Contains(p.Log.String(), "AZFD0012") })
	if strings.Contains(p.Log.String(), weakKey) {
		t.Error("a value is in the log")
	}
}
