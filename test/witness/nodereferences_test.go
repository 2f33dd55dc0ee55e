package witness

import (
	"context"
	"fmt"
	"net/http"
	"testing"
)

// TestASecretReachesTheCopiesOfAllNodes: one node reads secrets for references, any
// of them takes changes, and all have copies of the app.
func TestASecretReachesTheCopiesOfAllNodes(t *testing.T) {
	c := newCluster(t)
	g := newGoClient(t, newCaller(t, c.nodes[0], c.owner))
	g.rg(t)
	vault := *g.vault(t, "nodes-kv").ID
	set := func(node int, value string) {
		t.Helper()
		must(t, c.client(t, node).Do(t.Context(), http.MethodPut, vault+"/secrets/db", map[string]any{"properties": map[string]string{"value": value}}, nil))
	}
	set(0, "one")
	orders := g.worker(t, "orders", identities(ownIdentity), map[string]string{"DB": "@Microsoft.KeyVault(VaultName=nodes-kv;SecretName=db)"})
	site, err := g.web.Get(t.Context(), "rg", "orders", nil)
	must(t, err)
	g.assign(t, vault, secretsUser, *site.Identity.PrincipalID)

	nodes := []int{0, 1, 2}
	has := func(want string) (pids []int) {
		t.Helper()
		for _, i := range nodes {
			var got told
			until(t, fmt.Sprintf("the copy of node %d has %q", i, want), func() bool {
				got, err = orders.on(c.nodes[i]).tryFor(t, "DB")
				return err == nil && got.Env["DB"] == want
			})
			pids = append(pids, got.PID)
		}
		return pids
	}
	has("one")
	set(2, "two")
	before := has("two")
	for _, i := range nodes {
		var list struct {
			Value []struct {
				Properties struct {
					Status string `json:"status"`
				} `json:"properties"`
			} `json:"value"`
		}
		must(t, c.client(t, i).Do(t.Context(), http.MethodPost, c.site("orders")+"/config/configreferences/appsettings/refresh", nil, &list))
		if len(list.Value) != 1 || list.Value[0].Properties.Status != "Resolved" {
			t.Errorf("refreshed through node %d: %+v", i, list.Value)
		}
	}
	if after := has("two"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("reading the same again replaced copies: %v after %v", after, before)
	}
	c.nodes[0].kill() // it may be the one that reads
	nodes = nodes[1:]
	set(1, "three")
	has("three")
}

// on gives the app as a node serves it.
func (w workerApp) on(p *process) workerApp {
	one := *w.caller
	one.p = p
	w.caller = &one
	return w
}

func (w workerApp) tryFor(t testing.TB, variable string) (told, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return w.try(ctx, "env", "name", variable)
}
