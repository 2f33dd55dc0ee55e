package platform_test

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestContainerAppsMoveToTheNodeThatIsLeft(t *testing.T) {
	t.Parallel() // it waits most of the time
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	endpoints := etcdtest.Start(t)
	cfg := func(node string) platform.Config {
		c := platform.Config{Node: node, KEK: base64.StdEncoding.EncodeToString(key), State: platform.StateConfig{Kind: "etcd", Etcd: platform.EtcdConfig{Endpoints: endpoints}}}
		c.Containers.Engine, c.Containers.ProcessAsRoot = platform.EngineProcess, true
		return c
	}
	one := startContained(t, cfg("one"))
	two := &contained{Platform: platformtest.Start(t, cfg("two")), t: t}
	one.Do(t, "PUT", one.at("containerApps", "shop"), one.app(), nil)
	a := one.settled("shop", "Succeeded")
	ask := func(c *contained, host string) int {
		status, body, err := c.visit(nil, false).get(host, "/env?CONTAINER_APP_NAME")
		if err != nil || status == 200 && body != "shop" {
			t.Errorf("node %s: %d %q %v", c.Config.Node, status, body, err)
		}
		return status
	}
	serves, waits := one, two
	if ask(one, fqdn(a)) != 200 {
		serves, waits = two, one
	}
	for _, host := range []string{fqdn(a), strings.Replace(fqdn(a), "shop", "other", 1)} {
		if status := ask(waits, host); status != 503 {
			t.Errorf("the node that runs no container apps says %d of %s", status, host)
		}
	}
	if status := ask(serves, strings.Replace(fqdn(a), "shop", "other", 1)); status != 404 {
		t.Errorf("an app that is not there: %d", status)
	}
	if status := ask(waits, strings.SplitN(fqdn(a), ".", 2)[1]); status != 404 {
		t.Errorf("the domain of the environment: %d", status)
	}
	serves.Stop(t)
	platformtest.Until(t, "the other node serves", func() bool { return ask(waits, fqdn(a)) == 200 })
}
