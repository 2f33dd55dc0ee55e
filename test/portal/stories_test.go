package portal_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
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

// TestAKeyIsRotatedWithoutAnOutage finds a leaked key and rotates it: both values
// work, the page says so, and ending the overlap ends the former one.
func TestAKeyIsRotatedWithoutAnOutage(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	b := open(t)
	b.signIn(p)
	key := p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default"
	b.visit(key + "/do/rotate")
	b.press("form button.main")
	b.see("Former values that still work")
	_, after := p.HostKeys(t, "orders")
	for _, value := range []string{before, after} {
		if status, _ := p.Call(t, "orders", "/api/hello", value); status != http.StatusOK || before == after {
			t.Errorf("during the overlap: %d", status)
		}
	}
	b.visit(key + "/do/endoverlap")
	b.press("form button.danger")
	b.see("are ended")
	if status, _ := p.Call(t, "orders", "/api/hello", before); status != http.StatusUnauthorized {
		t.Errorf("the former value after the overlap: %d", status)
	}
	if status, _ := p.Call(t, "orders", "/api/hello", after); status != http.StatusOK {
		t.Errorf("the present value after the overlap: %d", status)
	}
}

// TestKeysAreRenewedWithoutScripts does the same with scripts switched off: forms
// and links are enough.
func TestKeysAreRenewedWithoutScripts(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	b := open(t)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/renew")
	b.press("form button.danger")
	b.see("has a new value")
	b.press(`form[action$="/show"] button`)
	value := within(b, chromedp.Text("code.value", chromedp.NodeVisible))
	if status, _ := p.Call(t, "orders", "/api/hello", value); status != http.StatusOK || value == before {
		t.Errorf("with the new key: %d", status)
	}
}

// TestAPageThatIsOpenShowsWhatHappens stops the app elsewhere while its page is open.
func TestAPageThatIsOpenShowsWhatHappens(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	b.see("Stopped")
	p.Do(t, http.MethodPost, p.Site("orders")+"/start", nil, nil)
	b.see("Ready")
}

// TestAnAppIsStoppedLookedAtAndStarted looks at everything while the app is stopped.
func TestAnAppIsStoppedLookedAtAndStarted(t *testing.T) {
	p := start(t)
	_, key := p.HostKeys(t, "orders")
	b := open(t)
	b.signIn(p)
	app := p.Cred.Endpoint + "/portal/apps/rg/orders"
	b.visit(app)
	b.press("button.danger")
	b.see("is being stopped")
	platformtest.Until(t, "the app refuses callers", func() bool {
		status, _ := p.Call(t, "orders", "/api/hello", key)
		return status == http.StatusForbidden
	})
	for path, says := range map[string]string{"/keys": "Master key", "/functions": "hello", "/configuration": "References to secrets", "/functions/hello/keys": "Function keys"} {
		b.visit(app + path)
		b.see(says)
	}
	b.visit(app)
	b.press("button.main")
	b.see("is being started")
	platformtest.Until(t, "the app serves again", func() bool {
		status, _ := p.Call(t, "orders", "/api/hello", key)
		return status == http.StatusOK
	})
}

// reader is the role that may read everything but secrets.
const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"

// TestRolesDecide signs in as somebody who may read and change nothing: there are no
// buttons for that, the page says which permission they would need, and a form that is
// sent all the same does nothing; without the role not even the app is there; once the
// principal is gone its session is.
func TestRolesDecide(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	const principals = "/providers/Latchkey.Directory/principals"
	var who struct{ ObjectID, AppID string }
	p.Do(t, http.MethodPost, principals, map[string]any{"name": "robin"}, &who)
	var secret struct{ Secret string }
	p.Do(t, http.MethodPost, principals+"/"+who.ObjectID+"/addSecret", map[string]any{}, &secret)
	role := p.Site("orders") + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	p.Do(t, http.MethodPut, role, map[string]any{"properties": map[string]any{"roleDefinitionId": reader, "principalId": who.ObjectID}}, nil)
	cred := p.Cred
	cred.ClientID, cred.ClientSecret = who.AppID, secret.Secret
	robin, err := armclient.New(cred)
	if err != nil {
		t.Fatal(err)
	}
	var link struct{ URL string }
	if err := robin.Do(t.Context(), http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &link); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	b.visit(link.URL)
	b.see("robin")
	b.press("main button")
	b.see("You may not read the audit record")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys")
	b.see("Microsoft.Web/sites/host/listkeys/action")
	if n := eval[int](b, `document.querySelectorAll('main form').length`); n != 0 {
		t.Errorf("%d forms are shown", n)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/renew")
	b.see("Microsoft.Web/sites/host/functionkeys/write")
	if n := eval[int](b, `document.querySelectorAll('main form button').length`); n != 0 {
		t.Errorf("%d buttons are shown", n)
	}
	within(b, chromedp.Evaluate[any](`document.querySelector('main form').submit()`))
	b.see("Your roles do not allow this")
	if _, after := p.HostKeys(t, "orders"); after != before {
		t.Error("the key was renewed all the same")
	}
	p.Do(t, http.MethodDelete, role, nil, nil)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	b.see("Your roles do not allow this")
	p.Do(t, http.MethodDelete, principals+"/"+who.ObjectID, nil, nil)
	b.visit(p.Cred.Endpoint + "/portal/")
	b.see("latchkey portal")
}
