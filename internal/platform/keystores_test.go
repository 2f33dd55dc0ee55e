package platform_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// secretsOfficer is the id of the role Key Vault Secrets Officer.
const secretsOfficer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"

const (
	storeType = "AzureWebJobsSecretStorageType"
	storeURI  = "AzureWebJobsSecretStorageKeyVaultUri"
)

// masterIs waits until an app's master key is, or is not, a value.
func masterIs(t *testing.T, p *platformtest.Platform, app, value string, same bool) {
	t.Helper()
	platformtest.Until(t, "the keys come from the other store", func() bool {
		var keys struct {
			MasterKey string `json:"masterKey"`
		}
		err := p.Client.Do(t.Context(), http.MethodPost, p.Site(app)+"/host/default/listkeys", nil, &keys)
		return err == nil && keys.MasterKey != "" && (keys.MasterKey == value) == same
	})
}

// TestKeysOfAnAppAreInTheVaultItsSettingsName: an app that runs and one that is
// stopped, asked with the app's own identity; without the setting the keys are those
// of the control plane.
func TestKeysOfAnAppAreInTheVaultItsSettingsName(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "appkeys", "host--masterKey--master", "the-master-of-the-vault")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	letUse(t, p, "orders", "appkeys", secretsOfficer)
	uri := strings.Replace(p.Cred.Endpoint, "://", "://appkeys.vault.", 1)
	setSettings(t, p, "orders", map[string]string{storeType: "KeyVault", storeURI: uri})
	masterIs(t, p, "orders", "the-master-of-the-vault", true)
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/extra", map[string]any{"properties": map[string]string{"name": "extra", "value": "an-extra-key"}}, nil)
	p.Do(t, http.MethodGet, vaultID(p, "appkeys")+"/secrets/host--functionKey--extra", nil, nil)

	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	masterIs(t, p, "orders", "the-master-of-the-vault", true)
	setSettings(t, p, "orders", map[string]string{storeType: "files"})
	masterIs(t, p, "orders", "the-master-of-the-vault", false)
	p.Do(t, http.MethodGet, vaultID(p, "appkeys")+"/secrets/host--functionKey--extra", nil, nil)
	if strings.Contains(p.Log.String(), "an-extra-key") {
		t.Error("a key is in the log")
	}
}

// TestAKeyStoreThatCannotBeIsRefused: with the setting's name, and no other store is
// asked in its place.
func TestAKeyStoreThatCannotBeIsRefused(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	for name, settings := range map[string]map[string]string{
		storeType:             {storeType: "etcd"},
		storeURI:              {storeType: "keyvault"},
		"AzureWebJobsStorage": {storeType: "blob"},
		storeType + " ":       {storeType: "containerapps", "LATCHKEY_MOUNTED_KEYS": t.TempDir()},
	} {
		setSettings(t, p, "orders", settings)
		platformtest.Until(t, "the store is refused", func() bool {
			err := p.Client.Do(t.Context(), http.MethodPost, p.Site("orders")+"/host/default/listkeys", nil, nil)
			return err != nil && strings.Contains(err.Error(), strings.TrimSpace(name))
		})
	}
}

// TestAnAppWithoutAnIdentityIsToldToGetOne: for a store that only identities reach.
func TestAnAppWithoutAnIdentityIsToldToGetOne(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "appkeys", "host--masterKey--master", "the-master-of-the-vault")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	setSettings(t, p, "orders", map[string]string{storeType: "keyvault", storeURI: strings.Replace(p.Cred.Endpoint, "://", "://appkeys.vault.", 1)})
	if err := p.Client.Do(t.Context(), http.MethodPost, p.Site("orders")+"/host/default/listkeys", nil, nil); err == nil {
		t.Error("keys were listed")
	}
	platformtest.Until(t, "the identity is missed", func() bool {
		_ = p.Client.Do(t.Context(), http.MethodPost, p.Site("orders")+"/host/default/listkeys", nil, nil) // it asks the store
		return strings.Contains(p.Log.String(), "latchkey identity assign orders")
	})
	letRead(t, p, "orders", "appkeys")
	masterIs(t, p, "orders", "the-master-of-the-vault", true)
}

// TestAKeyStoreDoesNotLeadToTheNodeItself: settings are an app's, the node's place in
// the network is not.
func TestAKeyStoreDoesNotLeadToTheNodeItself(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	var asked atomic.Int32
	own := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(own.Close)
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	setSettings(t, p, "orders", map[string]string{
		storeType:             "blob",
		"AzureWebJobsStorage": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=" + own.URL + "/a;",
	})
	_, err := hostValuesOf(t, p, "orders")
	if err == nil || !strings.Contains(err.Error(), "apps.networks") {
		t.Errorf("it is not said what is refused: %v", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("a server on the node was asked %d times", n)
	}
}
