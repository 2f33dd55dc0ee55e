package blob

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
)

// App settings that say where the container is.
const (
	StorageSetting = "AzureWebJobsStorage"
	SASSetting     = "AzureWebJobsSecretStorageSas"

	serviceURISuffix = "__blobServiceUri"
	accountSuffix    = "__accountName"
)

// Parse reads the documented settings: AzureWebJobsSecretStorageSas, else
// AzureWebJobsStorage as a connection string, else AzureWebJobsStorage__… for an
// identity. setting is kept and asked again for a renewed signature; it must be
// safe for concurrent use. Config.App stays empty if no setting names the site
// or host id. It returns problem.Invalid, naming the setting, for what is missing
// or cannot work, and problem.Unsupported for an unknown kind of credential.
func Parse(setting func(name string) string) (Config, error) {
	cfg := Config{App: app(setting), HostName: setting("WEBSITE_HOSTNAME"), InstanceID: setting("WEBSITE_INSTANCE_ID"),
		Site: codec.SiteOf(setting), TakeOver: setting(codec.TakeOverSetting)}
	if sas := setting(SASSetting); sas != "" {
		_, err := checkSAS(sas)
		cfg.SAS = func() string { return setting(SASSetting) }
		return cfg, err
	}
	if text := setting(StorageSetting); text != "" {
		cfg.ConnectionString = text
		return cfg, checkConnectionString(text)
	}
	return parseIdentity(cfg, setting)
}

// app gives the folder of the documented layout: the site with its slot, else the
// host id, which has at most 32 characters.
func app(setting func(string) string) string {
	if site := codec.SiteOf(setting); site != "" {
		return site
	}
	id := setting("AzureFunctionsWebHost__hostid")
	return strings.TrimRight(strings.ToLower(id[:min(len(id), 32)]), "-")
}

func parseIdentity(cfg Config, setting func(string) string) (Config, error) {
	get := func(suffix string) string { return setting(StorageSetting + suffix) }
	var err error
	if cfg.ServiceURL, err = serviceURL(get); err != nil {
		return cfg, err
	}
	id := &Identity{ClientID: get("__clientId"), ResourceID: get("__managedIdentityResourceId"), TenantID: get("__tenantId")}
	cfg.Identity = id
	if get("__clientSecret") != "" {
		id.ClientSecret = StorageSetting + "__clientSecret"
	}
	switch kind := get("__credential"); {
	case strings.EqualFold(kind, "managedidentity"):
		id.Managed = true
	case kind != "":
		return cfg, problem.New(problem.Unsupported, fmt.Sprintf("setting %s__credential=%q is not supported", StorageSetting, kind)).
			WithNext("set it to managedidentity, or remove it")
	}
	return cfg, id.check()
}

func (id *Identity) check() error {
	const prefix = "setting " + StorageSetting
	switch {
	case id.ClientID != "" && id.ResourceID != "":
		return problem.New(problem.Invalid, prefix+"__clientId and __managedIdentityResourceId name an identity twice").WithNext("remove one of them")
	case id.Managed && id.ClientSecret != "":
		return problem.New(problem.Invalid, prefix+"__clientSecret does not go with __credential=managedidentity").WithNext("remove one of them")
	case id.ClientSecret != "" && (id.ClientID == "" || id.TenantID == ""):
		return problem.New(problem.Invalid, prefix+"__clientSecret needs __clientId and __tenantId").WithNext("set all three, or use a managed identity")
	}
	return nil
}

