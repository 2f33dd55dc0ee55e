package platform_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// concernsOf gives what is worth a look, as "app kind name", without its reasons.
func concernsOf(t *testing.T, p *platformtest.Platform) (list []string) {
	t.Helper()
	var answer struct {
		Value []struct {
			Properties struct{ App, Kind, Name, Function, Why string }
		}
		Complete bool
	}
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Latchkey.Health/concerns?api-version=2026-01-01", nil, &answer)
	if !answer.Complete {
		list = append(list, "not all was looked at")
	}
	for _, v := range answer.Value {
		list = append(list, strings.TrimRight(strings.Join([]string{v.Properties.App, v.Properties.Kind, v.Properties.Function, v.Properties.Name}, " "), " "))
	}
	return list
}

// TestWhatIsWorthALookIsFoundAndGoesAway goes through a life: references that fail,
// keys of the host and of functions that end, former values that are in use, an app
// that cannot run; and all of it is gone when it is mended or deleted.
func TestWhatIsWorthALookIsFoundAndGoesAway(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	until := func(what string, want ...string) {
		t.Helper()
		platformtest.Until(t, what, func() bool { return slices.Equal(concernsOf(t, p), want) })
	}
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	until("nothing is to be looked at")

	site := p.Site("orders")
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, site+"/config/appsettings/list", nil, &settings)
	settings.Properties["DB"] = "@Microsoft.KeyVault(VaultName=none;SecretName=db)"
	p.Do(t, http.MethodPut, site+"/config/appsettings", settings, nil)
	until("a reference fails", "orders referenceFails  DB")

	soon := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	later := time.Now().Add(60 * 24 * time.Hour).UTC().Format(time.RFC3339)
	key := func(path, ends string) {
		p.Do(t, http.MethodPut, site+path, map[string]any{"properties": map[string]any{"expires": ends}}, nil)
	}
	key("/host/default/functionKeys/partner", soon)
	key("/host/default/functionKeys/other", later)
	key("/functions/hello/keys/mobile", soon)
	until("keys end", "orders referenceFails  DB", "orders keyEnds hello mobile", "orders keyEnds  partner")

	delete(settings.Properties, "DB")
	p.Do(t, http.MethodPut, site+"/config/appsettings", settings, nil)
	p.Do(t, http.MethodDelete, site+"/functions/hello/keys/mobile", nil, nil)
	until("the reference and a key are gone", "orders keyEnds  partner")

	p.CreateApp(t, "broken", up)
	p.Deploy(t, "broken", platformtest.Package(t, []string{"hello"}, map[string]string{"host.json": `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"/bin/false"}}}`}))
	p.Call(t, "broken", "/api/hello", "")
	until("an app fails", "broken appFails", "orders keyEnds  partner")
	for _, app := range []string{"broken", "orders"} {
		p.Do(t, http.MethodDelete, p.Site(app), nil, nil)
	}
	until("deleted apps are gone")
}
