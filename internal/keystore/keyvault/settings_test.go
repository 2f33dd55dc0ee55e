package keyvault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/problem"
)

func settings(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

const uri = "https://orders-keys.vault.azure.net"

func TestSettingsSayWhichCredentialIsWanted(t *testing.T) {
	const com, cn, us = "https://login.microsoftonline.com/", "https://login.chinacloudapi.cn/", "https://login.microsoftonline.us/"
	for name, tc := range map[string]struct {
		settings []string
		want     keyvault.Identity
	}{
		"none":       {nil, keyvault.Identity{Kind: keyvault.SystemAssigned, Authority: com}},
		"client id":  {[]string{keyvault.ClientIDSetting, "c"}, keyvault.Identity{Kind: keyvault.UserAssigned, ClientID: "c", Authority: com}},
		"all":        {[]string{keyvault.ClientIDSetting, "c", keyvault.ClientSecretSetting, "s", keyvault.TenantIDSetting, "t"}, keyvault.Identity{Kind: keyvault.AppRegistration, ClientID: "c", TenantID: "t", ClientSecret: keyvault.ClientSecretSetting, Authority: com}},
		"China":      {[]string{keyvault.URISetting, "https://orders.vault.azure.cn"}, keyvault.Identity{Authority: cn}},
		"US":         {[]string{keyvault.URISetting, "https://orders.vault.usgovcloudapi.net/"}, keyvault.Identity{Authority: us}},
		"Germany":    {[]string{keyvault.URISetting, "https://orders.vault.microsoftazure.de"}, keyvault.Identity{Authority: com}},
		"ours":       {[]string{keyvault.URISetting, "https://kv1.vault.localhost:7443"}, keyvault.Identity{Authority: com}},
		"upper case": {[]string{keyvault.URISetting, "https://ORDERS.vault.azure.net"}, keyvault.Identity{Authority: com}},
	} {
		cfg, err := keyvault.Parse(settings(append([]string{keyvault.URISetting, uri}, tc.settings...)...))
		if diff := cmp.Diff(tc.want, cfg.Identity); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestTheAppsNameIsTheSiteWithItsSlotOrTheHostID(t *testing.T) {
	for want, with := range map[string][]string{
		"orders":                           {"WEBSITE_SITE_NAME", "Orders", "WEBSITE_SLOT_NAME", "Production"},
		"orders-blue":                      {"WEBSITE_SITE_NAME", "Orders", "WEBSITE_SLOT_NAME", "blue"},
		"":                                 nil,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": {"AzureFunctionsWebHost__hostid", strings.Repeat("A", 40)},
	} {
		cfg, err := keyvault.Parse(settings(append([]string{keyvault.URISetting, uri}, with...)...))
		if err != nil || cfg.App != want {
			t.Errorf("%q: %q, %v", with, cfg.App, err)
		}
	}
}

func TestWrongSettingsAreRefusedByName(t *testing.T) {
	for name, tc := range map[string]struct {
		settings []string
		named    string
	}{
		"no vault":          {[]string{keyvault.URISetting, ""}, keyvault.URISetting},
		"no URL":            {[]string{keyvault.URISetting, "orders-keys"}, keyvault.URISetting},
		"http":              {[]string{keyvault.URISetting, "http://orders.vault.azure.net"}, keyvault.URISetting},
		"no vault's host":   {[]string{keyvault.URISetting, "https://example.com"}, keyvault.URISetting},
		"storage account":   {[]string{keyvault.URISetting, "https://orders.blob.core.windows.net"}, keyvault.URISetting},
		"a secret's URL":    {[]string{keyvault.URISetting, uri + "/secrets/x"}, keyvault.URISetting},
		"a password in it":  {[]string{keyvault.URISetting, "https://me:hunter2@orders.vault.azure.net"}, keyvault.URISetting},
		"secret without id": {[]string{keyvault.ClientSecretSetting, "hunter2", keyvault.TenantIDSetting, "t"}, keyvault.ClientIDSetting},
		"no tenant":         {[]string{keyvault.ClientSecretSetting, "hunter2", keyvault.ClientIDSetting, "c"}, keyvault.TenantIDSetting},
		"no secret":         {[]string{keyvault.TenantIDSetting, "t", keyvault.ClientIDSetting, "c"}, keyvault.ClientSecretSetting},
		"prefix":            {[]string{keyvault.PrefixSetting, "a--b"}, keyvault.PrefixSetting},
		"prefix with dot":   {[]string{keyvault.PrefixSetting, "a.b"}, keyvault.PrefixSetting},
		"long prefix":       {[]string{keyvault.PrefixSetting, strings.Repeat("a", 33)}, keyvault.PrefixSetting},
		"access":            {[]string{keyvault.AccessSetting, "some"}, keyvault.AccessSetting},
		"names, all access": {[]string{keyvault.SecretsSetting, "function--a--b"}, keyvault.SecretsSetting},
		"no key's name":     {[]string{keyvault.AccessSetting, "get", keyvault.SecretsSetting, "database"}, keyvault.SecretsSetting},
	} {
		cfg, err := keyvault.Parse(settings(append([]string{keyvault.URISetting, uri}, tc.settings...)...))
		if err == nil {
			cfg.Credential = person("app")
			_, err = keyvault.Open(t.Context(), cfg)
		}
		if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), tc.named) || strings.Contains(err.Error()+problem.NextOf(err), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
