package portal_test

import "testing"

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
