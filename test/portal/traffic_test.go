package portal_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestRequestsAreShownAsTheyCome calls an app that sometimes fails, and sees on the
// pages how many requests there were and how they ended: in words, as charts and as a
// table.
func TestRequestsAreShownAsTheyCome(t *testing.T) {
	p := start(t)
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/bad") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	p.CreateApp(t, "shop", up)
	p.Deploy(t, "shop", platformtest.Package(t, []string{"good", "bad"}, nil))
	_, key := p.HostKeys(t, "shop")
	b := open(t)
	b.signIn(p)
	b.see("no requests")
	call := func(times int, path, key string, want int) {
		t.Helper()
		for range times {
			if status, body := p.Call(t, "shop", path, key); status != want {
				t.Fatalf("%s: %d %s", path, status, body)
			}
		}
	}
	call(5, "/api/good", key, http.StatusOK)
	call(2, "/api/bad", key, http.StatusInternalServerError)
	call(3, "/api/good", "wrong", http.StatusUnauthorized)
	b.visit(p.Cred.Endpoint + "/portal/")
	b.see("10 requests")
	b.see("2 failed, 3 refused")
	if name := eval[string](b, `document.querySelector('svg.spark').getAttribute('aria-label').replace(/[\u2068\u2069]/g, '')`); name != "10 requests; 2 failed and 3 were refused" {
		t.Errorf("the chart is called %q", name)
	}
	lookAt(t, b, p, look{"home-traffic", "/portal/", "10 requests"})
	lookAt(t, b, p, look{"overview-traffic", "/portal/apps/rg/shop", "Requests: 10"})
	b.see("Counted since")
	b.press("#traffic-table summary")
	row := eval[string](b, `document.querySelector('#traffic-table tbody tr').innerText.replace(/\s+/g, ' ')`)
	if !strings.HasSuffix(row, " 10 2 3") && !strings.HasSuffix(row, " 0 0 0") { // a new row began
		t.Errorf("the table says %q", row)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/shop?span=day")
	b.see("Requests of the last 24 hours")
	b.see("Requests: 10")
	call(1, "/api/good", key, http.StatusOK)
	eval[bool](b, `htmx.ajax('GET', '/portal/apps/rg/shop?span=day', {source: '#traffic', target: '#traffic', swap: 'outerHTML'}).then(() => true)`)
	b.see("Requests: 11") // as the page reads it again each minute
	b.see("The app")
}
