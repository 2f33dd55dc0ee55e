package witness

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// referring is an app with references to the secrets of a vault.
type referring struct {
	workerApp
	kv     *azsecrets.Client
	own    string // object id of the app's identity
	pinned azsecrets.Secret
}

func TestReferencesReachTheWorker(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := newGoClient(t, p.owner(t))
	c.rg(t)
	c.vault(t, "ref-kv")
	r := &referring{kv: c.secrets(t, "ref-kv")}
	r.pinned = set(t, r.kv, "db", "old")
	set(t, r.kv, "db", "one")
	set(t, r.kv, "spare", "spare one")
	r.workerApp = c.worker(t, "orders", identities(ownIdentity), map[string]string{
		"BY_NAME":   "@Microsoft.KeyVault(VaultName=ref-kv;SecretName=db)",
		"BY_URI":    "@Microsoft.KeyVault(SecretUri=" + p.vaultURL("ref-kv") + "/secrets/db/)",
		"AS_AZURE":  "@Microsoft.KeyVault(SecretUri=https://ref-kv.vault.azure.net/secrets/spare)",
		"PINNED":    "@Microsoft.KeyVault(VaultName=ref-kv;SecretName=db;SecretVersion=" + r.pinned.ID.Version() + ")",
		"MISSING":   "@Microsoft.KeyVault(VaultName=ref-kv;SecretName=nothing)",
		"ELSEWHERE": "@Microsoft.KeyVault(VaultName=nobodys-kv;SecretName=db)",
		"BROKEN":    "@Microsoft.KeyVault(VaultName=ref-kv)",
		"PLAIN":     "plain",
	})
	_, err := r.web.UpdateConnectionStrings(t.Context(), "rg", "orders", armappservice.ConnectionStringDictionary{Properties: map[string]*armappservice.ConnStringValueTypePair{
		"Db": {Type: to.Ptr(armappservice.ConnectionStringTypeSQLAzure), Value: to.Ptr("@Microsoft.KeyVault(VaultName=ref-kv;SecretName=db)")},
	}}, nil)
	must(t, err)
	site, err := r.web.Get(t.Context(), "rg", "orders", nil)
	must(t, err)
	r.own = *site.Identity.PrincipalID
	t.Run("without permission", r.denied)
	t.Run("resolved", r.resolved)
	t.Run("a rotated secret reaches the worker without a failed request", r.rotates)
	t.Run("a stopped app starts with the new value", r.stopped)
	t.Run("what was good stays when the vault refuses", r.keepsLastGood)
	t.Run("another identity reads them", r.byUserAssigned)
}

// statuses gives the references of the app's settings as the library reads them.
func (r *referring) statuses(t testing.TB) map[string]armappservice.ResolveStatus {
	t.Helper()
	found := map[string]armappservice.ResolveStatus{}
	for pager := r.web.NewGetAppSettingsKeyVaultReferencesPager("rg", "orders", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Value {
			found[*one.Name] = *one.Properties.Status
		}
	}
	return found
}

// refresh reads all references anew, as scripts do: no library has that.
func (r *referring) refresh(t testing.TB) map[string]string {
	t.Helper()
	got := r.do(t, "POST", r.site("rg", "orders")+"/config/configreferences/appsettings/refresh?api-version=2022-03-01", "")
	found := map[string]string{}
	list, _ := got.at("value").([]any)
	for _, one := range list {
		entry, _ := one.(map[string]any)
		properties, _ := entry["properties"].(map[string]any)
		name, _ := entry["name"].(string)
		found[name], _ = properties["status"].(string)
		if _, isText := properties["identityType"].(string); !isText {
			t.Errorf("the identity's type is %v for a script", properties["identityType"])
		}
	}
	return found
}

func wantStatuses[S ~string](t *testing.T, got map[string]S, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d references, not %d: %v", len(got), len(want), got)
	}
	for name, status := range want {
		if string(got[name]) != status {
			t.Errorf("%s is %s, not %s", name, got[name], status)
		}
	}
}

