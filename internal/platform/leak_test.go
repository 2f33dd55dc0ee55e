package platform_test

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestManagementCallsLeaveNoGoroutinesBehind makes calls of all kinds, some that
// are refused, and counts what runs before and after. One that is left by each
// call, or each tenth, shows.
func TestManagementCallsLeaveNoGoroutinesBehind(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	site := p.Site("orders")
	calls := func(rounds int) {
		for i := range rounds {
			p.Do(t, http.MethodGet, site, nil, nil)
			p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.Web/sites", nil, nil)
			p.Do(t, http.MethodGet, p.Subscription()+"/resources?%24filter=name%20eq%20%27orders%27", nil, nil)
			p.Do(t, http.MethodGet, site+"/functions", nil, nil)
			p.Do(t, http.MethodPost, site+"/host/default/listkeys", nil, nil)
			p.Do(t, http.MethodPost, site+"/functions/f/listkeys", nil, nil)
			p.Do(t, http.MethodPut, site+"/config/appsettings", map[string]any{"properties": map[string]string{"N": fmt.Sprint(i)}}, nil)
			p.Do(t, http.MethodPut, site+"/host/default/functionKeys/k", map[string]any{"properties": map[string]string{"name": "k"}}, nil)
			if err := p.Client.Do(t.Context(), http.MethodGet, site+"x", nil, nil); err == nil {
				t.Error("an app that is not there is found")
			}
		}
	}
	calls(3) // connections, rings and caches are made
	before := runtime.NumGoroutine()
	const rounds = 60
	calls(rounds)
	deadline := time.Now().Add(platformtest.Patience)
	for runtime.NumGoroutine() > before+rounds/6 {
		if time.Now().After(deadline) {
			var stacks bytes.Buffer
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			head, _, _ := strings.Cut(stacks.String(), "\n\n\n")
			t.Fatalf("%d goroutines before %d calls, %d after:\n%.4000s", before, 9*rounds, runtime.NumGoroutine(), head)
		}
		time.Sleep(10 * time.Millisecond) // those of connections take a moment to end
	}
}
