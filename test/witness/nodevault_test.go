package witness

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/internal/trust/connect"
	"github.com/latchkey/latchkey/test/witness/node"
)

// proxy serves what `latchkey trust proxy` does for clients that find no names
// below localhost, and nothing outside of the installation.
func (p *process) proxy(t *testing.T) string {
	t.Helper()
	endpoint, err := url.Parse(p.Management)
	must(t, err)
	port, err := strconv.Atoi(endpoint.Port())
	must(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	proxy := connect.New(connect.Config{Domain: "localhost", Node: "127.0.0.1", Ports: []int{port}, Log: slog.New(slog.DiscardHandler)})
	go func() { ended <- proxy.Serve(ctx, l, patience) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return "http://" + l.Addr().String()
}

// me gives the object id of the caller.
func (c *caller) me(t *testing.T) string {
	t.Helper()
	var claims struct {
		OID string `json:"oid"`
	}
	_, rest, _ := strings.Cut(c.token(t), ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	must(t, err)
	must(t, json.Unmarshal(text, &claims))
	return claims.OID
}

func TestJavaScriptClientDrivesAVault(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := p.owner(t)
	c.do(t, "PUT", c.group("node-secrets")+"?api-version=2021-04-01", `{"location":"local"}`)
	out := node.Run(t, filepath.Join("node", "secrets.cjs"),
		"MANAGEMENT="+p.Management, "TENANT="+c.cred.TenantID, "CLIENT="+c.cred.ClientID, "SECRET="+c.cred.ClientSecret, "OBJECT="+c.me(t),
		"SUBSCRIPTION="+c.cred.SubscriptionID, "HTTPS_PROXY="+p.proxy(t), "NO_PROXY=localhost", "NODE_EXTRA_CA_CERTS="+filepath.Join(p.dir, "ca.pem"))
	var got map[string]any
	must(t, json.Unmarshal(out, &got))
	_, port, _ := strings.Cut(strings.TrimPrefix(p.Management, "https://"), ":")
	want := map[string]any{
		"free": true, "taken": "AlreadyExists", "vaults": []any{"node-kv", "node-other-kv"},
		"vault":  map[string]any{"uri": "https://node-kv.vault.localhost:" + port + "/", "state": "Succeeded", "deletion": true},
		"denied": "403 Forbidden ForbiddenByPolicy", "allowed": "404 SecretNotFound",
		"identity":     map[string]any{"ids": true, "tenant": true, "subject": "repo:a/b", "list": []any{"node-id"}, "trusts": []any{"pipeline"}},
		"identityGone": "404 ResourceNotFound",
		"values": map[string]any{
			"old": "one", "current": "two", "newVersion": true, "name": "first", "contentType": "text/plain", "tags": map[string]any{"a": "b"},
			"expires": "2037-01-01T00:00:00.000Z", "notBefore": "2026-01-01T00:00:00.000Z", "level": "CustomizedRecoverable+Purgeable", "days": 7.0, "enabled": true, "vault": true,
		},
		"updated":  map[string]any{"contentType": "text/css", "enabled": false, "tags": map[string]any{"c": "d"}},
		"disabled": "403 Forbidden SecretDisabled", "versions": true,
		"listed": 30.0, "pages": []any{12.0, 12.0, 6.0},
		"deleted": map[string]any{
			"name": "first", "recovery": "/deletedsecrets/first", "days": 7.0, "value": nil, "get": "404 SecretNotFound",
			"set": "409 Conflict ObjectIsDeletedButRecoverable", "list": []any{"first"}, "shown": "first",
		},
		"recovered":   map[string]any{"name": "first", "value": "two"},
		"restoreOver": "409 Conflict SecretAlreadyExists", "purged": "404 SecretNotFound",
		"restored": map[string]any{"name": "first", "value": "two", "versions": 2.0}, "restoredElsewhere": "two",
		"refused": map[string]any{
			"missing": "404 SecretNotFound", "version": "404 SecretNotFound", "name": "400 BadParameter", "size": "400 BadParameter", "tags": "400 BadParameter",
			"deleted": "404 SecretNotFound", "recover": "404 SecretNotFound", "purge": "404 SecretNotFound", "backup": "400 BadParameter",
			"secret": "AuthenticationRequiredError", "7.4": "two", "7.6": "two", "2025-07-01": "two",
		},
		"ended": "404 VaultNotFound", "softDeleted": []any{"node-kv", "node-other-kv"}, "recreated": "409 ConflictError", "vaultBack": "two", "vaultsLeft": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the client saw (-want +got):\n%s", diff)
	}
}

func TestJavaScriptHandlerReadsSecretsWithItsIdentities(t *testing.T) {
	modules := node.Modules(t)
	p := upWith(t, t.TempDir(), []string{"LATCHKEY_WORKERS_ISOLATION=off"}, "--metrics-address", "") // other users cannot read the libraries
	c := p.owner(t)
	rg := c.group("node-rg")
	c.do(t, "PUT", rg+"?api-version=2021-04-01", `{"location":"local"}`)
	user := c.do(t, "PUT", rg+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader?api-version=2023-01-31", `{"location":"local"}`)
	kv := c.do(t, "PUT", rg+"/providers/Microsoft.KeyVault/vaults/node-app-kv?api-version=2023-07-01",
		`{"location":"local","properties":{"tenantId":"`+c.cred.TenantID+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`)
	for name, value := range map[string]string{"supplier-key": "key-of-the-supplier", "db-password": "password-of-the-database"} {
		c.do(t, "PUT", kv.text("id")+"/secrets/"+name+"?api-version=2023-07-01", `{"properties":{"value":"`+value+`"}}`)
	}
	settings, err := json.Marshal([]map[string]string{
		{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"}, {"name": "NODE_PATH", "value": modules}, {"name": "VAULT_URL", "value": kv.text("properties.vaultUri")},
		{"name": "USER_CLIENT_ID", "value": user.text("properties.clientId")}, {"name": "USER_RESOURCE_ID", "value": user.text("id")},
		{"name": "DATABASE_PASSWORD", "value": "@Microsoft.KeyVault(VaultName=node-app-kv;SecretName=db-password)"},
	})
	must(t, err)
	site := c.do(t, "PUT", c.site("node-rg", "node-app")+"?api-version=2023-12-01", `{"location":"local","kind":"functionapp,linux",
		"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"`+user.text("id")+`":{}}},"properties":{"siteConfig":{"appSettings":`+string(settings)+`}}}`)
	c.mayReadSecrets(t, kv.text("id"), site.text("identity.principalId"))
	c.deployZip(t, "node-app", nodePackage(t))
	key := c.do(t, "POST", c.site("node-rg", "node-app")+"/host/default/listKeys?api-version=2023-12-01", "").text("functionKeys.default")

	const secret, denied = "key-of-the-supplier", "403 Forbidden"
	want := map[string]any{
		"setting": "password-of-the-database", "system": secret, "default": secret, "user": denied, "resource": denied, "defaultUser": denied, "stranger": "CredentialUnavailableError",
	}
	c.handlerSays(t, key, want)
	c.mayReadSecrets(t, kv.text("id"), user.text("properties.principalId"))
	for _, kind := range []string{"user", "resource", "defaultUser"} { // at once, with the tokens they have
		want[kind] = secret
	}
	c.handlerSays(t, key, want)
}

// mayReadSecrets gives a principal the role to read a vault's secrets.
func (c *caller) mayReadSecrets(t *testing.T, vault, principal string) {
	t.Helper()
	const secretsUser = "/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6"
	c.do(t, "PUT", vault+"/providers/Microsoft.Authorization/roleAssignments/"+principal+"?api-version=2022-04-01",
		`{"properties":{"roleDefinitionId":"`+c.subscription()+secretsUser+`","principalId":"`+principal+`","principalType":"ServicePrincipal"}}`)
}

// nodePackage is an app whose handler is node/handler.cjs.
func nodePackage(t *testing.T) []byte {
	t.Helper()
	program, err := exec.LookPath("node")
	must(t, err)
	handler, err := os.ReadFile(filepath.Join("node", "handler.cjs"))
	must(t, err)
	host, err := json.Marshal(map[string]any{"version": "2.0", "customHandler": map[string]any{
		"enableForwardingHttpRequest": true, "description": map[string]any{"defaultExecutablePath": program, "arguments": []string{"handler.cjs"}},
	}})
	must(t, err)
	return platformtest.Package(t, nil, map[string]string{"host.json": string(host), "handler.cjs": string(handler), "f/function.json": testkit.HTTPFunction("function", "")})
}

// handlerSays calls the handler until it says what it should.
func (c *caller) handlerSays(t *testing.T, key string, want map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.p.Functions+"/api/f", nil)
	must(t, err)
	req.Host = "node-app.localhost"
	req.Header.Set("x-functions-key", key)
	resp, err := c.http.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("the handler answers %d %s\n%s", resp.StatusCode, text, c.p.said())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the handler saw (-want +got):\n%s", diff)
	}
}
