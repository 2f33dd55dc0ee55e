package platform_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestAnIngressWithoutATargetPortFindsItOrSaysSo(t *testing.T) {
	c := startContained(t, platform.Config{})
	a := c.app()
	ingress := a["properties"].(object)["configuration"].(object)["ingress"].(object)
	delete(ingress, "targetPort")
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Failed")
	if text := fmt.Sprint(inside(shop, "properties", "deploymentErrors")); !strings.Contains(text, "configuration.ingress.targetPort") || !strings.Contains(text, "PORT") {
		t.Errorf("why it failed: %s", text)
	}
	v := c.visit(nil, false)
	if status, body, err := v.get(fqdn(shop), "/"); err != nil || status < 400 {
		t.Errorf("the app that failed: %d %s %v", status, body, err)
	}
	main := a["properties"].(object)["template"].(object)["containers"].([]any)[0].(object)
	main["probes"] = []any{object{"type": "Readiness", "tcpSocket": object{"port": 8080}, "periodSeconds": 1}}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop = c.settled("shop", "Succeeded")
	if status, body, err := v.get(fqdn(shop), "/env?CONTAINER_APP_NAME"); status != 200 || body != "shop" {
		t.Errorf("by the port of its probe: %d %s %v", status, body, err)
	}
}

// The container ends at once when it is asked to: what keeps it is that it is not
// asked while somebody waits for an answer.
func TestARestartLosesNoRequestThatIsUnderWay(t *testing.T) {
	c := startContained(t, platform.Config{})
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	shop := c.settled("shop", "Succeeded")
	v := c.visit(nil, false)
	release := filepath.Join(t.TempDir(), "go")
	type answer struct {
		status int
		body   string
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		status, body, err := v.get(fqdn(shop), "/wait?"+release)
		got <- answer{status, body, err}
	}()
	platformtest.Until(t, "the request is under way", func() bool { _, err := os.Stat(release + ".waits"); return err == nil })
	before := c.replicas(shop)
	c.Do(t, "POST", shop["id"].(string)+"/revisions/"+inside(shop, "properties", "latestRevisionName").(string)+"/restart", nil, nil)
	platformtest.Until(t, "another replica serves", func() bool {
		status, body, err := v.get(fqdn(shop), "/env?CONTAINER_APP_REPLICA_NAME")
		return err == nil && status == 200 && body != "" && !strings.HasPrefix(before, body)
	})
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-got:
		if a.err != nil || a.status != 200 || !strings.HasPrefix(before, a.body) || a.body == "" {
			t.Errorf("the request that was under way: %d %q %v", a.status, a.body, a.err)
		}
	case <-time.After(platformtest.Patience):
		t.Fatal("no answer")
	}
}

func TestMorePortsOfAContainerAppAreReached(t *testing.T) {
	c := startContained(t, platform.Config{})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exposed := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := c.app()
	ingress := a["properties"].(object)["configuration"].(object)["ingress"].(object)
	ingress["additionalPortMappings"] = []any{object{"external": true, "targetPort": 9000, "exposedPort": exposed}}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	c.settled("shop", "Succeeded")
	client := &http.Client{Timeout: platformtest.Patience}
	t.Cleanup(client.CloseIdleConnections)
	platformtest.Until(t, "the other port answers", func() bool {
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/env?CONTAINER_APP_NAME", exposed))
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return err == nil && string(body) == "shop"
	})
}
