package blob_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/problem"
)

func settings(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if n, value, _ := strings.Cut(pair, "="); n == name {
				return value
			}
		}
		return ""
	}
}

const (
	goodString = "AzureWebJobsStorage=DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
	goodSAS    = "AzureWebJobsSecretStorageSas=https://acct.blob.core.windows.net/keys?sv=2024-11-04&sr=c&sp=rwcl&se=2099-01-01T00:00:00Z&sig=c2VjcmV0"
	site       = "WEBSITE_SITE_NAME=Orders"
)

func TestSettingsSayWhereTheContainerIs(t *testing.T) {
	for name, tc := range map[string]struct {
		settings []string
		where    string // what the store calls itself
		identity *blob.Identity
	}{
		"connection string":       {[]string{goodString, site}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", nil},
		"its sovereign cloud":     {[]string{strings.Replace(goodString, "core.windows.net", "core.chinacloudapi.cn", 1), site}, "blob https://acct.blob.core.chinacloudapi.cn/azure-webjobs-secrets/orders", nil},
		"its signature":           {[]string{"AzureWebJobsStorage=BlobEndpoint=https://a.test/;SharedAccessSignature=sv=1&sig=c2VjcmV0", site}, "blob https://a.test/azure-webjobs-secrets/orders", nil},
		"the emulator":            {[]string{"AzureWebJobsStorage=UseDevelopmentStorage=true", site}, "blob http://127.0.0.1:10000/devstoreaccount1/azure-webjobs-secrets/orders", nil},
		"the emulator elsewhere":  {[]string{"AzureWebJobsStorage=UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://10.0.0.1", site}, "blob http://10.0.0.1:10000/devstoreaccount1/azure-webjobs-secrets/orders", nil},
		"signature first":         {[]string{goodString, goodSAS, site}, "blob https://acct.blob.core.windows.net/keys/orders", nil},
		"account and identity":    {[]string{"AzureWebJobsStorage__accountName=acct", site}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", &blob.Identity{}},
		"endpoint and identity":   {[]string{"AzureWebJobsStorage__blobServiceUri=https://acct.blob.core.usgovcloudapi.net/", "AzureWebJobsStorage__credential=managedidentity", "AzureWebJobsStorage__clientId=c", site}, "blob https://acct.blob.core.usgovcloudapi.net/azure-webjobs-secrets/orders", &blob.Identity{Managed: true, ClientID: "c"}},
		"app registration":        {[]string{"AzureWebJobsStorage__accountName=acct", "AzureWebJobsStorage__clientId=c", "AzureWebJobsStorage__tenantId=t", "AzureWebJobsStorage__clientSecret=s", site}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", &blob.Identity{ClientID: "c", TenantID: "t", ClientSecret: "AzureWebJobsStorage__clientSecret"}},
		"a slot":                  {[]string{goodString, site, "WEBSITE_SLOT_NAME=Staging"}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders-staging", nil},
		"the production slot":     {[]string{goodString, site, "WEBSITE_SLOT_NAME=Production"}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", nil},
		"a host id":               {[]string{goodString, "AzureFunctionsWebHost__hostid=ABCDEFGHIJKLMNOPQRSTUVWXYZ12345-7890"}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/abcdefghijklmnopqrstuvwxyz12345", nil},
		"the site before an id":   {[]string{goodString, site, "AzureFunctionsWebHost__hostid=other"}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", nil},
		"a connection before one": {[]string{goodString, "AzureWebJobsStorage__accountName=other", site}, "blob https://acct.blob.core.windows.net/azure-webjobs-secrets/orders", nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := blob.Parse(settings(tc.settings...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.identity, cfg.Identity); diff != "" {
				t.Error(diff)
			}
			if cfg.Identity != nil {
				cfg.Credential = token("t")
			}
			if got := open(t, cfg).String(); got != tc.where {
				t.Errorf("got %s, want %s", got, tc.where)
			}
		})
	}
}

func TestWrongSettingsAreRefusedByName(t *testing.T) {
	const sas, storage = "AzureWebJobsSecretStorageSas", "AzureWebJobsStorage"
	for name, tc := range map[string]struct {
		settings []string
		names    string
	}{
		"nothing":                      {nil, storage},
		"no connection string":         {[]string{storage + "=c2VjcmV0"}, storage},
		"a string without an account":  {[]string{storage + "=AccountKey=c2VjcmV0"}, storage},
		"a string without a key":       {[]string{storage + "=AccountName=acct"}, storage},
		"a string with a bad key":      {[]string{storage + "=AccountName=acct;AccountKey=c2VjcmV0!"}, storage},
		"a string with a bad endpoint": {[]string{storage + "=AccountName=acct;AccountKey=c2VjcmV0;BlobEndpoint=acct"}, storage},
		"a signature alone":            {[]string{sas + "=sig=c2VjcmV0"}, sas},
		"a URL without a signature":    {[]string{sas + "=https://a.blob.core.windows.net/keys?c2VjcmV0"}, sas},
		"a URL without a container":    {[]string{sas + "=https://a.blob.core.windows.net/?sig=c2VjcmV0"}, sas},
		"a URL of a blob":              {[]string{sas + "=https://a.blob.core.windows.net/keys/b?sig=c2VjcmV0"}, sas},
		"a signature for a blob":       {[]string{sas + "=https://a.blob.core.windows.net/keys?sr=b&sig=c2VjcmV0"}, sas},
		"a signature in the open":      {[]string{sas + "=http://a.blob.core.windows.net/keys?sr=c&sig=c2VjcmV0"}, sas},
		"no fallback from a bad one":   {[]string{sas + "=c2VjcmV0", goodString}, sas},
		"a bad account name":           {[]string{storage + "__accountName=a/b"}, storage + "__accountName"},
		"an endpoint in the open":      {[]string{storage + "__blobServiceUri=http://a.test"}, storage + "__blobServiceUri"},
		"an endpoint with a signature": {[]string{storage + "__blobServiceUri=https://a.test/?sig=c2VjcmV0"}, storage + "__blobServiceUri"},
		"a secret without its app":     {[]string{storage + "__accountName=acct", storage + "__clientSecret=c2VjcmV0"}, storage + "__clientSecret"},
		"a secret of a managed one":    {[]string{storage + "__accountName=acct", storage + "__credential=managedidentity", storage + "__clientSecret=c2VjcmV0"}, storage + "__clientSecret"},
		"an identity named twice":      {[]string{storage + "__accountName=acct", storage + "__clientId=a", storage + "__managedIdentityResourceId=b"}, storage + "__clientId"},
		"a strange credential":         {[]string{storage + "__accountName=acct", storage + "__credential=magic"}, storage + "__credential"},
		"no app":                       {[]string{goodString}, "WEBSITE_SITE_NAME"},
		"an app that leaves its place": {[]string{goodString, "WEBSITE_SITE_NAME=../x"}, "WEBSITE_SITE_NAME"},
		"no credential":                {[]string{storage + "__accountName=acct", site}, storage},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := blob.Parse(settings(tc.settings...))
			if err == nil {
				_, err = blob.Open(t.Context(), cfg)
			}
			if k := problem.KindOf(err); err == nil || k != problem.Invalid && k != problem.Unsupported {
				t.Fatalf("got %v", err)
			}
			text := err.Error() + " " + problem.NextOf(err)
			if !strings.Contains(text, tc.names) || strings.Contains(text, "c2VjcmV0") {
				t.Errorf("says %s", text)
			}
		})
	}
}

func TestAConfigHasOneWayIn(t *testing.T) {
	for _, cfg := range []blob.Config{
		{App: app},
		{App: app, ConnectionString: goodString, ServiceURL: "https://a.test", Credential: token("t")},
	} {
		if _, err := blob.Open(t.Context(), cfg); !errors.Is(err, problem.Invalid) {
			t.Errorf("got %v", err)
		}
	}
}

// Whatever strangers put into settings is refused or opens, and an error never
// repeats a secret.
func FuzzParse(f *testing.F) {
	f.Add("BlobEndpoint=https://a.test;SharedAccessSignature=sig=x", "", "", "orders")
	f.Add("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=%zz", "", "", "orders")
	f.Add("", "https://a.test/keys?sr=c&sig=c2VjcmV0", "", "x")
	f.Add("", "", "https://a.test", "..")
	f.Fuzz(func(t *testing.T, storage, sas, uri, site string) {
		const mark = "c2VjcmV0"
		cfg, err := blob.Parse(func(name string) string {
			return map[string]string{
				"AzureWebJobsStorage": storage, "AzureWebJobsSecretStorageSas": sas,
				"AzureWebJobsStorage__blobServiceUri": uri, "WEBSITE_SITE_NAME": site,
			}[name]
		})
		var s *blob.Store
		if err == nil {
			cfg.Credential = token("t")
			s, err = blob.Open(t.Context(), cfg)
		}
		if err != nil {
			if problem.KindOf(err) != problem.Invalid || strings.Contains(err.Error(), mark) {
				t.Errorf("got %v", err)
			}
			return
		}
		if text := s.String(); !strings.HasSuffix(text, "/"+strings.ToLower(site)) || strings.Contains(text, "sig=") {
			t.Errorf("calls itself %s", text)
		}
	})
}
