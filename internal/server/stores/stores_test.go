package stores_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/stores"
)

const (
	account = "AzureWebJobsStorage"
	keyed   = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
	uri     = "AzureWebJobsSecretStorageKeyVaultUri"
	site    = "WEBSITE_SITE_NAME"
)

// TestSettingsChooseTheStore: each value opens what it names, and what is wrong or
// missing is refused by the name of the setting, never replaced.
func TestSettingsChooseTheStore(t *testing.T) {
	tests := map[string]struct {
		settings map[string]string
		far      bool // settings name no folders, and there is no store of files
		store    string
		kind     error
		names    string
	}{
		"nothing":                    {store: "default"},
		"nothing, though a storage":  {settings: map[string]string{account: keyed}, store: "default"},
		"files":                      {settings: map[string]string{stores.TypeSetting: "Files"}, store: "files"},
		"files where there are none": {settings: map[string]string{stores.TypeSetting: "files"}, far: true, kind: problem.Unsupported, names: stores.TypeSetting},
		"blob":                       {settings: map[string]string{stores.TypeSetting: "Blob", account: keyed, site: "Shop"}, store: "blob"},
		"blob by identity":           {settings: map[string]string{stores.TypeSetting: "blob", account + "__accountName": "shop", site: "shop"}, store: "blob"},
		"blob without an account":    {settings: map[string]string{stores.TypeSetting: "blob", site: "shop"}, kind: problem.Invalid, names: account},
		"blob without a name":        {settings: map[string]string{stores.TypeSetting: "blob", account: keyed}, kind: problem.Invalid, names: site},
		"vault":                      {settings: map[string]string{stores.TypeSetting: "KeyVault", uri: "https://shop.vault.azure.net"}, store: "keyvault"},
		"vault without its address":  {settings: map[string]string{stores.TypeSetting: "keyvault"}, kind: problem.Invalid, names: uri},
		"mounted":                    {settings: map[string]string{stores.TypeSetting: "ContainerApps"}, store: "containerapps"},
		"mounted, other spelling":    {settings: map[string]string{stores.TypeSetting: "containerapp"}, store: "containerapps"},
		"mounted, relative":          {settings: map[string]string{stores.TypeSetting: "containerapps", "LATCHKEY_MOUNTED_KEYS": "keys"}, kind: problem.Invalid, names: "LATCHKEY_MOUNTED_KEYS"},
		"mounted, not permitted":     {settings: map[string]string{stores.TypeSetting: "containerapps"}, far: true, kind: problem.Unsupported, names: stores.TypeSetting},
		"kubernetes, mounted":        {settings: map[string]string{stores.TypeSetting: "Kubernetes"}, store: "kubernetes"},
		"kubernetes, bad name":       {settings: map[string]string{stores.TypeSetting: "kubernetes", "AzureWebJobsKubernetesSecretName": "pods/x"}, kind: problem.Invalid, names: "AzureWebJobsKubernetesSecretName"},
		"kubernetes, not permitted":  {settings: map[string]string{stores.TypeSetting: "kubernetes"}, far: true, kind: problem.Unsupported, names: stores.TypeSetting},
		"unknown":                    {settings: map[string]string{stores.TypeSetting: "etcd"}, kind: problem.Unsupported, names: stores.TypeSetting},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var opened string
			place := func(name string) func() (keystore.Store, error) {
				return func() (keystore.Store, error) { opened = name; return memory.New(), nil }
			}
			cfg := stores.Config{Setting: func(name string) string { return tt.settings[name] }, Default: place("default"), Local: !tt.far}
			if !tt.far {
				cfg.Files = place("files")
			}
			got, err := stores.Open(t.Context(), cfg)
			if !errors.Is(err, tt.kind) || (err == nil) != (got != nil) {
				t.Fatalf("%v, %v", got, err)
			}
			if err != nil {
				if !strings.Contains(err.Error()+problem.NextOf(err), tt.names) || opened != "" {
					t.Errorf("%v (next: %s); opened %q", err, problem.NextOf(err), opened)
				}
				return
			}
			if opened == "" {
				opened = got.String()
			}
			if !strings.Contains(strings.ToLower(strings.ReplaceAll(opened, " ", "")), tt.store) {
				t.Errorf("opened %q, not %s", opened, tt.store)
			}
		})
	}
}

// TestStoresAreAskedAsTheIdentityOfTheSettings: what kind of identity the settings
// mean, for each store that has one.
func TestStoresAreAskedAsTheIdentityOfTheSettings(t *testing.T) {
	const client, tenant = "22222222-2222-2222-2222-222222222222", "11111111-1111-1111-1111-111111111111"
	vault := func(more map[string]string) map[string]string {
		s := map[string]string{stores.TypeSetting: "keyvault", uri: "https://shop.vault.usgovcloudapi.net", site: "shop"}
		for k, v := range more {
			s["AzureWebJobsSecretStorageKeyVault"+k] = v
		}
		return s
	}
	storage := func(more map[string]string) map[string]string {
		s := map[string]string{stores.TypeSetting: "blob", account + "__accountName": "shop", site: "shop"}
		for k, v := range more {
			s[account+k] = v
		}
		return s
	}
	tests := map[string]struct {
		settings map[string]string
		want     credential.Request
	}{
		"vault, own":    {vault(nil), credential.Request{Kind: credential.Managed}},
		"vault, user's": {vault(map[string]string{"ClientId": client}), credential.Request{Kind: credential.Managed, ClientID: client}},
		"vault, app registration": {
			vault(map[string]string{"ClientId": client, "TenantId": tenant, "ClientSecret": "s"}),
			credential.Request{Kind: credential.AppRegistration, ClientID: client, TenantID: tenant, ClientSecret: "s", Authority: "https://login.microsoftonline.us/"},
		},
		"blob, environment": {storage(nil), credential.Request{}},
		"blob, own":         {storage(map[string]string{"__credential": "ManagedIdentity"}), credential.Request{Kind: credential.Managed}},
		"blob, user's": {
			storage(map[string]string{"__credential": "managedidentity", "__clientId": client}),
			credential.Request{Kind: credential.Managed, ClientID: client},
		},
		"blob, app registration": {
			storage(map[string]string{"__clientId": client, "__tenantId": tenant, "__clientSecret": "s"}),
			credential.Request{Kind: credential.AppRegistration, ClientID: client, TenantID: tenant, ClientSecret: "s"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var asked []credential.Request
			_, err := stores.Open(t.Context(), stores.Config{
				Setting: func(name string) string { return tt.settings[name] },
				Credential: func(r credential.Request) (credential.Token, error) {
					asked = append(asked, r)
					return credential.FromFunc(nil), nil
				},
			})
			if err != nil || len(asked) != 1 || asked[0] != tt.want {
				t.Errorf("asked for %+v, %v", asked, err)
			}
		})
	}
}
