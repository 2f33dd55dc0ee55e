package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// azurermVault replays what the azurerm provider sends for identities, and for
// secrets in the data plane, as its log shows it.
func azurermVault(t *testing.T, c *caller) {
	host := ".vault.localhost" + c.p.Management[strings.LastIndex(c.p.Management, ":"):]
	arm := replaying(c, "2026-02-01", "tf-kv-rg", "tf-kv-app", http.Header{"Accept": {"application/json"}, "X-Ms-Correlation-Request-Id": {"22222222-2222-2222-2222-222222222222"}})
	arm.also = arm.provider
	body, err := json.Marshal(map[string]any{"location": "local", "properties": map[string]any{
		"tenantId": c.cred.TenantID, "sku": map[string]string{"family": "A", "name": "standard"}, "enableRbacAuthorization": false, "softDeleteRetentionInDays": 7,
		"accessPolicies": []any{map[string]any{"tenantId": c.cred.TenantID, "objectId": c.me(t), "permissions": map[string]any{"secrets": []string{"Get", "List", "Set", "Delete", "Recover", "Purge"}}}},
	}})
	must(t, err)
	arm.run(t, step{"PUT", "{rg}?api-version=2023-07-01", `{"location":"local"}`, "200|201", nil}, step{"PUT", tfVaultID, string(body), "200|201", nil})

	data := arm
	token, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://" + host[1:] + "/.default"}})
	must(t, err)
	data.header = http.Header{"Authorization": {"Bearer " + token.Token}, "Content-Type": {"application/json; charset=utf-8"}}
	data.names = strings.NewReplacer("{secrets}", "https://tf-kv"+host+"/secrets", "{deleted}", "https://tf-kv"+host+"/deletedsecrets", "{vault}", "https://tf-kv"+host)
	data.also = readable

	t.Run("identity", func(t *testing.T) {
		r := arm
		r.also = readable
		r.run(t, tfIdentity...)
	})
	t.Run("secret", func(t *testing.T) {
		data.run(t, tfVaultRead...)
		data.run(t, tfSecretCreate...)
		data.run(t, tfSecretUpdate...)
		arm.run(t, tfVaultSearch...)
		data.run(t, tfSecretDelete...)
	})
	t.Run("secret deleted by somebody else", func(t *testing.T) { data.recoverSecret(t) })
	t.Run("secret without permission", func(t *testing.T) { data.withoutPermission(t, arm) })
}

const (
	tfVaultID    = "{rg}/providers/Microsoft.KeyVault/vaults/tf-kv"
	tfIdentityID = "{rg}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	tfTrustID    = tfIdentityID + "/federatedIdentityCredentials/pipeline"
	tfIdentities = "?api-version=2024-11-30"
	tfSecret     = "/db-password"
	tfSecrets    = "?api-version=7.4"
	tfValue      = `{"attributes":{"exp":4070908800},"contentType":"text/plain","tags":{"a":"b"},"value":"first"}`
)

// readable checks what the provider needs of an answer of the data plane, and of
// one about an identity.
func readable(_ step, a answer) error {
	if len(a.body) > 0 && !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		return fmt.Errorf("the provider reads no %q", a.header.Get("Content-Type"))
	}
	if a.header.Get("Azure-Asyncoperation") != "" { // a Location, as new identities have, is not asked for
		return errors.New("the provider would poll")
	}
	return nil
}

// tfIdentity is azurerm_user_assigned_identity with an
// azurerm_federated_identity_credential: create, change and destroy.
var tfIdentity = []step{
	{"GET", tfIdentityID + tfIdentities, "", "404", nil},
	{"PUT", tfIdentityID + tfIdentities, `{"location":"local","properties":{"isolationScope":"None"},"tags":{"team":"orders"}}`, "200|201", []string{"id"}},
	{"GET", tfIdentityID + tfIdentities, "", "200", []string{"id=" + tfIdentityID, "name=reader", "location=local", "tags.team=orders",
		"properties.principalId", "properties.clientId", "properties.tenantId", "properties.isolationScope=None"}},
	{"GET", tfTrustID + tfIdentities, "", "404", nil},
	{"PUT", tfTrustID + tfIdentities, `{"properties":{"audiences":["api://AzureADTokenExchange"],"issuer":"https://token.actions.example.com","subject":"repo:orders/app:ref:refs/heads/main"}}`, "200|201", nil},
	{"GET", tfTrustID + tfIdentities, "", "200", []string{"id=" + tfTrustID, "name=pipeline",
		"properties.audiences.0=api://AzureADTokenExchange", "properties.issuer=https://token.actions.example.com", "properties.subject=repo:orders/app:ref:refs/heads/main"}},
	{"PATCH", tfIdentityID + tfIdentities, `{"properties":{},"tags":{"team":"mail"}}`, "200", nil},
	{"GET", tfIdentityID + tfIdentities, "", "200", []string{"tags.team=mail", "properties.isolationScope=None"}},
	{"PUT", tfTrustID + tfIdentities, `{"id":"` + tfTrustID + `","name":"pipeline","properties":{"audiences":["api://AzureADTokenExchange"],"issuer":"https://token.actions.example.com",` +
		`"subject":"repo:orders/app:ref:refs/heads/next"},"type":"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"}`, "200|201", nil},
	{"GET", tfTrustID + tfIdentities, "", "200", []string{"properties.subject=repo:orders/app:ref:refs/heads/next"}},
	{"DELETE", tfTrustID + tfIdentities, "", "200|204", nil},
	{"DELETE", tfIdentityID + tfIdentities, "", "200|204", nil},
	{"GET", tfIdentityID + tfIdentities, "", "404", nil},
}

