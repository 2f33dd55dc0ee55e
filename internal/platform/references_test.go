package platform_test

import (
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// reference is what the API says of a reference.
type reference struct {
	Name       string `json:"name"`
	Properties struct {
		Status    string `json:"status"`
		Why       string `json:"why"`
		InnerCode string `json:"innerCode"`
		Version   string `json:"activeVersion"`
		Stale     bool   `json:"stale"`
	} `json:"properties"`
}

// vault makes a vault in the resource group "rg" with a secret, which the owner may
// read and nobody else.
func makeVault(t *testing.T, p *platformtest.Platform, name, secret, value string) {
	t.Helper()
	id := vaultID(p, name)
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, id, map[string]any{"location": "local", "properties": map[string]any{
		"sku": map[string]string{"family": "A", "name": "standard"}, "tenantId": p.Cred.TenantID, "enableRbacAuthorization": true,
	}}, nil)
	setSecret(t, p, name, secret, value)
}

func setSecret(t *testing.T, p *platformtest.Platform, vault, secret, value string) {
	t.Helper()
	p.Do(t, http.MethodPut, vaultID(p, vault)+"/secrets/"+secret, map[string]any{"properties": map[string]any{"value": value}}, nil)
}

func vaultID(p *platformtest.Platform, name string) string {
	return p.Subscription() + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/" + name
}

// letRead gives an app an identity of its own that reads the secrets of a vault.
func letRead(t *testing.T, p *platformtest.Platform, app, vault string) (principal string) {
	t.Helper()
	return letUse(t, p, app, vault, "4633458b-17de-408a-b874-0445c86b69e6")
}

// letUse is letRead with another role.
func letUse(t *testing.T, p *platformtest.Platform, app, vault, role string) (principal string) {
	t.Helper()
	var site struct {
		Identity struct {
			PrincipalID string `json:"principalId"`
		} `json:"identity"`
	}
	p.Do(t, http.MethodPatch, p.Site(app), map[string]any{"identity": map[string]string{"type": "SystemAssigned"}}, &site)
	sum := sha256.Sum256([]byte(site.Identity.PrincipalID + vault))
	name := strings.Join([]string{hexOf(sum[:4]), hexOf(sum[4:6]), hexOf(sum[6:8]), hexOf(sum[8:10]), hexOf(sum[10:16])}, "-")
	p.Do(t, http.MethodPut, vaultID(p, vault)+"/providers/Microsoft.Authorization/roleAssignments/"+name, map[string]any{"properties": map[string]string{
		"roleDefinitionId": p.Subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
		"principalId":      site.Identity.PrincipalID, "principalType": "ServicePrincipal",
	}}, nil)
	return site.Identity.PrincipalID
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func references(t *testing.T, p *platformtest.Platform, app string) map[string]reference {
	t.Helper()
	var page struct {
		Value []reference `json:"value"`
	}
	p.Do(t, http.MethodGet, p.Site(app)+"/config/configreferences/appsettings", nil, &page)
	all := map[string]reference{}
	for _, r := range page.Value {
		all[r.Name] = r
	}
	return all
}

func setSettings(t *testing.T, p *platformtest.Platform, app string, settings map[string]string) {
	t.Helper()
	p.Do(t, http.MethodPut, p.Site(app)+"/config/appsettings", map[string]any{"properties": settings}, nil)
}

// TestReferencesFindTheirVaults: a name alone and a host of the cloud are vaults of
// ours; a host elsewhere is never asked.
func TestReferencesFindTheirVaults(t *testing.T) {
	asked := make(chan string, 10)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host }))
	defer elsewhere.Close()
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "shop", "db", "one")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	letRead(t, p, "orders", "shop")
	own := strings.Replace(p.Cred.Endpoint, "://", "://shop.vault.", 1)
	setSettings(t, p, "orders", map[string]string{
		"SHORT":     "@Microsoft.KeyVault(VaultName=shop;SecretName=db)",
		"OWN":       "@Microsoft.KeyVault(SecretUri=" + own + "/secrets/db/)",
		"CLOUD":     "@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/db)",
		"ELSEWHERE": "@Microsoft.KeyVault(SecretUri=" + elsewhere.URL + "/secrets/db)",
		"NOVAULT":   "@Microsoft.KeyVault(VaultName=nobody;SecretName=db)",
		"NOSECRET":  "@Microsoft.KeyVault(VaultName=shop;SecretName=none)",
		"NOVERSION": "@Microsoft.KeyVault(VaultName=shop;SecretName=db;SecretVersion=" + strings.Repeat("0", 32) + ")",
		"SYNTAX":    "@Microsoft.KeyVault(VaultName=shop)",
		"PLAIN":     "text",
	})
	want := map[string]string{
		"SHORT": "Resolved", "OWN": "Resolved", "CLOUD": "Resolved", "NOVAULT": "VaultNotFound",
		"NOSECRET": "SecretNotFound", "NOVERSION": "SecretVersionNotFound", "SYNTAX": "InvalidSyntax",
	}
	platformtest.Until(t, "all references were read", func() bool {
		all := references(t, p, "orders")
		for name, status := range want {
			if all[name].Properties.Status != status {
				return false
			}
		}
		return len(all) == 8 && all["ELSEWHERE"].Properties.Status != "Initialized" && all["ELSEWHERE"].Properties.Status != "Resolved"
	})
	for name, r := range references(t, p, "orders") {
		if r.Properties.Status != "Resolved" && r.Properties.Why == "" {
			t.Errorf("%s does not say why: %+v", name, r)
		}
	}
	select {
	case host := <-asked:
		t.Errorf("%s was asked for a secret", host)
	default:
	}
}

