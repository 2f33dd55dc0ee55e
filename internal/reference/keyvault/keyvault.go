// Package keyvault owns reading secrets of real key vaults for references, with
// the SDK of Azure. It does not know when secrets are read, which identity an app
// has, or what becomes of failures: the resolver does.
package keyvault

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// Config is what a Source needs.
type Config struct {
	// Suffixes are the domains whose hosts may be asked, such as
	// "vault.azure.net". The first one completes references that name only the vault.
	Suffixes []string
	// Credential gives what an identity gets tokens with; false if there is nothing
	// for it.
	Credential func(identity.Assigned) (azcore.TokenCredential, bool)
	// Transport sends requests; nil for the default.
	Transport policy.Transporter
}

// Source reads secrets of real key vaults. It is safe for concurrent use.
type Source struct{ cfg Config }

// New makes a source; problem.Invalid for suffixes that are no domains.
func New(c Config) (*Source, error) { return &Source{c}, nil }

// Serves reports whether a reference with this host, or with only the name of a
// vault (""), is for real key vaults.
func (s *Source) Serves(host string) bool { return false }

// Fetch implements reference.Source.
func (s *Source) Fetch(ctx context.Context, q reference.Query) (reference.Secret, error) {
	return reference.Secret{}, problem.New(problem.Unsupported, "not yet")
}
