package platform_test

import (
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
)

// Containers of an app that was deleted may take long to end. Whoever makes another
// app of its name must not have them in its own.
func TestContainersOfADeletedAppHaveNothingOfTheNextOne(t *testing.T) {
	c := startContained(t, platform.Config{})
	id := c.at("containerApps", "shop")
	a := c.app()
	a["identity"] = object{"type": "SystemAssigned"}
	a["properties"].(object)["template"].(object)["revisionSuffix"] = "one"
	start := func() engine.Start {
		c.Do(t, "PUT", id, a, nil)
		shop := c.settled("shop", "Succeeded")
		status, generation := c.get(shop, "/env?LATCHKEY_GENERATION")
		if status != http.StatusOK || generation == "" {
			t.Fatalf("%d %q", status, generation)
		}
		return engine.Start{Revision: engine.Ref{App: id, Revision: "shop--one"}, Container: "main", Role: engine.RoleMain, Generation: generation}
	}
	before := start()
	if n, err := c.Node.UsableIdentities(t.Context(), before); n != 1 || err != nil {
		t.Fatalf("%d identities, %v", n, err)
	}
	c.Do(t, "DELETE", id, nil, nil)
	now := start()
	if n, err := c.Node.UsableIdentities(t.Context(), now); n != 1 || err != nil {
		t.Errorf("the new app's containers have %d identities, %v", n, err)
	}
	if n, err := c.Node.UsableIdentities(t.Context(), before); n != 0 || problem.KindOf(err) != problem.NotFound {
		t.Errorf("the deleted app's containers have %d identities of the new one, %v", n, err)
	}
}
