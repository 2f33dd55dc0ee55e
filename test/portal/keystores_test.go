package portal_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/test/azurite"
)

// TestAKeyStoreIsCheckedAndAMoveIsPlanned has the store looked at, and learns why
// keys cannot be moved where there is no other store; then looks at the page.
func TestAKeyStoreIsCheckedAndAMoveIsPlanned(t *testing.T) {
	p := start(t)
	p.HostKeys(t, "orders")
	b := open(t)
	b.signIn(p)
	lookAt(t, b, p, look{"key-store", "/portal/apps/rg/orders/keystore", "How the store does"})
	b.press(`form[action$="/keystore/check"] button`)
	b.see("host")
	b.press(`form[action$="/keystore/migrate"] button`)
	b.see("This was not done")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/none/keystore")
	b.see("Not found")
}

// TestKeysMoveToAVaultInTheBrowser plans and makes the copy of an app's keys to a
// vault, has the app use that store by its setting, and calls it with the key that it
// had before.
func TestKeysMoveToAVaultInTheBrowser(t *testing.T) {
	p := start(t)
	_, key := p.HostKeys(t, "orders")
	vault := withVault(t, p)
	var site struct{ Identity struct{ PrincipalID string } }
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, &site)
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000003?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "principalId": site.Identity.PrincipalID}}, nil)
	settings(t, p, func(all map[string]string) {
		all["AzureWebJobsSecretStorageKeyVaultUri"] = strings.Replace(p.Cred.Endpoint, "://", "://lab.vault.", 1)
	})
	b := open(t)
	b.withoutScripts()
	b.signIn(p)
	at := p.Cred.Endpoint + "/portal/apps/rg/orders"
	choose := func() {
		b.visit(at + "/keystore")
		within(b, chromedp.SetValue("#from", "controlplane"))
		within(b, chromedp.SetValue("#to", "keyvault"))
		b.press(`form[action$="/migrate"] button:not(.main)`)
	}
	choose()
	b.see("Nothing was changed yet")
	b.see("will be copied")
	if names := secretNames(t, p, vault); len(names) != 1 {
		t.Errorf("the plan has made %v", names)
	}
	b.press(`form[action$="/migrate"] button.main`)
	b.see("and were read back")
	b.shoot("key-store-copied")
	if names := secretNames(t, p, vault); len(names) < 3 {
		t.Errorf("the vault has %v", names)
	}
	choose()
	b.see("is there already")
	b.visit(at + "/configuration/add")
	within(b, chromedp.SendKeys("#name", "AzureWebJobsSecretStorageType"))
	within(b, chromedp.SendKeys("#value", "keyvault"))
	b.press("main form button.main")
	b.see("is saved")
	platformtest.Until(t, "the app uses the vault", func() bool {
		b.visit(at + "/keystore")
		b.press(`form[action$="/keystore/check"] button`)
		within(b, chromedp.WaitReady(`ul[role="status"]`)) // a visit would end the form's way
		return strings.Contains(b.text(), "can be read, documents:") && strings.Contains(b.text(), "vault")
	})
	platformtest.Until(t, "the key works from there", func() bool {
		status, _, err := p.TryCall(t.Context(), "orders", "/api/hello", key)
		return err == nil && status == http.StatusOK
	})
	b.visit(at + "/keystore/copies")
	b.see("keeps no copies")
}