// serviceURL gives the blob endpoint that identity-based settings name.
func serviceURL(get func(suffix string) string) (string, error) {
	if uri := get(serviceURISuffix); uri != "" {
		u, err := url.Parse(uri)
		if err != nil || !secure(u) || u.RawQuery != "" || u.User != nil {
			return "", problem.New(problem.Invalid, "setting "+StorageSetting+serviceURISuffix+" is not the https address of a blob endpoint").
				WithNext("set it to https://{account}.blob.core.windows.net, without a query")
		}
		return uri, nil
	}
	account := get(accountSuffix)
	switch {
	case account == "":
		return "", problem.New(problem.Invalid, "neither "+SASSetting+" nor "+StorageSetting+" says where the keys are").
			WithNext("set " + StorageSetting + " to a connection string, " + StorageSetting + accountSuffix + " for an identity, or " + SASSetting +
				"; or set AzureWebJobsSecretStorageType to another store")
	case len(account) < 3 || len(account) > 24 || strings.Trim(account, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return "", problem.New(problem.Invalid, fmt.Sprintf("setting %s%s=%q cannot be the name of a storage account", StorageSetting, accountSuffix, account)).
			WithNext("names have 3 to 24 lower-case letters and digits; for other endpoints set " + StorageSetting + serviceURISuffix)
	}
	return "https://" + account + ".blob.core.windows.net", nil
}

// secure reports whether credentials may travel to u: by https, or within this
// machine.
func secure(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && local)
}

// checkSAS tells why a text is not the URL of a container with a signature,
// without repeating it.
func checkSAS(text string) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) {
		return nil, problem.New(problem.Invalid, "setting "+SASSetting+" "+why).
			WithNext("set it to https://{account}.blob.core.windows.net/{container}?{signature}")
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil {
		return refuse("is not a URL")
	}
	q := u.Query()
	switch path := strings.Trim(u.Path, "/"); {
	case text == "":
		return refuse("is empty")
	case !secure(u):
		return refuse("is not an https address")
	case path == "" || strings.Count(path, "/") > 1 || strings.Contains(path, "/") && u.Scheme == "https" && strings.HasSuffix(u.Hostname(), ".core.windows.net"):
		return refuse("does not name a container")
	case q.Get("sig") == "":
		return refuse("has no signature (sig=)")
	case q.Get("sr") != "" && q.Get("sr") != "c":
		return refuse("has a signature that is not for a container (sr=c)")
	}
	return u, nil
}

// checkConnectionString tells why a text is not a connection string, without
// repeating it.
func checkConnectionString(text string) error {
	refuse := func(why string) error {
		return problem.New(problem.Invalid, "setting "+StorageSetting+" "+why).
			WithNext("copy the connection string from the storage account's access keys, or use " + StorageSetting + accountSuffix + " with an identity")
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(development(strings.Trim(text, "; ")), ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return refuse("is not a connection string")
		}
		parts[name] = value
	}
	if parts["BlobEndpoint"] == "" && parts["AccountName"] == "" {
		return refuse("has neither AccountName nor BlobEndpoint")
	}
	if endpoint := parts["BlobEndpoint"]; endpoint != "" {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return refuse("has a BlobEndpoint that is not an address")
		}
	}
	if parts["SharedAccessSignature"] != "" {
		return nil
	}
	if key, err := base64.StdEncoding.DecodeString(parts["AccountKey"]); err != nil || len(key) == 0 || parts["AccountName"] == "" {
		return refuse("has neither AccountName with a good AccountKey nor SharedAccessSignature")
	}
	return nil
}

// development spells out the storage emulator's connection string, whose account
// and key are the same everywhere.
func development(text string) string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ';' })
	proxy := "http://127.0.0.1"
	emulator := false
	for _, f := range fields {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		emulator = emulator || strings.EqualFold(name, "UseDevelopmentStorage") && strings.EqualFold(value, "true")
		if strings.EqualFold(name, "DevelopmentStorageProxyUri") {
			proxy = strings.TrimRight(value, "/")
		}
	}
	if !emulator {
		return strings.Trim(text, "; ")
	}
	const account = "devstoreaccount1"
	return "DefaultEndpointsProtocol=http;AccountName=" + account + ";AccountKey=" + emulatorKey + ";BlobEndpoint=" + proxy + ":10000/" + account
}

// emulatorKey is published in the emulator's documentation.
const emulatorKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
