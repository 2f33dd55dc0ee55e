package seed_test

import (
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/bench/seed"
	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestSeededAppsAreThere fills a state twice and asks a node for what it has.
func TestSeededAppsAreThere(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.Stop(t)
	for _, apps := range []int{1, 3} {
		if err := seed.Upto(t.Context(), p.Config.DataDir, apps); err != nil {
			t.Fatal(err)
		}
	}
	p.Restart(t)
	sites, err := armclient.List[struct {
		ID         string `json:"id"`
		Properties struct {
			State string `json:"state"`
		} `json:"properties"`
	}](t.Context(), p.Client, p.Subscription()+"/providers/Microsoft.Web/sites")
	if err != nil || len(sites) != 3 {
		t.Fatalf("%d apps, %v", len(sites), err)
	}
	for _, s := range sites {
		functions, err := armclient.List[struct{}](t.Context(), p.Client, s.ID+"/functions")
		if err != nil || len(functions) != seed.Functions || s.Properties.State != "Stopped" {
			t.Errorf("%s is %s and has %d functions, %v", s.ID, s.Properties.State, len(functions), err)
		}
		keys := map[string]string{}
		p.Do(t, http.MethodPost, s.ID+"/functions/"+seed.FunctionName(1)+"/listkeys", nil, &keys)
		if len(keys) != seed.KeysPerFunction {
			t.Errorf("%s: a function has %d keys", s.ID, len(keys))
		}
	}
}
