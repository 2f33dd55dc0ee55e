package incidents

import (
	"net/http"
	"strings"
	"testing"
)

// contentShare and its companion are the settings of the incident.
const contentShare = "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"

func (in *installation) shopWithContentShare(t *testing.T) {
	t.Helper()
	in.run(t, "", "vault", "create", "shop-kv")
	in.secret(t, "shop-kv", "db-password", "first")
	in.secret(t, "shop-kv", "share", "DefaultEndpointsProtocol=https;AccountName=files")
	in.app(t, "DATABASE_PASSWORD="+reference("db-password"), contentShare+"="+reference("share"), "WEBSITE_CONTENTOVERVNET=1")
	in.run(t, "", "identity", "assign", "shop")
	in.run(t, "", "role", "assign", "Key Vault Secrets User", "--principal", "shop", "--scope", "vault/shop-kv")
	in.run(t, "", "references", "refresh", "shop")
	in.awaitHas(t, "DATABASE_PASSWORD", "first")
}

// TestIncidentHost10899StoppedFiveDays is what this project began with:
// https://github.com/Azure/azure-functions-host/issues/10899
func TestIncidentHost10899StoppedFiveDays(t *testing.T) {
	in := up(t, "")
	in.shopWithContentShare(t)
	in.run(t, "", "app", "stop", "shop", "--yes")
	in.readsConfiguration(t, "")
	for _, step := range []string{"1h", "23h", "1h", "2d", "1d23h"} { // five days, a token's life and a day among them
		in.advance(t, step)
		for setting, is := range in.references(t) {
			if is.Status != "Resolved" || is.Version == "" || is.Stale {
				t.Errorf("after a further %s: %s is %+v", step, setting, is)
			}
		}
		in.readsConfiguration(t, "")
	}
	in.secret(t, "shop-kv", "db-password", "second") // a stopped app is kept up to date, too
	in.run(t, "", "app", "start", "shop")
	if got := in.has(t, "DATABASE_PASSWORD"); got != "second" {
		t.Errorf("after the start the app has %q", got)
	}
	if got := in.has(t, contentShare); !strings.HasPrefix(got, "DefaultEndpointsProtocol=") {
		t.Errorf("after the start the app has %q", got)
	}
}

// TestIncidentHost10899AsOnAzure shows the same with the quirk.
func TestIncidentHost10899AsOnAzure(t *testing.T) {
	in := up(t, "quirks: {stoppedSiteTokenExpiry: true}")
	in.shopWithContentShare(t)
	in.run(t, "", "app", "stop", "shop", "--yes")
	in.advance(t, "23h")
	in.readsConfiguration(t, "")
	in.run(t, "", "clock", "advance", "4d1h")
	for _, setting := range []string{"DATABASE_PASSWORD", contentShare} {
		in.awaitStanding(t, setting, "denied", func(s standing) bool { return s.Status == "AccessToKeyVaultDenied" && s.Version == "" })
	}
	in.readsConfiguration(t, "/config/logs")
	if out, err := in.try(t, "", "references", "refresh", "shop"); err == nil {
		t.Errorf("a refresh heals: %s", out)
	}
	in.readsConfiguration(t, "/config/logs")

	in.run(t, "", "app", "start", "shop") // what people found out helps
	if got := in.has(t, "DATABASE_PASSWORD"); got != "first" {
		t.Errorf("after the start the app has %q", got)
	}
	in.readsConfiguration(t, "")
	in.run(t, "", "app", "stop", "shop", "--yes")
	in.readsConfiguration(t, "")
	for setting, is := range in.references(t) {
		if is.Status != "Resolved" {
			t.Errorf("started and stopped: %s is %+v", setting, is)
		}
	}
}

// reads are the reads of an app's configuration: those of Terraform's azurerm in
// its order, then what az, the portal and we ask besides.
var reads = []struct{ method, path string }{
	{"GET", ""}, {"POST", "/config/appSettings/list"}, {"POST", "/config/connectionStrings/list"}, {"GET", "/config/slotConfigNames"},
	{"POST", "/config/azurestorageaccounts/list"}, {"POST", "/config/publishingcredentials/list"}, {"GET", "/config/publishingcredentials"},
	{"POST", "/config/authsettings/list"}, {"GET", "/config/authsettingsV2/list"}, {"POST", "/config/backup/list"}, {"GET", "/config/logs"},
	{"GET", "/basicPublishingCredentialsPolicies/ftp"}, {"GET", "/basicPublishingCredentialsPolicies/scm"}, {"GET", "/config/web"},

	{"GET", "/config"}, {"POST", "/config/metadata/list"}, {"POST", "/config/pushsettings/list"}, {"POST", "/publishxml"}, {"GET", "/functions"},
	{"GET", "/functions/env"}, {"POST", "/functions/env/listkeys"}, {"POST", "/host/default/listkeys"}, {"GET", "/deployments"},
	{"GET", "/config/configreferences/appsettings"}, {"GET", "/config/configreferences/connectionstrings"},
	{"GET", "/config/configreferences/appsettings/DATABASE_PASSWORD"}, {"GET", "/config/configreferences/appsettings/" + contentShare},
}

// azureFails is the answer that stops Terraform.
const azureFails = `{"Code":"InternalServerError","Message":null,"Target":null,"Details":[{"Message":null},{"Code":"InternalServerError"},` +
	`{"ErrorEntity":{"Code":"InternalServerError","Message":null}}],"Innererror":null}`

// readsConfiguration reads everything. failing is the path of the one read that is
// to fail as on Azure; "" is none.
func (in *installation) readsConfiguration(t *testing.T, failing string) {
	t.Helper()
	ask := in.asker(t)
	for _, r := range reads {
		want := http.StatusOK
		switch r.path {
		case "/config/backup/list", "/config/publishingcredentials": // clients expect that
			want = http.StatusNotFound
		case failing:
			if failing != "" {
				want = http.StatusInternalServerError
			}
		}
		status, body := ask(t, r.method, in.site()+r.path)
		if status != want && !(want == http.StatusNotFound && status == http.StatusOK) {
			t.Errorf("%s %s of the stopped app: %d %s", r.method, r.path, status, body)
		}
		if status == http.StatusInternalServerError && body != azureFails {
			t.Errorf("%s %s fails otherwise than on Azure: %s", r.method, r.path, body)
		}
	}
}
