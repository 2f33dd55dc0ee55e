package containerapps_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/reference"
)

// vaultSecrets tell of one secret, and count how often it was read anew.
type vaultSecrets struct{ refreshed, fails int }

func (v *vaultSecrets) Report(context.Context, containerapp.App) ([]reference.Report, error) {
	r := reference.Report{Setting: "db", Status: reference.Resolved, Version: fmt.Sprint("v", v.refreshed)}
	if v.fails > 0 {
		r.Status, r.Why, r.Stale = reference.AccessDenied, "no permission", true
	}
	return []reference.Report{r}, nil
}

func (v *vaultSecrets) Refresh(context.Context, containerapp.App) error {
	v.refreshed++
	return nil
}

func TestSecretsOfVaultsAreReadAnewWhenAsked(t *testing.T) {
	v := &vaultSecrets{}
	f := newFixture(t, func(c *containerapps.Config) { c.Secrets = v })
	f.environment()
	user := f.user("reader")
	f.want(201, "PUT", appAt, `{"location":"local","identity":{"type":"UserAssigned","userAssignedIdentities":{"`+user+`":{}}},"properties":{"environmentId":"`+envAt+`",
		"configuration":{"secrets":[{"name":"db","keyVaultUrl":"https://kv.vault.localhost/secrets/db","identity":"`+user+`"},{"name":"plain","value":"s3cret"}]},
		"template":{"containers":[{"name":"main","image":"i"}]}}}`)
	one := func(list object) object {
		t.Helper()
		if len(list["value"].([]any)) != 1 || strings.Contains(text(list), "s3cret") {
			t.Fatalf("the references are %s", text(list))
		}
		return at(list, "value", 0, "properties").(object)
	}
	if p := one(f.object(200, "GET", appAt+"/secretReferences", "")); p["status"] != "Resolved" || p["activeVersion"] != "v0" || p["identity"] != user || p["keyVaultUrl"] != "https://kv.vault.localhost/secrets/db" {
		t.Errorf("at first: %s", text(p))
	}
	if p := one(f.object(200, "POST", appAt+"/secretReferences/refresh", "")); p["activeVersion"] != "v1" || v.refreshed != 1 {
		t.Errorf("read anew %d times: %s", v.refreshed, text(p))
	}
	v.fails = 1
	if p := one(f.object(200, "POST", appAt+"/secretReferences/refresh", "")); p["status"] != string(reference.AccessDenied) || p["stale"] != true || p["why"] != "no permission" {
		t.Errorf("a refresh that fails: %s", text(p))
	}
	f.want(404, "GET", appAt+"/secretReferences/plain", "")
	f.want(404, "POST", strings.Replace(appAt, "orders", "nothing", 1)+"/secretReferences/refresh", "")
	f.deny("Microsoft.App/containerApps/secretReferences/refresh/action")
	f.want(403, "POST", appAt+"/secretReferences/refresh", "")
	if v.refreshed != 2 {
		t.Errorf("somebody without the right had secrets read: %d", v.refreshed)
	}
}