// tfVaultRead is the part of azurerm_key_vault's refresh that is not ARM's: the
// provider gives up on anything but 200, 403 and 404.
var tfVaultRead = []step{{"GET", "{vault}/certificates/contacts" + tfSecrets, "", "404|403", nil}}

var tfSecretRead = step{"GET", "{secrets}" + tfSecret + "/" + tfSecrets, "", "200", []string{
	"id", "value=first", "contentType=text/plain", "attributes.enabled=true", "attributes.exp=4.0709088e+09", "attributes.recoveryLevel", "tags.a=b"}}

var tfSecretCreate = []step{
	{"GET", "{secrets}" + tfSecret + "/" + tfSecrets, "", "404", []string{"error.code=SecretNotFound"}},
	{"PUT", "{secrets}" + tfSecret + tfSecrets, tfValue, "200", []string{"id"}},
	tfSecretRead, tfSecretRead,
}

// tfSecretUpdate changes what is no value, and then the value.
var tfSecretUpdate = []step{
	tfSecretRead,
	{"PATCH", "{secrets}" + tfSecret + "/" + tfSecrets, `{"attributes":{"exp":4070908800},"contentType":"text/plain","tags":{"a":"c"}}`, "200", []string{"!value", "id"}},
	{"GET", "{secrets}" + tfSecret + "/" + tfSecrets, "", "200", []string{"value=first", "tags.a=c"}},
	{"PUT", "{secrets}" + tfSecret + tfSecrets, strings.Replace(tfValue, "first", "second", 1), "200", nil},
	{"GET", "{secrets}" + tfSecret + "/" + tfSecrets, "", "200", []string{"value=second", "tags.a=b"}},
}

// tfVaultSearch is how the provider finds the vault of a secret in its state.
var tfVaultSearch = []step{
	{"GET", "{sub}/providers/Microsoft.KeyVault/vaults?api-version=2026-02-01", "", "200", []string{"value.0.id=" + tfVaultID, "value.0.properties.vaultUri"}},
	{"GET", "{sub}/resources?%24filter=resourceType+eq+%27Microsoft.KeyVault%2Fvaults%27&api-version=2015-11-01", "", "200", []string{"value.0.id=" + tfVaultID}},
	{"GET", tfVaultID, "", "200", []string{"properties.vaultUri"}},
}

// tfSecretDelete is a destroy with a purge; it looks three times whether each has
// happened.
var tfSecretDelete = []step{
	tfStep("DELETE", "{secrets}", "200"), tfGone("{secrets}"), tfGone("{secrets}"), tfGone("{secrets}"),
	tfStep("DELETE", "{deleted}", "204"), tfGone("{deleted}"), tfGone("{deleted}"), tfGone("{deleted}"),
}

func tfStep(method, where, accept string) step {
	return step{method, where + tfSecret + tfSecrets, "", accept, nil}
}

func tfGone(where string) step {
	return step{"GET", where + tfSecret + tfSecrets, "", "404", []string{"error.code=SecretNotFound"}}
}

// recoverSecret is a create of a secret that was deleted and not purged. The
// provider asks for the recovered secret without a token, ten times in two
// minutes; any answer counts.
func (r replay) recoverSecret(t *testing.T) {
	r.run(t,
		step{"PUT", "{secrets}" + tfSecret + tfSecrets, tfValue, "200", nil},
		tfStep("DELETE", "{secrets}", "200"), // by somebody else
		tfGone("{secrets}"),
		step{"PUT", "{secrets}" + tfSecret + tfSecrets, tfValue, "409", []string{"error.innererror.code=ObjectIsDeletedButRecoverable"}},
		step{"POST", "{deleted}" + tfSecret + "/recover" + tfSecrets, "", "200", []string{"id", "!value"}},
	)
	bare := r.send(t, request{method: "GET", path: r.names.Replace("{secrets}" + tfSecret), header: http.Header{"Authorization": {""}}})
	if bare.status >= 500 {
		t.Errorf("without a token: %s", bare)
	}
	r.run(t, step{"PUT", "{secrets}" + tfSecret + tfSecrets, tfValue, "200", nil}, tfSecretRead, tfSecretRead)
}

// withoutPermission takes away the vault's access policies: the provider must be
// told so at once, and not try again as it does after 5xx and 429.
func (r replay) withoutPermission(t *testing.T, arm replay) {
	arm.run(t, step{"PATCH", tfVaultID, `{"properties":{"accessPolicies":[]}}`, "200", nil})
	for _, method := range []string{"GET", "DELETE"} {
		r.run(t, step{method, "{secrets}" + tfSecret + tfSecrets, "", "403", []string{"error.innererror.code=ForbiddenByPolicy"}})
	}
}
