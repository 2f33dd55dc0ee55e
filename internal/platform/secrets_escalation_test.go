package platform_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

const (
	hidden          = "the-value-that-nobody-may-see"
	secretsUserRole = "4633458b-17de-408a-b874-0445c86b69e6"
)

// Who may manage an app, but neither reads its vault nor runs code in it, finds the
// values of its references nowhere in the management API.
func TestValuesOfReferencesAreNotInTheManagementAPI(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "mine", platformtest.Upstream(t, saying("hello")))
	makeVault(t, p, "kv-mine", "db", hidden)
	letRead(t, p, "mine", "kv-mine")
	const ref = "@Microsoft.KeyVault(VaultName=kv-mine;SecretName=db)"
	setSettings(t, p, "mine", map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom", "DB": ref, "HALF": "@Microsoft.KeyVault(VaultName=kv-mine;SecretName=none)"})
	p.Do(t, http.MethodPut, p.Site("mine")+"/config/connectionstrings", map[string]any{"properties": map[string]any{
		"C": map[string]string{"value": ref, "type": "Custom"},
	}}, nil)
	p.Deploy(t, "mine", platformtest.Package(t, []string{"f"}, map[string]string{"named/function.json": strings.Replace(
		testkit.HTTPFunction("function", ""), `"type":"httpTrigger"`, `"type":"httpTrigger","route":"x%DB%"`, 1)}))
	platformtest.Until(t, "the references are resolved", func() bool { return references(t, p, "mine")["DB"].Properties.Status == "Resolved" })
	_, cred := principal(t, p, websiteRole, p.Site("mine"))
	c, site := as(t, p, cred), p.Site("mine")
	for _, call := range [][2]string{
		{"GET", ""}, {"POST", "/config/appsettings/list"}, {"POST", "/config/connectionstrings/list"}, {"GET", "/config/web"}, {"GET", "/config"},
		{"GET", "/config/configreferences/appsettings"}, {"GET", "/config/configreferences/connectionstrings"},
		{"GET", "/config/configreferences/appsettings/DB"}, {"GET", "/config/configreferences/appsettings?api-version=2018-11-01"},
		{"POST", "/config/configreferences/appsettings/refresh"}, {"GET", "/functions"}, {"GET", "/functions/named"}, {"GET", "/functions/f"},
		{"GET", "/instances"}, {"POST", "/publishxml"}, {"GET", "/hostruntime/admin/host/status"}, {"GET", "/hostruntime/admin/functions"},
		{"GET", "/hostruntime/admin/functions/named"}, {"GET", "/hostruntime/admin/host/config"}, {"GET", "/hostruntime/admin/host/processes"},
		{"POST", "/config/metadata/list"}, {"GET", "/config/logs"},
	} {
		var body bytes.Buffer
		if err := c.Stream(t.Context(), call[0], site+call[1], "", nil, &body); err != nil {
			body.WriteString(err.Error())
		}
		if strings.Contains(body.String(), hidden) {
			t.Errorf("%s %s has the value", call[0], call[1])
		}
	}
	all, err := json.Marshal(events(t, p, ""))
	if err != nil || strings.Contains(string(all), hidden) || strings.Contains(p.Log.String(), hidden) {
		t.Errorf("the record or the log has the value, %v", err)
	}
}