// TestKeysThatDoNotOpenAreGivenUpAndRestoredInTheBrowser from the copies that are kept in
// a storage account: with another encryption key the keys do not open, and are given up
// for new ones; with the right one again the copy is restored, and copies that nobody
// needs are removed. Each is seen by a call. Then a function is taken away, whose keys
// are told of.
func TestKeysThatDoNotOpenAreGivenUpAndRestoredInTheBrowser(t *testing.T) {
	patient(t)
	chromium(t)
	storage := azurite.Start(t, azurite.Options{})
	p := platformtest.Start(t, platformtest.Config{AppNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	p.CreateApp(t, "orders", up)
	const right = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	seal := func(key string) {
		t.Helper()
		settings(t, p, func(all map[string]string) {
			all["AzureWebJobsStorage"], all["AzureWebJobsSecretStorageType"], all["AzureWebEncryptionKey"] = storage.ConnectionString(), "blob", key
		})
	}
	answers := func(key string, want int) {
		t.Helper()
		platformtest.Until(t, "the app answers as it should", func() bool {
			status, _, err := p.TryCall(t.Context(), "orders", "/api/hello", key)
			return err == nil && status == want
		})
	}
	seal(right)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello", "other"}, nil))
	_, old := p.HostKeys(t, "orders")
	answers(old, http.StatusOK)
	b := open(t)
	b.signIn(p)
	page := p.Cred.Endpoint + "/portal/apps/rg/orders/keystore/copies"
	b.visit(page)
	b.see("No copies are kept")

	seal(strings.ReplaceAll(right, "0", "F"))
	platformtest.Until(t, "a copy is kept", func() bool {
		_, _, _ = p.TryCall(t.Context(), "orders", "/api/hello", old)
		b.visit(page)
		return strings.Contains(b.text(), "cannot be opened; an app that has read it before")
	})
	lookAt(t, b, p, look{"key-copies", "/portal/apps/rg/orders/keystore/copies", "Does not open"})
	b.press(`a[href*="/copies/discard?"]`)
	b.see("whoever has one gets 401")
	b.shoot("key-copies-discard")
	b.press("main form button.danger")
	b.see("has new keys")
	_, fresh := p.HostKeys(t, "orders")
	answers(fresh, http.StatusOK)
	answers(old, http.StatusUnauthorized)
	if n := eval[int](b, `document.querySelectorAll('a[href*="/copies/restore?"]').length`); n != 0 {
		t.Errorf("%d copies that do not open can be restored", n)
	}

	seal(right)
	b.visit(page)
	b.shoot("key-copies-restorable")
	b.press(`a[href*="document=host"][href*="/copies/restore?"]`)
	b.see("becomes the document")
	b.press("main form button.danger")
	b.see("are those of the copy")
	// The function's keys may have been made with the other encryption key meanwhile.
	const ofFunction = `a[href*="/copies/discard?document=hello"]`
	platformtest.Until(t, "only the key from before works", func() bool {
		works, _, err := p.TryCall(t.Context(), "orders", "/api/hello", old)
		refused, _, err2 := p.TryCall(t.Context(), "orders", "/api/hello", fresh)
		if err == nil && err2 == nil && works == http.StatusOK && refused == http.StatusUnauthorized {
			return true
		}
		b.visit(page)
		if eval[int](b, "document.querySelectorAll('"+ofFunction+"').length") > 0 {
			b.press(ofFunction)
			b.press("main form button.danger")
			b.see("has new keys")
		}
		return false
	})
	b.visit(page)
	b.see("has the same keys")
	for range eval[int](b, `document.querySelectorAll('a[href*="/copies/remove?"]').length`) {
		b.press(`a[href*="/copies/remove?"]`)
		b.see("no key stops working")
		b.press("main form button.danger")
		b.see("is gone")
	}
	b.see("No copies are kept")
	answers(old, http.StatusOK)

	p.Do(t, http.MethodPut, p.Site("orders")+"/functions/other/keys/mine", map[string]any{"properties": map[string]any{}}, nil)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	platformtest.Until(t, "the keys of the function are told of", func() bool {
		b.visit(page)
		return strings.Contains(b.text(), "mine")
	})
	lookAt(t, b, p, look{"key-copies-gone", "/portal/apps/rg/orders/keystore/copies", "Kept until"})
	b.press(`button[lang="zh-TW"]`)
	within(b, chromedp.WaitReady(`html[lang="zh-TW"]`))
	b.shoot("key-copies-chinese")
}

// secretNames gives the names of a vault's secrets.
func secretNames(t *testing.T, p *platformtest.Platform, vault string) (names []string) {
	t.Helper()
	var list struct{ Value []struct{ Name string } }
	p.Do(t, http.MethodGet, vault+"/secrets?api-version=2023-07-01", nil, &list)
	for _, s := range list.Value {
		names = append(names, s.Name)
	}
	return names
}
