package portal_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestWhatIsWorthALookIsOfAllApps sees on the first page what is to be looked at of
// apps that are not shown there, of functions' keys too; follows it to where it can be
// mended, and sees it go by itself when it is.
func TestWhatIsWorthALookIsOfAllApps(t *testing.T) {
	p := start(t)
	furnish(t, p)
	soon := time.Now().Add(72 * time.Hour).UTC().Format(time.RFC3339)
	p.Do(t, http.MethodPut, p.Site("orders")+"/functions/other/keys/kiosk", map[string]any{"properties": map[string]any{"expires": soon}}, nil)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/?q=nothing")
	b.see("No app has")
	b.see("orders: the reference DB_PASSWORD does not resolve")
	b.see("orders: the key other/kiosk ends")
	lookAt(t, b, p, look{"look", "/portal/look", "References that do not resolve (2)"}, look{"home-look", "/portal/", "the reference BROKEN"})
	b.visit(p.Cred.Endpoint + "/portal/look?kind=keyEnds")
	b.see("Keys that end soon (1)")
	within(b, chromedp.Evaluate[chromedp.Void](`window.samePage = true`))
	p.Do(t, http.MethodDelete, p.Site("orders")+"/functions/other/keys/kiosk", nil, nil)
	platformtest.Until(t, "the key is gone from the list", func() bool {
		return eval[bool](b, `window.samePage && !document.body.innerText.includes('kiosk')`)
	})
	b.visit(p.Cred.Endpoint + "/portal/")
	b.press(`#look-h ~ ul a[href="/portal/apps/rg/orders/configuration"]`)
	b.see("References to secrets")
}