// identityAt is the id of an identity in the resource group "rg".
func identityAt(p *platformtest.Platform, name string) string {
	return p.Subscription() + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// Who may write an app only gives it no identity that is not theirs to give, and so
// reads no secret as one.
func TestWhoWritesAnAppGivesItNoIdentity(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "mine", platformtest.Upstream(t, saying("hello")))
	makeVault(t, p, "kv-ops", "db", hidden)
	var made struct {
		Properties struct{ PrincipalID string }
	}
	ops := identityAt(p, "ops")
	p.Do(t, http.MethodPut, ops, map[string]any{"location": "local"}, &made)
	assign(t, p, made.Properties.PrincipalID, secretsUserRole, vaultID(p, "kv-ops"))
	_, cred := principal(t, p, websiteRole, p.Site("mine"))
	c, site := as(t, p, cred), p.Site("mine")
	for _, spelled := range []string{ops, strings.ToUpper(ops), strings.ToLower(ops), ops + "/", strings.Replace(ops, "/providers", "//providers", 1)} {
		for _, block := range []string{
			`"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + spelled + `":{}}}`,
			`"identity":{"type":"None"},"Identity":{"type":"userassigned","UserAssignedIdentities":{"` + spelled + `":{"principalId":"` + made.Properties.PrincipalID + `"}}}`,
			`"identity":{"type":"None","type":"UserAssigned","userAssignedIdentities":{},"userAssignedIdentities":{"` + spelled + `":{}}}`,
		} {
			for _, method := range []string{"PUT", "PATCH"} {
				body := json.RawMessage(`{"location":"local",` + block + `,"properties":{"keyVaultReferenceIdentity":"` + ops + `"}}`)
				err := c.Do(t.Context(), method, site, body, nil) // what counts is what comes of it
				var got struct{ Identity json.RawMessage }
				if p.Do(t, "GET", site, nil, &got); got.Identity != nil {
					t.Errorf("%s with %s gives %s, %v", method, block, got.Identity, err)
				}
			}
		}
	}
	for _, call := range [][2]string{{"GET", ops}, {"PUT", ops + "/federatedIdentityCredentials/mine"}, {"PUT", ops}, {"DELETE", ops}, {"POST", ops + "/listAssociatedResources"}} {
		refused(t, c, call[0], call[1], map[string]any{"location": "local"})
	}
	allowed(t, c, "PATCH", site, map[string]any{"properties": map[string]string{"keyVaultReferenceIdentity": ops}})
	setSettings(t, p, "mine", map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom", "DB": "@Microsoft.KeyVault(VaultName=kv-ops;SecretName=db)"})
	platformtest.Until(t, "the reference is refused", func() bool { return references(t, p, "mine")["DB"].Properties.Status == "MSINotEnabled" })
	// Nor does anybody make credentials for a principal that belongs to a resource.
	for _, path := range []string{"/addSecret", "/addCertificate"} {
		if err := p.Client.Do(t.Context(), "POST", "/providers/Latchkey.Directory/principals/"+made.Properties.PrincipalID+path, map[string]any{}, nil); err == nil {
			t.Errorf("a managed identity takes %s", path)
		}
	}
}

// Who manages vaults whose access is decided by roles does not come to decide it.
func TestWhoManagesVaultsReadsNothingInThem(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "kv-safe", "db", hidden)
	own, cred := principal(t, p, contributorRole, "")
	c, id := as(t, p, cred), vaultID(p, "kv-safe")
	policy := `"accessPolicies":[{"tenantId":"` + p.Cred.TenantID + `","objectId":"` + own + `","permissions":{"secrets":["all"]}}]`
	whole := `"sku":{"family":"A","name":"standard"},"tenantId":"` + p.Cred.TenantID + `",` + policy
	secret := strings.Replace(p.Node.ManagementURL(), "://", "://kv-safe.vault.", 1) + "/secrets/db?api-version=7.4"
	unread := func(after string) {
		t.Helper()
		var body bytes.Buffer
		err := c.Stream(t.Context(), http.MethodGet, secret, "", nil, &body)
		if err == nil || strings.Contains(body.String()+err.Error(), hidden) {
			t.Errorf("after %s the secret is read: %v", after, err)
		}
	}
	unread("nothing")
	for _, model := range []string{
		``, `"enableRbacAuthorization":false,`, `"enableRbacAuthorization":null,`, `"EnableRbacAuthorization":false,`,
		`"enableRbacAuthorization":true,"ENABLErbacAuthorization":false,`, `"enableRbacAuthorization":false,"enableRbacAuthorization":true,`,
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			body := `{"location":"local","properties":{` + model + whole + `}}`
			_ = c.Do(t.Context(), method, id, json.RawMessage(body), nil) // what counts is what comes of it
			unread(method + " " + body)
			body = `{"location":"local","properties":{` + whole + `},"Properties":{` + model + whole + `}}`
			_ = c.Do(t.Context(), method, id, json.RawMessage(body), nil)
			unread(method + " " + body)
		}
	}
	for _, version := range []string{"2015-06-01", "2023-07-01", "2026-02-01"} {
		_ = c.Do(t.Context(), "PUT", id+"?api-version="+version, json.RawMessage(`{"location":"local","properties":{`+whole+`}}`), nil)
		unread(version)
	}
	allowed(t, c, "PUT", id+"/accessPolicies/add", json.RawMessage(`{"properties":{`+policy+`}}`))
	unread("a policy of its own")
	var body bytes.Buffer
	if err := c.Stream(t.Context(), "GET", id+"/secrets/db", "", nil, &body); err != nil || strings.Contains(body.String(), hidden) {
		t.Errorf("the management API shows %s, %v", body.String(), err)
	}
	allowed(t, c, "DELETE", id, nil)
	for _, model := range []string{``, `"enableRbacAuthorization":false,`} {
		_ = c.Do(t.Context(), "PUT", id, json.RawMessage(`{"location":"local","properties":{`+model+`"createMode":"recover",`+whole+`}}`), nil)
		unread("recovering with " + model)
	}
	p.Do(t, "PATCH", id, json.RawMessage(`{"properties":{"enableRbacAuthorization":false,`+policy+`}}`), nil)
	body.Reset() // it is the owner who may, and then the policy counts
	if err := c.Stream(t.Context(), http.MethodGet, secret, "", nil, &body); err != nil || !strings.Contains(body.String(), hidden) {
		t.Errorf("with a policy that counts: %s, %v", body.String(), err)
	}
	refused(t, c, "PUT", id+"/providers/Microsoft.Authorization/roleAssignments/0a000000-0000-4000-8000-000000000001", map[string]any{})
	refused(t, c, "POST", "/providers/Latchkey.Directory/groups", map[string]any{"name": "g"})
}

