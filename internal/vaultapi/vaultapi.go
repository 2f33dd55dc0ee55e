// Package vaultapi owns the data plane of vaults as clients see it: the challenge
// that tells them where to get a token, paths and api-versions, the JSON forms of
// secrets, pages, and the errors and headers real client libraries look for. It
// does not know how secrets are kept, who may use them, or what tokens look like.
//
// Every request ends in one [Event]. What changes a vault, and a backup, which
// takes a secret out with all its versions, is given to Config.Audit first, and is
// not answered if that fails: such calls are rare and worth a durable write each.
// Reads are many thousands a second, which no durable record keeps up with; they
// go to Config.OnEvent only, which must not block, so that whoever records them
// can count what repeats. Events name secrets, never values.
//
// The header X-HTTP-Method and its relatives are ignored: a proxy that filters by
// method would see one method and the vault do another.
package vaultapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// Vaults finds vaults and decides who may use them; *vault.Vaults does.
type Vaults interface {
	ByName(name string) (vault.Vault, error)
	Check(ctx context.Context, v vault.Vault, c vault.Caller, op vault.Operation, secret string) (vault.Grant, error)
}

// Secrets keeps secrets; *secrets.Store does.
type Secrets interface {
	Set(ctx context.Context, v vault.Vault, name, value string, a secrets.Attributes) (secrets.Bundle, error)
	Get(ctx context.Context, v vault.Vault, name, version string) (secrets.Bundle, error)
	Update(ctx context.Context, v vault.Vault, name, version string, a secrets.Attributes) (secrets.Properties, error)
	List(ctx context.Context, v vault.Vault, p secrets.Page) (list []secrets.Properties, next string, err error)
	Versions(ctx context.Context, v vault.Vault, name string, p secrets.Page) (list []secrets.Properties, next string, err error)
	Delete(ctx context.Context, v vault.Vault, name string) (secrets.Deleted, error)
	GetDeleted(ctx context.Context, v vault.Vault, name string) (secrets.Deleted, error)
	Deleted(ctx context.Context, v vault.Vault, p secrets.Page) (list []secrets.Deleted, next string, err error)
	Recover(ctx context.Context, v vault.Vault, name string) (secrets.Properties, error)
	Purge(ctx context.Context, v vault.Vault, name string) error
	Backup(ctx context.Context, v vault.Vault, name string) (string, error)
	Restore(ctx context.Context, v vault.Vault, blob string) (secrets.Properties, error)
}

// Config is what [New] needs. Vaults, Secrets, Authenticate, Name, Resource and
// LoginURL must be set.
type Config struct {
	Vaults  Vaults
	Secrets Secrets

	// Authenticate tells who sends a request by its bearer token, which must be for
	// the resource or one of its aliases. It is called only for requests that have
	// an Authorization header. It fails with a *token.Refused or any problem;
	// Unauthenticated is an invalid token. The caller's Address is set afterwards.
	Authenticate func(ctx context.Context, r *http.Request, resource string) (vault.Caller, error)

	// Name gives the name of the vault that a host name, with or without port,
	// stands for; false for a host that is no vault's.
	Name func(host string) (vault string, ok bool)
	// Resource gives what tokens for the vault at a host are asked for:
	// "https://vault.localhost:7443". Clients refuse one whose host and port are
	// not the end of the vault's.
	Resource func(host string) string
	// LoginURL gives where tokens are got, as scheme, host and tenant:
	// "https://localhost:7443/<tenant id>".
	LoginURL func(host string) string

	// Source gives where a request comes from; nil is the address of the connection.
	Source func(*http.Request) netip.Addr
	// Audit gets what was changed and what was backed up before it is answered. Its
	// error withholds the answer. nil records nothing.
	Audit func(ctx context.Context, e Event) error
	// OnEvent gets the outcome of every request. It must not block. May be nil.
	OnEvent func(Event)
	// Fault is asked before a vault is used, for drills; its error is answered. nil
	// is none.
	Fault func(ctx context.Context, v vault.Vault, op vault.Operation) error

	// RatePer10s is how many requests each vault takes in ten seconds; 0 is no limit.
	RatePer10s int
	// EmptyPages makes every list begin with a page that is empty and has a link to
	// the next one, as the cloud's can.
	EmptyPages bool
	// StrictTransport sends Strict-Transport-Security. It is for hosts of their own:
	// browsers apply it to every port of a host.
	StrictTransport bool
	Region          string        // in answers before the vault is known; "" is local
	BodyTime        time.Duration // longest a body may take to arrive; 0 is a minute
	Clock           clock.Clock
	Log             *slog.Logger
}

// Event is the outcome of one request. It holds nothing secret.
type Event struct {
	Time    time.Time
	Vault   string // name; "" for a host that is no vault's
	VaultID string // resource id; "" if there is no such vault

	Operation string // "get", "set", "listVersions"; "" for paths that are not served
	Action    string // the data action: "Microsoft.KeyVault/vaults/secrets/getSecret/action"
	Secret    string // name as the client spelled it; "" for operations about none
	Version   string // that was read or made, if known

	Caller     vault.Caller // zero if it is not known
	Source     netip.Addr
	Assignment string // of the role that allowed it; "" for none

	Status int
	Code   string // of the error: "Forbidden"; "" for success
	Reason string // more precisely: "ForbiddenByRbac", "AKV10022"
	// Challenge says that the request had no token at all, which is how every
	// client begins, and no refusal to speak of.
	Challenge bool
	Changed   bool // something was changed, or may have been as the store failed
	Audited   bool // Config.Audit has it

	Latency       time.Duration
	RequestID     string // x-ms-request-id
	CorrelationID string // the client's, or the request id
}

// service serves requests. It is safe for concurrent use.
type service struct {
	Config
	throttle *throttle
	restores chan struct{} // restores in progress: their bodies can be large
}

// maxRestores bounds how many backups are held in memory at a time.
const maxRestores = 2

// New makes the handler for all vaults. It answers every path and never
// redirects. It returns an error for a config that lacks something.
func New(cfg Config) (http.Handler, error) {
	if cfg.Vaults == nil || cfg.Secrets == nil || cfg.Authenticate == nil || cfg.Name == nil || cfg.Resource == nil || cfg.LoginURL == nil {
		return nil, errors.New("vaultapi: Vaults, Secrets, Authenticate, Name, Resource and LoginURL must be set")
	}
	if cfg.Source == nil {
		cfg.Source = remote
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(context.Context, Event) error { return nil }
	}
	if cfg.Fault == nil {
		cfg.Fault = func(context.Context, vault.Vault, vault.Operation) error { return nil }
	}
	if cfg.Region == "" {
		cfg.Region = "local"
	}
	if cfg.BodyTime <= 0 {
		cfg.BodyTime = time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &service{cfg, newThrottle(cfg.RatePer10s), make(chan struct{}, maxRestores)}, nil
}

func remote(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address stands for all unknown ones
	return ap.Addr().Unmap()
}
