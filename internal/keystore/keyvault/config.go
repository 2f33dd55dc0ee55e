package keyvault

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	// DefaultPoll is how often changes by others are looked for.
	DefaultPoll = 15 * time.Second

	defaultRetry = 500 * time.Millisecond
	maxTag       = 256 // characters of a tag's value
)

// Config says which vault, who asks it and which secrets of it are the app's.
type Config struct {
	// URI is the vault's address, https.
	URI string
	// Credential gets tokens for it.
	Credential azcore.TokenCredential
	// Identity is what Parse found about the Credential that the caller is to
	// provide. Open does not look at it.
	Identity Identity
	// App is who the secrets belong to: the site with its slot or the host id. It is
	// noted on every secret that is written; "" notes and checks nothing.
	App string
	// Prefix comes before every secret's name, so that apps can share a vault; "" is
	// the stock layout.
	Prefix string
	// GetOnly is for an identity that may read secrets by name and nothing else: the
	// store is read-only and sees the master key, the host key "default", the key
	// "default" of each function, and Secrets.
	GetOnly bool
	// Secrets are names of further secrets to read with GetOnly, without Prefix.
	Secrets []string
	// ReadOnly makes the store refuse to write.
	ReadOnly bool

	// Poll is about how often changes by others are looked for; 0 is DefaultPoll.
	Poll time.Duration
	// Retry is the wait before a request is tried again, doubling; 0 is 500 ms.
	Retry time.Duration
	// Transport sends the requests; nil is a transport of the store's own that
	// heeds the proxy settings of the environment.
	Transport http.RoundTripper
	// Clock is for all waits; nil is the system clock.
	Clock clock.Clock
	// Log hears of what operators should know; nil is nobody.
	Log *slog.Logger
}

// Kind is a kind of credential.
type Kind uint8

// Kinds of credentials that settings can ask for.
const (
	SystemAssigned  Kind = iota // the app's own identity
	UserAssigned                // the identity with Identity.ClientID
	AppRegistration             // ClientID and TenantID with a secret
)

// Identity says which credential the settings ask for.
type Identity struct {
	Kind     Kind
	ClientID string
	TenantID string
	// ClientSecret is the name of the setting with the secret, "" for none.
	ClientSecret string
	// Authority is where an app registration gets its tokens, that of the vault's
	// cloud: "https://login.microsoftonline.com/".
	Authority string
}

var (
	prefixForm = regexp.MustCompile(`^[0-9A-Za-z]+(-[0-9A-Za-z]+)*$`)
	vaultForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{1,22}[a-z0-9]\.vault\.[a-z0-9.-]+$`)
	secretForm = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
)

// complete fills in what is left out and refuses what cannot work.
func (c Config) complete() (Config, error) {
	uri, err := checkURI(c.URI)
	if err != nil {
		return c, err
	}
	c.URI = uri
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
	c.App = strings.ToLower(c.App)
	return c, c.check()
}

func (c Config) check() error {
	if c.Credential == nil {
		return problem.New(problem.Invalid, "no credential for the vault of "+URISetting)
	}
	if len(c.App) > maxTag {
		return problem.New(problem.Invalid, fmt.Sprintf("the app's name is longer than the %d characters of a tag", maxTag))
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return err
	}
	if len(c.Secrets) > 0 && !c.GetOnly {
		return problem.New(problem.Invalid, "setting "+SecretsSetting+" is for "+AccessSetting+"=get").
			WithNext("remove it: with the permission to list, all keys are found")
	}
	for _, name := range c.Secrets {
		if _, ok := parseName(name); !ok {
			return problem.New(problem.Invalid, fmt.Sprintf("setting %s: %q is not the name of a key's secret", SecretsSetting, name)).
				WithNext("write names like host--functionKey--partner and function--orders--partner, separated by commas, without the prefix")
		}
	}
	return nil
}

func checkPrefix(prefix string) error {
	if prefix == "" || len(prefix) <= 32 && prefixForm.MatchString(prefix) {
		return nil
	}
	return problem.New(problem.Invalid, fmt.Sprintf("setting %s=%q cannot be put before the names of secrets", PrefixSetting, prefix)).
		WithNext("use at most 32 letters and digits, with single '-' between them")
}

// checkURI gives a vault's address in one form.
func checkURI(text string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", problem.New(problem.Invalid, "setting "+URISetting+" "+why).
			WithNext("set it to the vault's address, like https://orders-keys.vault.azure.net")
	}
	if text == "" {
		return refuse("is missing")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return refuse("is not a URL")
	case u.Scheme != "https":
		return refuse("is not an https address")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return refuse("has more than a host in it")
	case !vaultForm.MatchString(strings.ToLower(u.Hostname())):
		return refuse(fmt.Sprintf("has the host %q, which is no vault's", u.Hostname()))
	}
	return "https://" + strings.ToLower(u.Host), nil
}