// raw sends a request with a host and a token of one's choice.
func raw(t *testing.T, p *platformtest.Platform, host, path, token string) (status int, header http.Header) {
	t.Helper()
	pem, err := os.ReadFile(p.Cred.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	at, err := url.Parse(p.Node.ManagementURL())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+at.Port())
		},
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+at.Port()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header
}

// A token opens what it was made for, whatever host a request claims to be for.
func TestTokensOpenWhatTheyAreForWhateverTheHost(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "kv-tok", "db", hidden)
	own, err := p.Client.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	assign(t, p, own.ObjectID, secretsUserRole, vaultID(p, "kv-tok"))
	at, err := url.Parse(p.Node.ManagementURL())
	if err != nil {
		t.Fatal(err)
	}
	port := ":" + at.Port()
	const secret = "/secrets/db?api-version=7.4"
	const arm = "/subscriptions?api-version=2022-12-01"
	token := func(resource string) string {
		t.Helper()
		got, err := p.Client.Token(t.Context(), resource)
		if err != nil {
			t.Fatalf("%s: %v", resource, err)
		}
		return got.Raw
	}
	for _, tt := range []struct {
		resource, host, path string
		want                 int
	}{
		{"https://vault.localhost" + port, "kv-tok.vault.localhost" + port, secret, 200},
		{"https://vault.localhost" + port, "KV-TOK.Vault.Localhost." + port, secret, 200},
		{"https://vault.azure.net", "kv-tok.vault.localhost" + port, secret, 200},
		{"cfa8b339-82a2-471a-a3c9-0fc0be7a4093", "kv-tok.vault.localhost" + port, secret, 200},
		{"https://localhost" + port, "localhost" + port, arm, 200},

		{"https://localhost" + port, "kv-tok.vault.localhost" + port, secret, 401},
		{"https://management.azure.com", "kv-tok.vault.localhost" + port, secret, 401},
		{"https://kv-tok.vault.localhost" + port, "kv-tok.vault.localhost" + port, secret, 401},
		{"https://vault.localhost:1", "kv-tok.vault.localhost:1", secret, 401},
		{"https://vault.localhost.:1", "kv-tok.vault.localhost.:1", secret, 401},
		{"https://vault.localhost", "kv-tok.vault.localhost", secret, 401},
		{"https://evil.example", "kv-tok.vault.localhost" + port, secret, 401},
		{"https://vault.localhost" + port, "localhost" + port, arm, 401},
		{"https://vault.localhost" + port, "127.0.0.1" + port, arm, 401},
		{"https://vault.azure.net", "localhost" + port, arm, 401},
		{"https://vault.localhost" + port, "a.vault.b.localhost" + port, arm, 401},
		{"https://x.y.localhost" + port, "x.y.localhost" + port, arm, 401},
		{"https://localhost:1", "localhost:1", arm, 401},
		{"https://vault.azure.net", "vault.azure.net", arm, 401},
		{"https://evil.example", "evil.example", arm, 401},
		{"api://AzureADTokenExchange", "localhost" + port, arm, 401},
	} {
		status, header := raw(t, p, tt.host, tt.path, token(tt.resource))
		if status != tt.want {
			t.Errorf("a token for %s at host %s: %d, not %d", tt.resource, tt.host, status, tt.want)
		}
		if strings.Contains(header.Get("Www-Authenticate"), `="https://evil`) {
			t.Errorf("host %s is told %q", tt.host, header.Get("Www-Authenticate"))
		}
	}
	// The vault's address means the management API to nobody.
	if status, _ := raw(t, p, "vault.localhost"+port, arm, token("https://vault.localhost"+port)); status == 200 {
		t.Error("the management API is at the vaults' domain")
	}
}
