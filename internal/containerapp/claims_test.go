package containerapp_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
)

// Requests for one app must not come to another because somebody says so.
func TestWhatIsAnothersCannotBeClaimed(t *testing.T) {
	f := newFixture(t)
	other := strings.Replace(groupAt, "/rg", "/another", 1)
	_, _, err := f.inv.Write(t.Context(), parse(t, other), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
	f.must(err)
	at := func(group, name string) error {
		_, _, err := f.Put(t.Context(), parse(t, group+"/providers/Microsoft.App/containerApps/"+name), "me", f.spec("1", "Single", ""))
		return err
	}
	with := func(name, ingress string) error {
		_, _, err := f.Put(t.Context(), parse(t, groupAt+"/providers/Microsoft.App/containerApps/"+name), "me", f.spec("1", "Single", `,"ingress":`+ingress))
		return err
	}
	refused := func(what string, err error, field string) {
		t.Helper()
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "containerApps/orders") {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.must(with("orders", `{"targetPort":1,"customDomains":[{"name":"www.orders.example"}],"additionalPortMappings":[{"targetPort":6379}]}`))
	f.must(with("orders", `{"targetPort":2,"customDomains":[{"name":"www.orders.example"}],"additionalPortMappings":[{"targetPort":6379}]}`)) // its own
	refused("its name in the same environment", at(other, "orders"), "'name'")
	f.must(at(other, "stock"))
	refused("its domain", with("shop", `{"targetPort":1,"customDomains":[{"name":"a.example"},{"name":"WWW.orders.example."}]}`), "customDomains[1].name")
	refused("its port", with("shop", `{"transport":"tcp","targetPort":6379}`), "exposedPort")
	refused("its port, as another one", with("shop", `{"targetPort":1,"additionalPortMappings":[{"targetPort":80,"exposedPort":6379}]}`), "additionalPortMappings[0]")
	f.must(with("shop", `{"transport":"tcp","targetPort":6379,"exposedPort":6380}`))
	refused("later", with("shop", `{"transport":"tcp","targetPort":6379}`), "exposedPort")
	f.must(f.Delete(t.Context(), f.id, "me"))
	f.must(with("shop", `{"transport":"tcp","targetPort":6379}`))
}
