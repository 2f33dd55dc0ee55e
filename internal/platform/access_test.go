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
