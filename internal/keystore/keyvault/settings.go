package keyvault

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// App settings that say where the vault is and who asks it, as documented for the
// functions host.
const (
	URISetting          = "AzureWebJobsSecretStorageKeyVaultUri"
	ClientIDSetting     = "AzureWebJobsSecretStorageKeyVaultClientId"
	ClientSecretSetting = "AzureWebJobsSecretStorageKeyVaultClientSecret"
	TenantIDSetting     = "AzureWebJobsSecretStorageKeyVaultTenantId"
)

// App settings of Latchkey's own.
const (
	// PrefixSetting comes before the names of all secrets.
	PrefixSetting = "AzureWebJobsSecretStorageKeyVaultPrefix"
	// AccessSetting is "full", which is the default, or "get".
	AccessSetting = "AzureWebJobsSecretStorageKeyVaultAccess"
	// SecretsSetting has names of secrets to read with AccessSetting=get.
	SecretsSetting = "AzureWebJobsSecretStorageKeyVaultSecrets"
)

// Parse reads the settings. Config.App stays empty if no setting names the site or
// host id. It returns problem.Invalid, naming the setting, for what is missing or
// cannot work. It never repeats the client secret.
func Parse(setting func(name string) string) (Config, error) {
	cfg := Config{App: app(setting), Prefix: setting(PrefixSetting)}
	var err error
	if cfg.URI, err = checkURI(setting(URISetting)); err != nil {
		return cfg, err
	}
	if err = checkPrefix(cfg.Prefix); err != nil {
		return cfg, err
	}
	if cfg.Identity, err = parseIdentity(setting); err != nil {
		return cfg, err
	}
	cfg.Identity.Authority = authority(cfg.URI)
	switch access := setting(AccessSetting); {
	case strings.EqualFold(access, "get"):
		cfg.GetOnly = true
	case access != "" && !strings.EqualFold(access, "full"):
		return cfg, problem.New(problem.Invalid, fmt.Sprintf("setting %s=%q is not one of full and get", AccessSetting, access))
	}
	for name := range strings.SplitSeq(setting(SecretsSetting), ",") {
		if name = strings.TrimSpace(name); name != "" {
			cfg.Secrets = append(cfg.Secrets, name)
		}
	}
	return cfg, nil
}

func parseIdentity(setting func(string) string) (Identity, error) {
	id := Identity{ClientID: setting(ClientIDSetting), TenantID: setting(TenantIDSetting)}
	if setting(ClientSecretSetting) != "" {
		id.ClientSecret = ClientSecretSetting
	}
	lacks := func(name, has string) error {
		return problem.New(problem.Invalid, "setting "+name+" is missing, though "+has+" is set").
			WithNext("set " + ClientIDSetting + ", " + ClientSecretSetting + " and " + TenantIDSetting +
				" for an app registration, only the first for a user-assigned identity, none for the app's own identity")
	}
	switch {
	case id.ClientSecret != "" && id.ClientID == "":
		return id, lacks(ClientIDSetting, ClientSecretSetting)
	case id.ClientSecret != "" && id.TenantID == "":
		return id, lacks(TenantIDSetting, ClientSecretSetting)
	case id.TenantID != "" && id.ClientSecret == "":
		return id, lacks(ClientSecretSetting, TenantIDSetting)
	case id.ClientSecret != "":
		id.Kind = AppRegistration
	case id.ClientID != "":
		id.Kind = UserAssigned
	}
	return id, nil
}

// authority gives where tokens are got in the cloud of a vault.
func authority(uri string) string {
	switch host := strings.TrimPrefix(uri, "https://"); {
	case strings.HasSuffix(host, ".vault.azure.cn"):
		return "https://login.chinacloudapi.cn/"
	case strings.HasSuffix(host, ".vault.usgovcloudapi.net"):
		return "https://login.microsoftonline.us/"
	default:
		return "https://login.microsoftonline.com/"
	}
}

// app gives the site with its slot, else the host id, which has at most 32
// characters.
func app(setting func(string) string) string {
	if site := setting("WEBSITE_SITE_NAME"); site != "" {
		if slot := setting("WEBSITE_SLOT_NAME"); slot != "" && !strings.EqualFold(slot, "production") {
			site += "-" + slot
		}
		return strings.ToLower(site)
	}
	id := setting("AzureFunctionsWebHost__hostid")
	return strings.TrimRight(strings.ToLower(id[:min(len(id), 32)]), "-")
}
