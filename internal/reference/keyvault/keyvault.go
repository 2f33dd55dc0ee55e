// Package keyvault owns reading secrets of real key vaults for references, with
// the SDK of Azure. It does not know when secrets are read, which identity an app
// has, or what becomes of failures: the resolver does.
package keyvault

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// Config is what a Source needs.
type Config struct {
	// Suffixes are the domains whose hosts may be asked, such as
	// "vault.azure.net", with a port if it is not 443. The first one completes
	// references that name only the vault.
	Suffixes []string
	// Credential gives what an identity gets tokens with; false if there is nothing
	// for it.
	Credential func(identity.Assigned) (azcore.TokenCredential, bool)
	// Transport sends requests; nil for the default. Redirects are not followed.
	Transport *http.Client
}

// maxClients bounds how many pairs of vault and identity have a client that keeps
// its token and what the vault's challenge said.
const maxClients = 1024

// Source reads secrets of real key vaults. It is safe for concurrent use.
type Source struct {
	cfg       Config
	transport *http.Client
	clients   *lru.Cache[clientKey, *azsecrets.Client]
}

var _ reference.Source = (*Source)(nil)

type clientKey struct {
	host, objectID string
	epoch          int64
}

// New makes a source; problem.Invalid for suffixes that are no domains.
func New(c Config) (*Source, error) {
	if len(c.Suffixes) == 0 {
		return nil, problem.New(problem.Invalid, "there is no domain of key vaults to read references from")
	}
	suffixes := make([]string, 0, len(c.Suffixes))
	for _, text := range c.Suffixes {
		suffix := strings.ToLower(strings.Trim(text, ". "))
		if !strings.Contains(suffix, ".") || strings.ContainsAny(suffix, "/@?#%\\ ") {
			return nil, problem.New(problem.Invalid, fmt.Sprintf("%q is no domain of key vaults", text)).
				WithNext("give one such as vault.azure.net")
		}
		suffixes = append(suffixes, suffix)
	}
	c.Suffixes = suffixes
	clients, err := lru.New[clientKey, *azsecrets.Client](maxClients)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "clients of key vaults cannot be kept", err)
	}
	return &Source{cfg: c, transport: withoutRedirects(c.Transport), clients: clients}, nil
}

// withoutRedirects gives a client that follows none: a token must reach nobody
// but the vault.
func withoutRedirects(given *http.Client) *http.Client {
	c := http.Client{}
	if given != nil {
		c = *given
	} else {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		c.Transport = t
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Serves reports whether a reference with this host, or with only the name of a
// vault (""), is for real key vaults.
func (s *Source) Serves(host string) bool {
	if host == "" {
		return true
	}
	_, domain, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(host), ":443"), ".")
	for _, suffix := range s.cfg.Suffixes {
		if domain == suffix {
			return true
		}
	}
	return false
}

// Fetch implements reference.Source. Errors are *reference.Failure.
func (s *Source) Fetch(ctx context.Context, q reference.Query) (reference.Secret, error) {
	host := q.Host
	if host == "" {
		host = strings.ToLower(q.Vault) + "." + s.cfg.Suffixes[0]
	}
	if !s.Serves(host) {
		return reference.Secret{}, &reference.Failure{Status: reference.VaultNotFound,
			Message: host + " is in none of the domains that references may be read from: " + strings.Join(s.cfg.Suffixes, ", ")}
	}
	client, err := s.client(host, q.Identity)
	if err != nil {
		return reference.Secret{}, err
	}
	got, err := client.GetSecret(ctx, q.Secret, q.Version, nil)
	if err != nil {
		return reference.Secret{}, failureOf(ctx, err, q)
	}
	return secretOf(got.Secret), nil
}

func secretOf(got azsecrets.Secret) (s reference.Secret) {
	if got.Value != nil {
		s.Value = *got.Value
	}
	if got.ID != nil {
		s.Version = got.ID.Version()
	}
	if got.Attributes != nil && got.Attributes.Expires != nil {
		s.Expires = *got.Attributes.Expires
	}
	return s
}

// client gives the client with which an identity reads a vault. It does not retry:
// the resolver does.
func (s *Source) client(host string, who identity.Assigned) (*azsecrets.Client, error) {
	key := clientKey{host, who.ObjectID, who.Epoch}
	if c, known := s.clients.Get(key); known {
		return c, nil
	}
	cred, has := s.cfg.Credential(who)
	if !has {
		return nil, &reference.Failure{Status: reference.UnauthorizedClient,
			Message: "there is nothing to get tokens of the real directory with for the identity " + who.ResourceID + "; map it to one"}
	}
	c, err := azsecrets.NewClient("https://"+host, marking{cred}, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.transport,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}})
	if err != nil {
		return nil, &reference.Failure{Status: reference.OtherReasons, Message: "the vault's address cannot be used: " + err.Error()}
	}
	s.clients.Add(key, c)
	return c, nil
}
