package incidents

import (
	"net/http"
	"strings"
	"testing"
)

// TestIncident8009OneVaultErrorNeverReachesTheApp:
// https://github.com/Azure/azure-functions-host/issues/8009
func TestIncident8009OneVaultErrorNeverReachesTheApp(t *testing.T) {
	in := up(t, "")
	in.shop(t)
	in.awaitHas(t, "DATABASE_PASSWORD", "first")
	in.run(t, "", "drill", "faults", "--vault", "error")
	if out, err := in.try(t, "", "references", "refresh", "shop"); err == nil {
		t.Fatalf("the vault does not fail: %s", out)
	}
	is := in.references(t)["DATABASE_PASSWORD"]
	if is.Status != "OtherReasons" || !is.Stale || is.Version == "" || is.Why == "" {
		t.Errorf("while the vault fails it is %+v", is)
	}
	in.run(t, "", "app", "restart", "shop")
	in.run(t, "", "app", "settings", "set", "shop", "GREETING=hello") // what made it worse there
	in.awaitHas(t, "GREETING", "hello")
	if got := in.has(t, "DATABASE_PASSWORD"); got != "first" {
		t.Errorf("while the vault fails the app has %q", got)
	}
	in.run(t, "", "app", "stop", "shop", "--yes")
	in.run(t, "", "app", "start", "shop")
	if got := in.has(t, "DATABASE_PASSWORD"); got != "first" {
		t.Errorf("started while the vault fails, the app has %q", got)
	}
	in.run(t, "", "drill", "faults", "--clear")
	in.run(t, "", "clock", "advance", "6m") // a failed one is tried again within five minutes
	in.awaitStanding(t, "DATABASE_PASSWORD", "resolved again", func(s standing) bool { return s.Status == "Resolved" && !s.Stale && s.Why == "" })
}

// TestAVaultOutageOfTenMinutesUnderLoad: no call fails and no value is lost, though
// the app is restarted and changed meanwhile.
func TestAVaultOutageOfTenMinutesUnderLoad(t *testing.T) {
	in := up(t, "")
	in.shop(t)
	in.awaitHas(t, "DATABASE_PASSWORD", "first")
	during := in.press(t, "/api/env?name=DATABASE_PASSWORD", "first")
	during.more(t, 20)
	in.run(t, "", "drill", "faults", "--vault", "error")
	for minute := range 10 {
		in.run(t, "", "clock", "advance", "1m")
		switch minute {
		case 3:
			in.run(t, "", "app", "restart", "shop")
		case 6:
			in.run(t, "", "app", "settings", "set", "shop", "GREETING=hello")
			in.awaitHas(t, "GREETING", "hello")
		}
		during.more(t, 10)
	}
	is := in.awaitStanding(t, "DATABASE_PASSWORD", "failing", func(s standing) bool { return s.Status == "OtherReasons" })
	if !is.Stale || is.Version == "" {
		t.Errorf("in the outage it is %+v", is)
	}
	during.end(t)
	in.run(t, "", "drill", "faults", "--clear")
	in.run(t, "", "clock", "advance", "6m")
	in.awaitStanding(t, "DATABASE_PASSWORD", "resolved again", func(s standing) bool { return s.Status == "Resolved" && s.Version == is.Version })
}

// TestIncidentFunctions719KeysAreReadableWhateverReferencesDo:
// https://github.com/Azure/Azure-Functions/issues/719
func TestIncidentFunctions719KeysAreReadableWhateverReferencesDo(t *testing.T) {
	in := up(t, "")
	in.app(t, "AzureWebJobsStorage=@Microsoft.KeyVault(VaultName=nowhere;SecretName=storage)", "DATABASE_PASSWORD="+reference("db-password"))
	if out, err := in.try(t, "", "references", "refresh", "shop"); err == nil {
		t.Fatalf("references do not fail: %s", out)
	}
	keys := in.readsKeys(t)
	master := in.key(t, "_master", "--kind", "master")
	if status, body, err := in.call(t.Context(), "/admin/host/keys", master); err != nil || status != http.StatusOK || !strings.Contains(body, in.key(t, "default")) {
		t.Errorf("/admin/host/keys: %d %s, %v", status, body, err) // what the thread is about
	}
	if got := in.has(t, "AzureWebJobsStorage"); got != "@Microsoft.KeyVault(VaultName=nowhere;SecretName=storage)" {
		t.Errorf("the app has %q", got) // the key opens it, and it has the text, as on the platform
	}
	in.run(t, "", "app", "stop", "shop", "--yes")
	if again := in.readsKeys(t); again != keys {
		t.Errorf("the keys of the stopped app are others")
	}
	in.run(t, "", "clock", "advance", "5d")
	if again := in.readsKeys(t); again != keys {
		t.Errorf("after five days the keys are others")
	}
}

// readsKeys reads the keys of the app's host and functions as the cloud's clients do
// and with our command.
func (in *installation) readsKeys(t *testing.T) (all string) {
	t.Helper()
	ask := in.asker(t)
	for _, path := range []string{"/host/default/listkeys", "/functions/env/listkeys"} {
		status, body := ask(t, "POST", in.site()+path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		all += body
	}
	return all + in.run(t, "", "keys", "list", "--app", "shop", "--show") + in.key(t, "default")
}
