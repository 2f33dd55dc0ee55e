package platform_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// events reads the newest audit events of a category.
func events(t *testing.T, p *platformtest.Platform, category string) []map[string]any {
	t.Helper()
	var page struct {
		Value []map[string]any `json:"value"`
	}
	p.Do(t, http.MethodGet, "/providers/Latchkey.Audit/events?category="+category, nil, &page)
	return page.Value
}

func TestCallersThatAreRefusedAreRecorded(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	if status, _ := p.Call(t, "orders", "/api/f", "a-key-that-nobody-has"); status != http.StatusUnauthorized {
		t.Fatalf("got %d", status)
	}
	platformtest.Until(t, "the refusal is recorded", func() bool {
		for _, e := range events(t, p, "Denied") {
			if scope, _ := e["scope"].(string); strings.HasSuffix(scope, "/sites/orders/functions/f") && e["action"] == "invoke" {
				return true
			}
		}
		return false
	})
	p.HostKeys(t, "orders")
	platformtest.Until(t, "the key read is recorded", func() bool {
		for _, e := range events(t, p, "SecretRead") {
			if action, _ := e["action"].(string); strings.EqualFold(action, "Microsoft.Web/sites/host/listkeys/action") {
				return true
			}
		}
		return false
	})
}

func TestATokenForTheHostManagesItsAppOnly(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	up := platformtest.Upstream(t, saying("hello"))
	for _, name := range []string{"orders", "other"} {
		p.CreateApp(t, name, up)
		p.Deploy(t, name, platformtest.Package(t, []string{"f"}, nil))
	}
	var token string
	p.Do(t, http.MethodGet, p.Site("orders")+"/functions/admin/token", nil, &token)
	status := func(app, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Node.FunctionsAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = app + ".localhost"
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := status("orders", "/admin/host/status"); got != http.StatusOK {
		t.Errorf("the app's runtime API: %d", got)
	}
	if got := status("orders", "/api/f"); got != http.StatusUnauthorized {
		t.Errorf("a function: %d", got)
	}
	if got := status("other", "/admin/host/status"); got != http.StatusUnauthorized {
		t.Errorf("another app: %d", got)
	}
}

// TestARefusalIsExplainedByItsID asks with what the answer says, at the management
// API.
func TestARefusalIsExplainedByItsID(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	for range 3 { // those that are alike are told apart
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Node.FunctionsAddr()+"/api/f", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "orders.localhost"
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		id := answer.Header.Get("X-Ms-Request-Id")
		if answer.StatusCode != http.StatusUnauthorized || id == "" {
			t.Fatalf("%d, id %q", answer.StatusCode, id)
		}
		var e struct {
			Scope, Reason, CorrelationID string
			Details                      map[string]string
		}
		p.Do(t, http.MethodGet, "/providers/Latchkey.Audit/decisions/"+id, nil, &e)
		if e.CorrelationID != id || e.Reason != "key: noKey" || !strings.HasSuffix(e.Scope, "/sites/orders/functions/f") || e.Details["path"] != "/api/f" {
			t.Errorf("explained as %+v", e)
		}
	}
}
