package incidents

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// reads calls the function that reads a secret in code.
func (in *installation) reads(t *testing.T, secret string) (f found) {
	t.Helper()
	status, body, err := in.call(t.Context(), "/api/secret?name="+secret, in.key(t, "default"))
	if err != nil || status != http.StatusOK {
		t.Fatalf("the app answers %d %s, %v", status, body, err)
	}
	parse(t, body, &f)
	return f
}

// vaultURL is the address of the vault shop-kv for code.
func (in *installation) vaultURL(t *testing.T) string {
	t.Helper()
	url, err := in.Client.VaultURL("shop-kv")
	must(t, err)
	return url
}

// TestIncident1291PermissionThroughAGroup:
// https://github.com/Azure/Azure-Functions/issues/1291
func TestIncident1291PermissionThroughAGroup(t *testing.T) {
	in := up(t, "")
	in.run(t, "", "vault", "create", "shop-kv")
	in.secret(t, "shop-kv", "db-password", "first")
	in.app(t, "VAULT_URL="+in.vaultURL(t))
	in.run(t, "", "identity", "assign", "shop")
	in.run(t, "", "group", "create", "vault-readers")
	in.run(t, "", "role", "assign", "Key Vault Secrets User", "--principal", "vault-readers", "--scope", "vault/shop-kv")

	before := in.reads(t, "db-password")
	if before.Status != http.StatusForbidden || before.Token == "" {
		t.Fatalf("outside of the group: %+v", before)
	}
	in.run(t, "", "group", "add", "vault-readers", "shop")
	if got := in.reads(t, "db-password"); got.Value != "first" || got.Token != before.Token {
		t.Errorf("in the group, with the token from before: %+v", got)
	}
	in.run(t, "", "group", "remove", "vault-readers", "shop", "--yes")
	if got := in.reads(t, "db-password"); got.Status != http.StatusForbidden || got.Token != before.Token {
		t.Errorf("out of the group, with the token from before: %+v", got)
	}

	in.run(t, "", "app", "settings", "set", "shop", "DATABASE_PASSWORD="+reference("db-password"))
	in.awaitStanding(t, "DATABASE_PASSWORD", "denied", deniedByRole)
	in.run(t, "", "group", "add", "vault-readers", "shop")
	in.awaitHas(t, "DATABASE_PASSWORD", "first") // nobody has to ask for it
	in.run(t, "", "group", "remove", "vault-readers", "shop", "--yes")
	if out, err := in.try(t, "", "references", "refresh", "shop"); err == nil {
		t.Fatalf("out of the group the reference is resolved: %s", out)
	}
	if is := in.references(t)["DATABASE_PASSWORD"]; !deniedByRole(is) || !is.Stale {
		t.Errorf("out of the group the reference is %+v", is)
	}
}

func deniedByRole(s standing) bool {
	return s.Status == "AccessToKeyVaultDenied" && s.InnerCode == "ForbiddenByRbac"
}

// TestIncident638IdentityOnALaptop: https://github.com/Azure/Azure-Functions/issues/638
func TestIncident638IdentityOnALaptop(t *testing.T) {
	var left atomic.Value
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left.Store(r.Method + " " + r.RequestURI)
		http.Error(w, "there is no network", http.StatusBadGateway)
	}))
	t.Cleanup(outside.Close)
	in := up(t, "", "HTTP_PROXY="+outside.URL, "HTTPS_PROXY="+outside.URL)
	in.shop(t, "VAULT_URL="+in.vaultURL(t))
	got := in.reads(t, "db-password")
	if got.Value != "first" || got.Token == "" {
		t.Errorf("read with the app's identity: %+v", got)
	}
	in.awaitHas(t, "DATABASE_PASSWORD", "first")
	if said := in.reads(t, "nothing"); said.Status != http.StatusNotFound || said.Code != "SecretNotFound" {
		t.Errorf("of a secret that there is not: %+v", said)
	}
	if what := left.Load(); what != nil {
		t.Errorf("something went out: %v", what)
	}
}