// TestAReferenceSaysWhatToDoAndHealsWithThePermission runs through the life of a
// reference whose app may not read the vault at first.
func TestAReferenceSaysWhatToDoAndHealsWithThePermission(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "shop", "db", "one")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	setSettings(t, p, "orders", map[string]string{"DB": "@Microsoft.KeyVault(VaultName=shop;SecretName=db)"})
	is := func(status string) func() bool {
		return func() bool { return references(t, p, "orders")["DB"].Properties.Status == status }
	}
	platformtest.Until(t, "the app has no identity", is("MSINotEnabled"))
	if why := references(t, p, "orders")["DB"].Properties.Why; !strings.Contains(why, "latchkey identity assign orders") {
		t.Errorf("why: %s", why)
	}
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]string{"type": "SystemAssigned"}}, nil)
	platformtest.Until(t, "the identity may not read", is("AccessToKeyVaultDenied"))
	denied := references(t, p, "orders")["DB"].Properties
	if denied.InnerCode != "ForbiddenByRbac" || !strings.Contains(denied.Why, `latchkey role assign "Key Vault Secrets User" --principal `) {
		t.Errorf("%+v", denied)
	}
	letRead(t, p, "orders", "shop")
	platformtest.Until(t, "the permission heals the reference", is("Resolved"))
	p.Do(t, http.MethodDelete, p.Site("orders"), nil, nil)
	makeVault(t, p, "other", "db", "two")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	setSettings(t, p, "orders", map[string]string{"DB": "@Microsoft.KeyVault(VaultName=shop;SecretName=db)"})
	platformtest.Until(t, "the next app of the name has nothing of its predecessor", is("MSINotEnabled"))
}

// TestChangesOfReferencesAreToldToAWebhook: as signed events.
func TestChangesOfReferencesAreToldToAWebhook(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("webhook-signature") == "" {
			t.Error("an event is not signed")
		}
		bodies = append(bodies, string(text))
	}))
	defer hook.Close()
	p := platformtest.Start(t, platform.Config{References: platform.ReferencesConfig{Webhook: hook.URL, WebhookSecret: []byte("0123456789abcdef0123456789abcdef")}})
	makeVault(t, p, "shop", "db", "the-value")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	letRead(t, p, "orders", "shop")
	setSettings(t, p, "orders", map[string]string{"DB": "@Microsoft.KeyVault(VaultName=shop;SecretName=db)"})
	platformtest.Until(t, "the webhook is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		all := strings.Join(bodies, "\n")
		if strings.Contains(all, "the-value") || strings.Contains(p.Log.String(), "the-value") {
			t.Fatal("a secret was told")
		}
		return strings.Contains(all, `"to":"Resolved"`) && strings.Contains(all, `"app":"orders"`)
	})
}

// TestRefuseKeepsAnAppWithoutItsSecretsFromRunning: the literal text never reaches
// it.
func TestRefuseKeepsAnAppWithoutItsSecretsFromRunning(t *testing.T) {
	p := platformtest.Start(t, platform.Config{References: platform.ReferencesConfig{Refuse: true}})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	var had struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/config/appsettings/list", nil, &had)
	had.Properties["DB"] = "@Microsoft.KeyVault(VaultName=shop;SecretName=db)"
	setSettings(t, p, "orders", had.Properties)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, key := p.HostKeys(t, "orders")
	if status, body := p.Call(t, "orders", "/api/f", key); status != http.StatusServiceUnavailable {
		t.Errorf("an app without its secret answers %d %s", status, body)
	}
	makeVault(t, p, "shop", "db", "one")
	letRead(t, p, "orders", "shop")
	platformtest.Until(t, "the app runs once it has its secret", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", key)
		return status == http.StatusOK
	})
}

// TestAnIdentityThatIsBeingMadeIsNotReportedMissing: an app with its own identity
// and references can be made in one request.
func TestAnIdentityThatIsBeingMadeIsNotReportedMissing(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "shop", "db", "one")
	p.Do(t, http.MethodPut, p.Site("orders"), map[string]any{
		"location": "local", "kind": "functionapp,linux", "identity": map[string]string{"type": "SystemAssigned"},
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": "DB", "value": "@Microsoft.KeyVault(VaultName=shop;SecretName=db)"},
		}}},
	}, nil)
	platformtest.Until(t, "the identity may not read", func() bool {
		return references(t, p, "orders")["DB"].Properties.Status == "AccessToKeyVaultDenied"
	})
	if said := p.Log.String(); strings.Contains(said, "MSINotEnabled") {
		t.Errorf("a missing identity was reported:\n%s", said)
	}
}
