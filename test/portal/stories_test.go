package portal_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAKeyIsRenewedInTheBrowser goes from a link to a key that works: who signs in
// renews a key, the new value that the page shows opens the function, and the one
// before does not.
func TestAKeyIsRenewedInTheBrowser(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	if status, _ := p.Call(t, "orders", "/api/hello", before); status != http.StatusOK {
		t.Fatalf("the key does not work at the start: %d", status)
	}
	b := open(t)
	b.signIn(p)
	b.press(`a[href="/portal/apps/rg/orders"]`)
	b.see("The app")
	b.press(`a[href="/portal/apps/rg/orders/keys"]`)
	b.see("Master key")
	b.press(`a[aria-label*="Renew"][href="/portal/apps/rg/orders/keys/host/default/do/renew"]`)
	b.see("Somebody uses this key")
	b.press("form button.danger")
	b.see("has a new value")
	b.press(`form[action$="/show"] button`)
	value := within(b, chromedp.Text("code.value", chromedp.NodeVisible))
	if status, body := p.Call(t, "orders", "/api/hello", value); status != http.StatusOK || value == before {
		t.Errorf("with the new key: %d %s", status, body)
	}
	if status, _ := p.Call(t, "orders", "/api/hello", before); status != http.StatusUnauthorized {
		t.Errorf("with the key before: %d", status)
	}
}
