// Package credential owns how a key store that is a cloud's service is asked: it
// makes what gets tokens, of a managed identity, of an app registration, or of a
// source that the caller has. It does not know which settings ask for it nor
// which service the tokens are for.
package credential

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/latchkey/latchkey/internal/problem"
)

// Token is what stores ask for tokens, by the name that packages use which know
// no cloud.
type Token = azcore.TokenCredential

// Kind is a kind of identity.
type Kind uint8

// Kinds of identities.
const (
	// Environment takes what the process's environment offers: environment
	// variables, a workload identity, a managed identity or a developer's sign-in.
	Environment Kind = iota
	// Managed is a managed identity: the system-assigned one, or the user-assigned
	// one that ClientID or ResourceID names.
	Managed
	// AppRegistration is an app registration with a secret.
	AppRegistration
)

// Request says whose tokens are wanted.
type Request struct {
	Kind         Kind
	ClientID     string
	ResourceID   string
	TenantID     string
	ClientSecret string
	// Authority is where an app registration gets its tokens; "" is the public
	// cloud's.
	Authority string
}

// New makes what gets the tokens; it is safe for concurrent use. Nobody is asked
// before a token is wanted. It returns problem.Invalid, without the secret, for a
// Request that cannot work.
func New(r Request) (Token, error) {
	made, err := r.make()
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, fmt.Sprintf("the identity of the key store (client id %q, tenant %q) cannot be used", r.ClientID, r.TenantID), err)
	}
	return made, nil
}

func (r Request) make() (Token, error) {
	options := azcore.ClientOptions{}
	if r.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: r.Authority}
	}
	switch r.Kind {
	case Managed:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		switch {
		case r.ClientID != "":
			o.ID = azidentity.ClientID(r.ClientID)
		case r.ResourceID != "":
			o.ID = azidentity.ResourceID(r.ResourceID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case AppRegistration:
		return azidentity.NewClientSecretCredential(r.TenantID, r.ClientID, r.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	default:
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: r.TenantID})
	}
}

// Get gives a token for a resource, such as https://vault.azure.net, and when it
// expires.
type Get func(ctx context.Context, resource string) (token string, expires time.Time, err error)

// FromFunc makes a Token of a source of tokens, which must be safe for concurrent
// use. Its errors reach the caller as they are.
func FromFunc(get Get) Token { return source{get} }

type source struct{ get Get }

// GetToken implements azcore.TokenCredential. Tokens are for one scope.
func (s source) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, problem.New(problem.Invalid, fmt.Sprintf("a token was asked for with %d scopes", len(o.Scopes)))
	}
	text, expires, err := s.get(ctx, strings.TrimSuffix(o.Scopes[0], "/.default"))
	return azcore.AccessToken{Token: text, ExpiresOn: expires}, err
}
