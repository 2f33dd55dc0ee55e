package keyvault_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/deployments"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// value gives what the data plane would answer.
func (f *fixture) value(name string) secrets.Bundle {
	f.Helper()
	v, err := f.vaults.Get(f.Context(), resource.Group(sub, "rg").Child("Microsoft.KeyVault", "vaults", "kv-one"))
	f.must(err)
	b, err := f.secrets.Get(f.Context(), v, name, "")
	f.must(err)
	return b
}

func TestSecretsAreWrittenAndNeverRead(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	const path = vaultAt + "/secrets/db"
	made := f.want(201, "PUT", path, `{"tags":{"a":"b"},"properties":{"value":"hidden-1","contentType":"text/plain","attributes":{"exp":2000000000}}}`)
	again := f.want(200, "PUT", path, `{"properties":{"value":"hidden-2"}}`)
	if at(object(made), "properties", "secretUriWithVersion") == at(object(again), "properties", "secretUriWithVersion") {
		t.Error("another value has the same version")
	}
	if b := f.value("db"); b.Value != "hidden-2" || b.ContentType != "" || !b.Expires.IsZero() {
		t.Errorf("PUT keeps what it does not say: %+v", b.Properties)
	}
	changed := f.want(200, "PATCH", path, `{"tags":{"c":"d"},"properties":{"contentType":"x","attributes":{"nbf":1000}}}`)
	if at(object(changed), "properties", "secretUriWithVersion") != at(object(again), "properties", "secretUriWithVersion") {
		t.Error("a change of what is known of it made a version")
	}
	rotated := f.want(200, "PATCH", path, `{"properties":{"value":"hidden-3"}}`)
	if b := f.value("db"); b.Value != "hidden-3" || b.ContentType != "x" || b.NotBefore.Unix() != 1000 || b.Tags["c"] != "d" {
		t.Errorf("PATCH with a value loses something: %+v", b.Properties)
	}
	for _, w := range []string{made.Body.String(), again.Body.String(), changed.Body.String(), rotated.Body.String(),
		f.want(200, "GET", path, "").Body.String(), f.want(200, "GET", vaultAt+"/secrets", "").Body.String()} {
		if strings.Contains(w, "hidden") {
			t.Errorf("a value is answered: %s", w)
		}
	}
}

func TestADisabledSecretIsStillManaged(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	const path = vaultAt + "/secrets/db"
	f.want(201, "PUT", path, `{"properties":{"value":"v","contentType":"x","attributes":{"enabled":false}}}`)
	if at(f.property(path, "attributes"), "enabled") != false {
		t.Error("it is not disabled")
	}
	f.want(200, "PATCH", path, `{"properties":{"value":"w"}}`)
	if got := f.property(path, "contentType"); got != "x" {
		t.Errorf("content type: %v", got)
	}
	f.want(200, "PATCH", path, `{"properties":{"attributes":{"enabled":true}}}`)
	if b := f.value("db"); b.Value != "w" {
		t.Error("the value is not that of the change")
	}
}

func TestADeletedSecretKeepsItsName(t *testing.T) {
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	const path = vaultAt + "/secrets/db"
	f.want(201, "PUT", path, `{"properties":{"value":"v"}}`)
	v, err := f.vaults.ByName("kv-one")
	f.must(err)
	_, err = f.secrets.Delete(t.Context(), v, "db")
	f.must(err)
	f.refused(404, "SecretNotFound", "GET", path, "")
	if text := f.refused(409, "Conflict", "PUT", path, `{"properties":{"value":"w"}}`); !strings.Contains(text, "deleted but recoverable") {
		t.Error(text)
	}
}

const template = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
	"parameters":{"secret":{"type":"securestring"},"tenant":{"type":"string"},"who":{"type":"string"}},
	"resources":[
		{"type":"Microsoft.KeyVault/vaults","apiVersion":"2023-07-01","name":"kv-one","location":"local",
			"properties":{"tenantId":"[parameters('tenant')]","sku":{"family":"A","name":"standard"},"accessPolicies":[]}},
		{"type":"Microsoft.KeyVault/vaults/secrets","apiVersion":"2023-07-01","name":"kv-one/db","dependsOn":["[resourceId('Microsoft.KeyVault/vaults','kv-one')]"],
			"properties":{"value":"[parameters('secret')]","contentType":"text/plain"}},
		{"type":"Microsoft.KeyVault/vaults/accessPolicies","apiVersion":"2023-07-01","name":"kv-one/add","dependsOn":["[resourceId('Microsoft.KeyVault/vaults','kv-one')]"],
			"properties":{"accessPolicies":[{"tenantId":"[parameters('tenant')]","objectId":"[parameters('who')]","permissions":{"secrets":["get"]}}]}}
	],
	"outputs":{"uri":{"type":"string","value":"[reference(resourceId('Microsoft.KeyVault/vaults/secrets','kv-one','db')).secretUri]"},
		"vault":{"type":"string","value":"[reference('Microsoft.KeyVault/vaults/kv-one').vaultUri]"}}}`

func TestTemplatesWriteSecrets(t *testing.T) {
	f := newFixture(t)
	var invoke func(ctx context.Context, in arm.Inner) (int, []byte, error)
	rollouts, err := deployments.New(deployments.Config{Inventory: f.inv, TenantID: tenant, SubscriptionID: sub, Patience: time.Minute,
		Invoke: func(ctx context.Context, in arm.Inner) (int, []byte, error) { return invoke(ctx, in) }})
	f.must(err)
	t.Cleanup(rollouts.Close)
	f.serve(rollouts.Operations()...)
	invoke = f.api.Invoke
	parameters, _ := json.Marshal(map[string]any{"secret": map[string]string{"value": "hidden"}, "tenant": map[string]string{"value": tenant}, "who": map[string]string{"value": bob}})
	body := `{"properties":{"mode":"Incremental","template":` + template + `,"parameters":` + string(parameters) + `}}`
	const path = groupAt + "/providers/Microsoft.Resources/deployments/d"
	f.call("PUT", path, body)
	done := f.want(200, "GET", path, "")
	if got := object(done); at(got, "properties", "provisioningState") != "Succeeded" ||
		at(got, "properties", "outputs", "uri", "value") != "https://kv-one.vault.localhost:7443/secrets/db" ||
		at(got, "properties", "outputs", "vault", "value") != "https://kv-one.vault.localhost:7443/" {
		t.Fatalf("%s", done.Body)
	}
	if b := f.value("db"); b.Value != "hidden" || b.ContentType != "text/plain" {
		t.Errorf("%+v", b.Properties)
	}
	f.wantPolicies(bob + " 1")
	if preview := f.want(200, "POST", path+"/whatIf", body); strings.Contains(done.Body.String()+preview.Body.String(), "hidden") {
		t.Errorf("the value is shown: %s %s", done.Body, preview.Body)
	}
	f.want(200, "GET", vaultAt, "")
}
