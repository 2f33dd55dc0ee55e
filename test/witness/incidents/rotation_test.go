package incidents

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIncident1855StopAndStartPickUpARotatedSecret:
// https://github.com/Azure/Azure-Functions/issues/1855
func TestIncident1855StopAndStartPickUpARotatedSecret(t *testing.T) {
	cloud, ours := upWithCloud(t)
	ours.rotatedUnseen(t, cloud)
	ours.run(t, "", "app", "stop", "shop", "--yes")
	ours.run(t, "", "app", "start", "shop")
	if got := ours.has(t, "DATABASE_PASSWORD"); got != "second" {
		t.Errorf("after the start the app has %q", got)
	}
}

// TestIncident8269RestartPicksUpARotatedSecret:
// https://github.com/Azure/azure-functions-host/issues/8269
func TestIncident8269RestartPicksUpARotatedSecret(t *testing.T) {
	cloud, ours := upWithCloud(t)
	ours.rotatedUnseen(t, cloud)
	during := ours.press(t, "/api/env?name=DATABASE_PASSWORD", "first", "second")
	ours.run(t, "", "app", "restart", "shop")
	ours.awaitHas(t, "DATABASE_PASSWORD", "second")
	during.end(t)
}

// rotatedUnseen changes the secret of a vault that tells nobody, and makes sure
// that nobody noticed.
func (in *installation) rotatedUnseen(t *testing.T, cloud *installation) {
	t.Helper()
	if got := in.has(t, "DATABASE_PASSWORD"); got != "first" {
		t.Fatalf("the app has %q", got)
	}
	cloud.secret(t, "shop-kv", "db-password", "second")
	in.run(t, "", "clock", "advance", "1h") // the next look is due after most of a day
	if got := in.has(t, "DATABASE_PASSWORD"); got != "first" {
		t.Fatalf("the change was seen, the app has %q: this proves nothing", got)
	}
}

// TestIncident73264AnExpiringValueIsReplacedInTime:
// https://github.com/MicrosoftDocs/azure-docs/issues/73264
func TestIncident73264AnExpiringValueIsReplacedInTime(t *testing.T) {
	cloud, ours := upWithCloud(t)
	expires := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	cloud.secret(t, "shop-kv", "db-password", "good for two hours", "--expires", expires.Format(time.RFC3339))
	ours.run(t, "", "references", "refresh", "shop")
	ours.awaitHas(t, "DATABASE_PASSWORD", "good for two hours")
	before := ours.references(t)["DATABASE_PASSWORD"]

	cloud.secret(t, "shop-kv", "db-password", "the next one")
	ours.run(t, "", "clock", "advance", "1h")
	if got := ours.has(t, "DATABASE_PASSWORD"); got != "good for two hours" {
		t.Fatalf("the app has %q: this proves nothing", got)
	}
	ours.run(t, "", "clock", "advance", "59m5s")
	after := ours.awaitStanding(t, "DATABASE_PASSWORD", "the next version", func(s standing) bool { return s.Version != before.Version })
	if !after.LastAttempt.Before(expires) {
		t.Errorf("fetched at %s, when the value had expired at %s", after.LastAttempt, expires)
	}
	ours.awaitHas(t, "DATABASE_PASSWORD", "the next one")
}

// TestIncident8660RotatingTheStorageDoesNotLoop:
// https://github.com/Azure/azure-functions-host/issues/8660
func TestIncident8660RotatingTheStorageDoesNotLoop(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	count := func() int {
		text, err := os.ReadFile(starts)
		must(t, err)
		return strings.Count(string(text), "\n")
	}
	in := up(t, "")
	in.run(t, "", "vault", "create", "shop-kv")
	in.secret(t, "shop-kv", "storage", "AccountName=a;AccountKey=one")
	in.app(t, startsVariable+"="+starts)
	in.run(t, "", "identity", "assign", "shop")
	in.run(t, "", "role", "assign", "Key Vault Secrets User", "--principal", "shop", "--scope", "vault/shop-kv")
	in.run(t, "", "app", "settings", "set", "shop", "AzureWebJobsStorage="+reference("storage"))
	in.awaitHas(t, "AzureWebJobsStorage", "AccountName=a;AccountKey=one")

	during := in.press(t, "/api/env?name=AzureWebJobsStorage", "AccountName=a;AccountKey=one", "AccountName=a;AccountKey=two")
	during.more(t, 20)
	before := count()
	in.secret(t, "shop-kv", "storage", "AccountName=a;AccountKey=two")
	in.awaitHas(t, "AzureWebJobsStorage", "AccountName=a;AccountKey=two")
	for range 3 {
		in.advance(t, "10m") // nothing comes after
		during.more(t, 20)
	}
	during.end(t)
	if got := count() - before; got != 1 {
		t.Errorf("the worker started %d times for one rotation", got)
	}
	if got := in.has(t, "AzureWebJobsStorage"); got != "AccountName=a;AccountKey=two" {
		t.Errorf("in the end the app has %q", got)
	}
}
