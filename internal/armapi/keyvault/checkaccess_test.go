package keyvault_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/resource"
)

// TestSomebodyElsesAccessIsExplained asks about a principal before and after it gets
// a role, in a vault under roles and in one under policies.
func TestSomebodyElsesAccessIsExplained(t *testing.T) {
	const secretsUser = "4633458b-17de-408a-b874-0445c86b69e6"
	f := newFixture(t)
	f.want(201, "PUT", vaultAt, underRoles)
	ask := func(body string) map[string]any {
		return object(f.as(reader).want(200, "POST", vaultAt+"/checkAccess", body))
	}
	about := `{"objectId":"` + bob + `","secret":"db"}`
	if a := ask(about); a["allowed"] != false || a["code"] != "ForbiddenByRbac" || a["by"] != "roles" || a["next"] == "" || !strings.Contains(a["reason"].(string), bob) {
		t.Errorf("without a role: %v", a)
	}
	vault := resource.Group(sub, "rg").Child("Microsoft.KeyVault", "vaults", "kv-one")
	f.assign(vault.Child("", "secrets", "db"), bob, secretsUser)
	if a := ask(about); a["allowed"] != true || a["role"] != "Key Vault Secrets User" || !strings.Contains(a["assignment"].(string), "/secrets/db/") {
		t.Errorf("with a role at the secret: %v", a)
	}
	for _, other := range []string{`{"objectId":"` + bob + `","secret":"other"}`, `{"objectId":"` + bob + `"}`, `{"objectId":"` + bob + `","secret":"db","operation":"set"}`} {
		if a := ask(other); a["allowed"] != false {
			t.Errorf("%s: %v", other, a)
		}
	}
	f.want(200, "PATCH", vaultAt, `{"properties":{"enableRbacAuthorization":false,"accessPolicies":[{"tenantId":"`+tenant+`","objectId":"`+bob+`","permissions":{"secrets":["get"]}}]}}`)
	if a := ask(about); a["allowed"] != true || a["by"] != "policies" {
		t.Errorf("with a policy: %v", a)
	}
	if a := ask(`{"objectId":"` + owner + `"}`); a["allowed"] != false || a["code"] != "ForbiddenByPolicy" {
		t.Errorf("without a policy: %v", a)
	}
	f.refused(400, "BadRequest", "POST", vaultAt+"/checkAccess", `{}`)
	f.refused(400, "BadRequest", "POST", vaultAt+"/checkAccess", `{"objectId":"x","operation":"guess"}`)
	f.want(400, "POST", vaultAt+"/checkAccess", `{"objectId":"x","secret":"a/b"}`)
	f.as(bob).refused(403, "AuthorizationFailed", "POST", vaultAt+"/checkAccess", about)
}
