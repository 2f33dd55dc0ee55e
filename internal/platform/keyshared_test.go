package platform_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// hostKeyUses gives how often the default host key was used, as a node knows it.
func hostKeyUses(t *testing.T, p *platformtest.Platform, app string) int64 {
	t.Helper()
	ring, err := p.Node.Ring(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	uses, err := ring.Usage(t.Context(), keyring.HostKeys())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uses {
		if u.Key.Name == "default" {
			return u.Count
		}
	}
	return 0
}

// TestTwoNodesCountTogetherAndRotateOnce has two nodes of one installation serve an
// app: both know what the other counted, a key that is due is rotated once, and the
// old value works on both until its end.
func TestTwoNodesCountTogetherAndRotateOnce(t *testing.T) {
	endpoints := etcdtest.Start(t)
	kek := make([]byte, 32)
	_, _ = rand.Read(kek) // never fails
	start := func(node string) *platformtest.Platform {
		return platformtest.Start(t, platform.Config{
			Node: node, KEK: base64.StdEncoding.EncodeToString(kek), Drill: true,
			State: platform.StateConfig{Kind: "etcd", Etcd: platform.EtcdConfig{Endpoints: endpoints}},
		})
	}
	one := start("one")
	two := start("two")
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	one.CreateApp(t, "orders", up)
	one.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	_, old := one.HostKeys(t, "orders")
	answers := func(p *platformtest.Platform, key string, want int) {
		t.Helper()
		platformtest.Until(t, "the app answers as it should", func() bool {
			status, _, err := p.TryCall(t.Context(), "orders", "/api/hello", key)
			return err == nil && status == want
		})
	}
	answers(one, old, http.StatusOK)
	answers(two, old, http.StatusOK)
	began := hostKeyUses(t, one, "orders") // pending here; not yet all of both
	for range 20 {
		one.Call(t, "orders", "/api/hello", old)
		two.Call(t, "orders", "/api/hello", old)
	}
	one.Do(t, http.MethodPatch, one.Site("orders")+"/host/default/functionKeys/default", map[string]any{
		"properties": map[string]any{"rotateEvery": "48h", "overlap": "1h"}}, nil)
	advance := func(by string) {
		t.Helper()
		one.Do(t, http.MethodPost, "/providers/Latchkey.Platform/clock/advance", map[string]string{"by": by}, nil)
		var err error // its token has expired
		if one.Client, err = armclient.New(one.Cred); err != nil {
			t.Fatal(err)
		}
	}
	advance("2m")
	platformtest.Until(t, "both nodes know of all uses", func() bool {
		a, b := hostKeyUses(t, one, "orders"), hostKeyUses(t, two, "orders")
		return a == b && a >= 40+began
	})
	advance("49h")
	var fresh string
	platformtest.Until(t, "the key is rotated", func() bool {
		_, fresh = one.HostKeys(t, "orders")
		return fresh != old
	})
	for _, p := range []*platformtest.Platform{one, two} {
		answers(p, fresh, http.StatusOK)
		answers(p, old, http.StatusOK)
	}
	advance("2h")
	for _, p := range []*platformtest.Platform{one, two} {
		answers(p, old, http.StatusUnauthorized)
		answers(p, fresh, http.StatusOK)
	}
	if _, last := one.HostKeys(t, "orders"); last != fresh {
		t.Error("rotated a second time")
	}
	platformtest.Until(t, "the rotation is in the record, once", func() bool {
		n := 0
		for _, e := range events(t, one, "System") {
			if e["action"] == "keys/keyRotated" {
				n++
			}
		}
		return n == 1
	})
}