func (r *referring) denied(t *testing.T) {
	const denied = "AccessToKeyVaultDenied"
	want := map[string]string{
		"BY_NAME": denied, "BY_URI": denied, "AS_AZURE": denied, "PINNED": denied, "MISSING": denied, "ELSEWHERE": "VaultNotFound", "BROKEN": "InvalidSyntax",
	}
	env := r.env(t, "BY_NAME", "PLAIN") // the worker starts for this, so that all were tried
	if env["BY_NAME"] != "@Microsoft.KeyVault(VaultName=ref-kv;SecretName=db)" || env["PLAIN"] != "plain" {
		t.Errorf("the worker has %v", env)
	}
	until(t, "the references were tried", func() bool { return r.statuses(t)["BY_NAME"] == denied })
	wantStatuses(t, r.statuses(t), want)
	wantStatuses(t, r.refresh(t), want)
}

func (r *referring) resolved(t *testing.T) {
	ctx := t.Context()
	r.goClient.assign(t, r.vaultID("ref-kv"), secretsUser, r.own)
	want := map[string]string{
		"BY_NAME": "Resolved", "BY_URI": "Resolved", "AS_AZURE": "Resolved", "PINNED": "Resolved", "MISSING": "SecretNotFound", "ELSEWHERE": "VaultNotFound", "BROKEN": "InvalidSyntax",
	}
	until(t, "the references are read by themselves", func() bool { return r.statuses(t)["BY_NAME"] == armappservice.ResolveStatusResolved })
	wantStatuses(t, r.refresh(t), want)
	wantStatuses(t, r.statuses(t), want)
	one, err := r.web.GetAppSettingKeyVaultReference(ctx, "rg", "orders", "BY_NAME", nil)
	must(t, err)
	if q := one.Properties; *q.VaultName != "ref-kv" || *q.SecretName != "db" || *q.Source != "KeyVault" || *q.Details != "Reference has been successfully resolved." ||
		*q.IdentityType.Type != armappservice.ManagedServiceIdentityTypeSystemAssigned || *q.ActiveVersion == "" || *q.ActiveVersion == r.pinned.ID.Version() {
		t.Errorf("%+v", q)
	}
	connection, err := r.web.GetSiteConnectionStringKeyVaultReference(ctx, "rg", "orders", "Db", nil)
	must(t, err)
	page, err := r.web.NewGetSiteConnectionStringKeyVaultReferencesPager("rg", "orders", nil).NextPage(ctx)
	must(t, err)
	if len(page.Value) != 1 || *page.Value[0].Name != "Db" || *connection.Properties.Status != armappservice.ResolveStatusResolved {
		t.Errorf("connection strings: %d, %+v", len(page.Value), connection.Properties)
	}
	r.has(t, "one")
	env := r.env(t, "BY_URI", "AS_AZURE", "PINNED", "SQLAZURECONNSTR_Db", "MISSING", "BROKEN")
	for name, want := range map[string]string{
		"BY_URI": "one", "AS_AZURE": "spare one", "PINNED": "old", "SQLAZURECONNSTR_Db": "one",
		"MISSING": "@Microsoft.KeyVault(VaultName=ref-kv;SecretName=nothing)", "BROKEN": "@Microsoft.KeyVault(VaultName=ref-kv)",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, not %q", name, env[name], want)
		}
	}
	settings, err := r.web.ListApplicationSettings(ctx, "rg", "orders", nil)
	must(t, err)
	if got := *settings.Properties["BY_NAME"]; !strings.HasPrefix(got, "@Microsoft.KeyVault(") {
		t.Errorf("the setting is told as %s", got)
	}
}

// has waits until the worker has a value of the secret.
func (r *referring) has(t testing.TB, want string) {
	t.Helper()
	until(t, "the worker has "+want, func() bool { return r.env(t, "BY_NAME")["BY_NAME"] == want })
}

