package blob

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
)

const (
	// DefaultContainer is the container of the documented layout.
	DefaultContainer = "azure-webjobs-secrets"
	// DefaultPoll is how often changes by others are looked for.
	DefaultPoll = 15 * time.Second

	defaultRetry = 250 * time.Millisecond
)

// Config says which container, how to get into it and how to write to it.
// Exactly one way in is given: ConnectionString, SAS, or ServiceURL with
// Credential.
type Config struct {
	// ConnectionString is that of a storage account.
	ConnectionString string
	// SAS gives the URL of the container with a shared access signature. It is
	// asked before every request, so that a renewed signature counts at once, and
	// may be called concurrently. A later URL of another container does not count.
	SAS func() string
	// ServiceURL is the blob endpoint of a storage account and Credential what
	// gets tokens for it.
	ServiceURL string
	Credential azcore.TokenCredential
	// Identity is what Parse found about the Credential that the caller is to
	// provide; nil if none is needed. Open does not look at it.
	Identity *Identity

	// Container is the container's name; "" is DefaultContainer. With SAS the URL
	// says it.
	Container string
	// App is the folder in the container, the site with its slot or the host id.
	// It is lower-cased.
	App string
	// Sealer seals the values; nil keeps them in clear, as the stock host does
	// without AzureWebEncryptionKey outside App Service. A container shared with a
	// stock host needs the Data Protection sealer or none.
	Sealer seal.Sealer
	// HostName and InstanceID are noted in each document (see codec.Config).
	HostName   string
	InstanceID string
	// Site is the app's name, if that is known, and TakeOver another app whose documents
	// are taken for its own (see codec.Config).
	Site     string
	TakeOver string
	// ReadOnly makes the store refuse to write.
	ReadOnly bool

	// Poll is about how often changes by others are looked for; 0 is DefaultPoll.
	Poll time.Duration
	// Retry is the wait before a request is tried again, doubling; 0 is 250 ms.
	Retry time.Duration
	// Transport sends the requests; nil is a transport of the store's own that
	// heeds the proxy settings of the environment.
	Transport http.RoundTripper
	// Clock is for all waits; nil is the system clock.
	Clock clock.Clock
	// Log hears of what operators should know; nil is nobody.
	Log *slog.Logger
}

// Identity says which credential the settings ask for.
type Identity struct {
	// Managed says that it is a managed identity, user-assigned if ClientID or
	// ResourceID is given. Otherwise it is an app registration if ClientSecret is
	// given, else whatever the environment offers.
	Managed    bool
	ClientID   string
	ResourceID string
	TenantID   string
	// ClientSecret is the name of the setting with the secret, "" for none.
	ClientSecret string
}

// complete fills in what is left out and refuses what cannot work.
func (c Config) complete() (Config, error) {
	c.App = strings.ToLower(c.App)
	if c.Container == "" {
		c.Container = DefaultContainer
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Retry == 0 {
		c.Retry = defaultRetry
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkApp(c.App); err != nil {
		return c, err
	}
	return c, c.checkWays()
}

// checkApp refuses a folder that is not exactly one segment of a blob's name.
func checkApp(app string) error {
	switch {
	case app == "":
		return problem.New(problem.Invalid, "the app's folder in the key container is not known").
			WithNext("set WEBSITE_SITE_NAME, or AzureFunctionsWebHost__hostid for an app outside App Service")
	case len(app) > 128 || strings.Trim(app, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		return problem.New(problem.Invalid, "the app's folder in the key container may have letters, digits, '-' and '_' only, at most 128").
			WithNext("correct WEBSITE_SITE_NAME, WEBSITE_SLOT_NAME or AzureFunctionsWebHost__hostid")
	}
	return nil
}

func (c Config) checkWays() error {
	ways := 0
	for _, given := range []bool{c.ConnectionString != "", c.SAS != nil, c.ServiceURL != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return problem.New(problem.Invalid, "a key container needs exactly one of "+StorageSetting+" and "+SASSetting)
	case c.ServiceURL != "" && c.Credential == nil:
		return problem.New(problem.Invalid, "no credential for "+StorageSetting+serviceURISuffix)
	}
	return nil
}

// bare gives a URL without what may be secret in it.
func bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}).String()
}
