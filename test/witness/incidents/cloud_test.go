package incidents

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/trust/connect"
)

// upWithCloud starts an installation whose app shop refers to a vault that is not
// its own: nothing tells it when a secret there changes, and it asks once a day
// only, as the cloud's own references do. The vault is that of a second
// installation, reached as a real key vault is: its name, its token service and a
// client secret are all that the first one knows.
func upWithCloud(t *testing.T, settings ...string) (cloud, ours *installation) {
	t.Helper()
	cloud = up(t, "")
	cloud.run(t, "", "vault", "create", "shop-kv")
	cloud.secret(t, "shop-kv", "db-password", "first")
	var client struct{ ClientID, TenantID, ClientSecret string }
	parse(t, cloud.run(t, "", "principal", "create", "shop-elsewhere", "--output", "json"), &client)
	cloud.run(t, "", "role", "assign", "Key Vault Secrets User", "--principal", "shop-elsewhere", "--scope", "vault/shop-kv")

	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(client.ClientSecret), 0o600))
	management, err := url.Parse(cloud.Management)
	must(t, err)
	vaults := "vault.localhost:" + management.Port()
	ours = up(t, fmt.Sprintf(`
references: {interval: 24h, realVaults: [%q]}
identity:
  upstream:
    - {identity: shop, mode: secret, tenantId: %q, clientId: %q, secretFile: %q, authorityHost: %q}
`, vaults, client.TenantID, client.ClientID, secret, cloud.Management),
		"SSL_CERT_FILE="+filepath.Join(cloud.data(), "ca.pem"), "HTTPS_PROXY="+proxyTo(t, management.Port()))
	ours.app(t, append(settings, "DATABASE_PASSWORD=@Microsoft.KeyVault(SecretUri=https://shop-kv."+vaults+"/secrets/db-password)")...)
	ours.run(t, "", "identity", "assign", "shop")
	ours.run(t, "", "references", "refresh", "shop")
	return cloud, ours
}

// proxyTo finds names below localhost on machines that resolve none.
func proxyTo(t *testing.T, port string) string {
	t.Helper()
	number, err := strconv.Atoi(port)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := connect.New(connect.Config{Domain: "localhost", Node: "127.0.0.1", Ports: []int{number}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.Serve(ctx, l, time.Second) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	return "http://" + l.Addr().String()
}