// rotates changes the secret several times, while others use the app all along.
func (r *referring) rotates(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var (
		users  sync.WaitGroup
		mu     sync.Mutex
		failed []error
		served int
	)
	for range 2 {
		users.Go(func() {
			for ctx.Err() == nil {
				_, err := r.try(ctx, "env", "name", "BY_NAME")
				if errors.Is(err, context.Canceled) {
					return
				}
				mu.Lock()
				if served++; err != nil {
					failed = append(failed, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, value := range []string{"two", "three"} {
		set(t, r.kv, "db", value)
		r.has(t, value)
		for name, want := range map[string]string{"BY_URI": value, "PINNED": "old"} {
			if got := r.env(t, name)[name]; got != want {
				t.Errorf("%s is %s, not %s", name, got, want)
			}
		}
	}
	cancel()
	users.Wait()
	if len(failed) > 0 || served == 0 {
		t.Errorf("%d of %d requests failed: %v", len(failed), served, failed[:min(len(failed), 3)])
	}
}

func (r *referring) stopped(t *testing.T) {
	ctx := t.Context()
	_, err := r.web.Stop(ctx, "rg", "orders", nil)
	must(t, err)
	r.p.calls(t, "orders", r.key, 403)
	set(t, r.kv, "db", "four")
	current, err := r.kv.GetSecret(ctx, "db", "", nil)
	must(t, err)
	until(t, "the new version is taken up although the app is stopped", func() bool {
		one, err := r.web.GetAppSettingKeyVaultReference(ctx, "rg", "orders", "BY_NAME", nil)
		must(t, err)
		return *one.Properties.Status == armappservice.ResolveStatusResolved && *one.Properties.ActiveVersion == current.ID.Version()
	})
	_, err = r.web.Start(ctx, "rg", "orders", nil)
	must(t, err)
	var got told
	until(t, "the app serves again", func() bool { got, err = r.try(ctx, "env", "name", "BY_NAME"); return err == nil })
	if got.Env["BY_NAME"] != "four" {
		t.Errorf("started with %s", got.Env["BY_NAME"])
	}
}

func (r *referring) keepsLastGood(t *testing.T) {
	r.unassign(t, r.vaultID("ref-kv"), r.own)
	if got := r.refresh(t)["BY_NAME"]; got != "AccessToKeyVaultDenied" {
		t.Errorf("without its role the app's reference is %s", got)
	}
	raw := r.do(t, "GET", r.site("rg", "orders")+"/config/configreferences/appsettings/BY_NAME?api-version=2022-03-01", "")
	if raw.at("properties.stale") != true || raw.text("properties.innerCode") != "ForbiddenByRbac" || raw.text("properties.identityType") != "SystemAssigned" {
		t.Errorf("the reference that is refused: %s", raw)
	}
	before := r.ask(t, "env", "name", "BY_NAME")
	_, err := r.web.Restart(t.Context(), "rg", "orders", nil)
	must(t, err)
	until(t, "another worker serves", func() bool {
		now, err := r.try(t.Context(), "env", "name", "BY_NAME")
		if err == nil && now.Env["BY_NAME"] != "four" {
			t.Fatalf("the worker has %s", now.Env["BY_NAME"])
		}
		return err == nil && now.PID != before.PID
	})
}

func (r *referring) byUserAssigned(t *testing.T) {
	ctx, user := t.Context(), r.identity(t, "reader-id")
	r.workerApp.assign(t, identities(bothKinds, *user.ID))
	r.goClient.assign(t, r.vaultID("ref-kv"), secretsUser, *user.Properties.PrincipalID)
	_, err := r.web.Update(ctx, "rg", "orders", armappservice.SitePatchResource{Properties: &armappservice.SitePatchResourceProperties{KeyVaultReferenceIdentity: user.ID}}, nil)
	must(t, err)
	if got := r.refresh(t)["BY_NAME"]; got != "Resolved" {
		t.Errorf("by the other identity the reference is %s", got)
	}
	one, err := r.web.GetAppSettingKeyVaultReference(ctx, "rg", "orders", "BY_NAME", nil)
	must(t, err)
	if *one.Properties.IdentityType.Type != armappservice.ManagedServiceIdentityTypeUserAssigned {
		t.Errorf("identity: %+v", one.Properties.IdentityType)
	}
	set(t, r.kv, "db", "five")
	r.has(t, "five")
}
