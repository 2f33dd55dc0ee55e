// Package registries owns by which right a container app's images are pulled:
// which of the app's registries an image is of, and what that one wants to see: a
// user name with a password from the app's secrets, what the registry gives in
// exchange for a token of one of the app's identities, or nothing.
//
// It does not pull, and knows neither engines, how tokens are made, nor where
// secrets come from. Lifecycles of identities do not count here: the control plane
// pulls, not the app's code.
package registries

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Audience is what tokens of identities for registries are made for. They open
// registries and nothing else: a token for the management API would give whoever
// runs the registry the identity's other rights too.
const Audience = "https://containerregistry.azure.net"

// tokenUser is the user name that says that the password is a refresh token.
const tokenUser = "00000000-0000-0000-0000-000000000000"

const (
	defaultTimeout = 20 * time.Second
	kept           = 1024 // refresh tokens that are remembered
)

// Config is what Credentials need. App, Token, Secret and Clock must be set.
type Config struct {
	// App gives an app by its resource id, as engine.Ref names it.
	App func(ctx context.Context, id string) (containerapp.App, error)
	// Secret gives the value of one of an app's secrets.
	Secret func(ctx context.Context, a containerapp.App, name string) (string, error)
	// Token gives a token of an identity, "system" or a resource id, for a resource,
	// whatever the identity's lifecycle. problem.NotFound says that the app has no
	// such identity. It is asked before each pull, so that taking the identity from
	// the app takes effect at once; it should remember tokens.
	Token func(ctx context.Context, a containerapp.App, identity, resource string) (string, error)
	// Allow, if set, is asked before a token is got for a registry; its error ends the
	// pull.
	Allow func(ctx context.Context, a containerapp.App, identity, server string) error

	Clock clock.Clock
	Log   *slog.Logger
	// Transport sends requests; nil for [NewTransport]. Redirects are not followed.
	Transport http.RoundTripper
	Timeout   time.Duration // of one Credential, in real time; default 20 s
}

// Credentials give the credentials of images. They are safe for concurrent use.
type Credentials struct {
	cfg    Config
	client http.Client
	tokens *lru.Cache[tokenKey, refreshToken]
}

var _ engine.Registry = (*Credentials)(nil)

// New makes credentials.
func New(c Config) *Credentials {
	if c.Transport == nil {
		c.Transport = NewTransport()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	tokens, err := lru.New[tokenKey, refreshToken](kept)
	if err != nil {
		panic(err) // kept is more than nothing
	}
	return &Credentials{cfg: c, tokens: tokens, client: http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Credential implements engine.Registry. Errors are engine.Failures that name the
// registry: engine.ReasonImageAuth when it or the app's settings refuse,
// engine.ReasonImageNetwork when it cannot be asked, engine.ReasonIdentity when
// there is no token for now.
func (c *Credentials) Credential(ctx context.Context, revision engine.Ref, image string) (engine.Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	a, err := c.cfg.App(ctx, revision.App)
	if err != nil {
		return engine.Credential{}, engine.Fail(engine.ReasonOther, problem.Wrap(problem.KindOf(err), "the app of image "+image+" cannot be read", err))
	}
	r, found := find(a, image)
	switch {
	case !found:
		return engine.Credential{}, nil
	case r.Identity != "":
		return c.byIdentity(ctx, a, r, image)
	case r.PasswordSecretRef != "":
		return c.bySecret(ctx, a, r)
	}
	return engine.Credential{}, nil
}

// find gives the registry of an app that an image is of.
func find(a containerapp.App, image string) (containerapp.Registry, bool) {
	if a.Properties.Configuration == nil {
		return containerapp.Registry{}, false
	}
	server := Server(image)
	for _, r := range a.Properties.Configuration.Registries {
		if normal(r.Server) == server {
			return r, true
		}
	}
	return containerapp.Registry{}, false
}

// bySecret gives a user name and password.
func (c *Credentials) bySecret(ctx context.Context, a containerapp.App, r containerapp.Registry) (engine.Credential, error) {
	password, err := c.cfg.Secret(ctx, a, r.PasswordSecretRef)
	if err != nil {
		bad := problem.Wrap(problem.KindOf(err), "registry "+r.Server+": the password in secret "+r.PasswordSecretRef+" of app "+a.Name+" cannot be had", err)
		return engine.Credential{}, engine.Fail(engine.ReasonImageAuth, bad.WithNext(problem.NextOf(err)))
	}
	return engine.Credential{Username: r.Username, Password: password}, nil
}
