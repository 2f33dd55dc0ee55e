// Package stores owns the one rule by which an app's settings choose the place of
// its access keys: AzureWebJobsSecretStorageType and what each kind needs besides.
// It opens that place or refuses, naming the setting, and never takes another: the
// keys there would be others. It does not know how the default place is opened nor
// where identities of apps get their tokens; callers say that.
package stores

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/containerapps"
	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
)

// TypeSetting is the app setting that says which kind of store has the keys.
const TypeSetting = "AzureWebJobsSecretStorageType"

// Kind is a kind of store; "" is the caller's default.
type Kind string

// Kinds of stores.
const (
	Files         Kind = "files"
	Blob          Kind = "blob"
	KeyVault      Kind = "keyvault"
	ContainerApps Kind = "containerapps"
	Kubernetes    Kind = "kubernetes"
)

// ParseKind reads a value of TypeSetting, in any case. It returns
// problem.Unsupported, naming the setting, for one that is not known.
func ParseKind(value string) (Kind, error) {
	switch kind := Kind(strings.ToLower(strings.TrimSpace(value))); kind {
	case "", Files, Blob, KeyVault, ContainerApps, Kubernetes:
		return kind, nil
	case "containerapp":
		return ContainerApps, nil
	}
	return "", problem.New(problem.Unsupported, fmt.Sprintf("setting %s asks for key store %q, which this version does not have", TypeSetting, value)).
		WithNext("set " + TypeSetting + " to files, blob, keyvault, kubernetes or containerapps, or remove it")
}

// Config says which store is wanted and what the caller has for it. Setting and
// Default must be set.
type Config struct {
	// Setting gives the app's settings by name. It is kept and asked again for what
	// may be renewed, and must be safe for concurrent use.
	Setting func(name string) string
	// Default opens the store of apps that ask for none.
	Default func() (keystore.Store, error)
	// Files opens the one of apps that ask for files; nil refuses them.
	Files func() (keystore.Store, error)
	// Local permits stores that are reached as this process: folders of the machine
	// and the cluster it runs in. Without it containerapps and kubernetes are
	// refused: who changes an app's settings would choose what the process reads.
	Local bool

	// Sealer seals values where the stock host would; nil keeps them in clear.
	Sealer seal.Sealer
	// Credential gives what gets tokens for an identity; nil is credential.New, the
	// identity of this process.
	Credential func(credential.Request) (credential.Token, error)
	// Transport sends requests; nil leaves it to the store.
	Transport http.RoundTripper
	// ReadOnly opens the store for looking only.
	ReadOnly bool

	Clock clock.Clock  // nil is the system clock
	Log   *slog.Logger // nil is nobody
}

// Open opens the store that the settings ask for. Services are not asked before
// the store is used. It returns problem.Unsupported for a kind that the caller or
// this version does not have and problem.Invalid for settings that are missing or
// wrong, naming the setting.
func Open(ctx context.Context, cfg Config) (keystore.Store, error) {
	kind, err := ParseKind(cfg.Setting(TypeSetting))
	if err != nil {
		return nil, err
	}
	if cfg.Credential == nil {
		cfg.Credential = credential.New
	}
	switch kind {
	case Blob:
		return cfg.blob(ctx)
	case KeyVault:
		return cfg.keyVault(ctx)
	case ContainerApps:
		return cfg.containerApps(ctx)
	case Kubernetes:
		return cfg.kubernetes(ctx)
	case Files:
		if cfg.Files == nil {
			return nil, cfg.refuse(kind, "keys of apps here are not in folders of their own")
		}
		return cfg.Files()
	}
	return cfg.Default()
}

func (cfg Config) refuse(kind Kind, why string) error {
	return problem.New(problem.Unsupported, fmt.Sprintf("setting %s asks for key store %q: %s", TypeSetting, kind, why)).
		WithNext("set " + TypeSetting + " to blob or keyvault, or remove it for the default")
}

func (cfg Config) blob(ctx context.Context) (keystore.Store, error) {
	b, err := blob.Parse(cfg.Setting)
	if err != nil {
		return nil, err
	}
	b.Sealer, b.ReadOnly, b.Transport, b.Clock, b.Log = cfg.Sealer, cfg.ReadOnly, cfg.Transport, cfg.Clock, cfg.Log
	if id := b.Identity; id != nil {
		if b.Credential, err = cfg.Credential(cfg.blobIdentity(id)); err != nil {
			return nil, err
		}
	}
	store, err := blob.Open(ctx, b)
	if err != nil {
		return nil, err // not a nil *blob.Store
	}
	return store, nil
}

func (cfg Config) blobIdentity(id *blob.Identity) credential.Request {
	r := credential.Request{ClientID: id.ClientID, ResourceID: id.ResourceID, TenantID: id.TenantID}
	switch {
	case id.ClientSecret != "":
		r.Kind, r.ClientSecret = credential.AppRegistration, cfg.Setting(id.ClientSecret)
	case id.Managed || id.ClientID != "" || id.ResourceID != "":
		r.Kind = credential.Managed
	}
	return r
}

func (cfg Config) keyVault(ctx context.Context) (keystore.Store, error) {
	v, err := keyvault.Parse(cfg.Setting)
	if err != nil {
		return nil, err
	}
	v.ReadOnly, v.Transport, v.Clock, v.Log = cfg.ReadOnly, cfg.Transport, cfg.Clock, cfg.Log
	if v.Credential, err = cfg.Credential(cfg.vaultIdentity(v.Identity)); err != nil {
		return nil, err
	}
	store, err := keyvault.Open(ctx, v)
	if err != nil {
		return nil, err
	}
	return store, nil
}

func (cfg Config) vaultIdentity(id keyvault.Identity) credential.Request {
	r := credential.Request{Kind: credential.Managed, ClientID: id.ClientID, TenantID: id.TenantID}
	if id.Kind == keyvault.AppRegistration {
		r.Kind, r.ClientSecret, r.Authority = credential.AppRegistration, cfg.Setting(id.ClientSecret), id.Authority
	}
	return r
}

func (cfg Config) containerApps(ctx context.Context) (keystore.Store, error) {
	if !cfg.Local {
		return nil, cfg.refuse(ContainerApps, "apps of an installation have no folders mounted")
	}
	c, err := containerapps.Parse(cfg.Setting)
	if err != nil {
		return nil, err
	}
	c.Clock = cfg.Clock
	return containerapps.Open(ctx, c)
}

func (cfg Config) kubernetes(ctx context.Context) (keystore.Store, error) {
	if !cfg.Local {
		return nil, cfg.refuse(Kubernetes, "apps of an installation have no cluster of their own")
	}
	k, err := kubernetes.Parse(cfg.Setting)
	if err != nil {
		return nil, err
	}
	k.ReadOnly, k.Transport, k.Clock, k.Log = cfg.ReadOnly, cfg.Transport, cfg.Clock, cfg.Log
	store, err := kubernetes.Open(ctx, k)
	if err != nil {
		return nil, err
	}
	return store, nil
}
