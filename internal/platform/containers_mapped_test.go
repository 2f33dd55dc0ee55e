package platform_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity/entra"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
)

// Tokens of the cloud that an identity gets are not shown to a server that an app's
// settings name and that is not the cloud's.
func TestTokensOfTheCloudStayInTheCloud(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startContained(t, platform.Config{})
	id := c.at("containerApps", "shop")
	a := c.app()
	a["identity"] = object{"type": "SystemAssigned"}
	a["properties"].(object)["configuration"].(object)["registries"] = []any{
		object{"server": "registry.example", "identity": "system"}, object{"server": "acme.azurecr.io.evil.example", "identity": "system"}}
	c.Do(t, "PUT", id, a, nil)
	c.settled("shop", "Succeeded")
	if err := c.Node.MayHaveQueueToken(t.Context(), id, "system", "acct.evil.example"); err != nil {
		t.Errorf("a token that we make: %v", err)
	}
	c.Stop(t)
	c.Config.Upstream = []platform.Upstream{{Identity: id, Mode: entra.Secret, TenantID: "11111111-1111-1111-1111-111111111111",
		ClientID: "22222222-2222-2222-2222-222222222222", SecretFile: secret}}
	c.Restart(t)
	for host, allowed := range map[string]bool{
		"acct.queue.core.windows.net": true, "ACCT.queue.core.windows.net:443": true, "acct.evil.example": false,
		"acct.queue.core.windows.net.evil.example": false, "acct.queue.core.windows.net:8443": false,
	} {
		err := c.Node.MayHaveQueueToken(t.Context(), id, "system", host)
		if allowed != (err == nil) || err != nil && problem.KindOf(err) != problem.Denied {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, server := range []string{"registry.example", "acme.azurecr.io.evil.example"} {
		_, err := c.Node.ImageCredential(t.Context(), id, server+"/shop:1")
		if engine.ReasonOf(err) != engine.ReasonImageAuth || !strings.Contains(err.Error(), "must not be given tokens") {
			t.Errorf("%s: %v", server, err)
		}
	}
}
