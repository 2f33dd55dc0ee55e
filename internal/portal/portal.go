// Package portal owns the web pages of an installation. It is a client of the
// management API, in the same process and with the token of whoever is signed in:
// whatever can be done here can be done by API, and roles decide both. It imports no
// service.
package portal

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/apps"
	"github.com/latchkey/latchkey/internal/portal/assets"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/console"
	"github.com/latchkey/latchkey/internal/portal/containers"
	"github.com/latchkey/latchkey/internal/portal/identities"
	"github.com/latchkey/latchkey/internal/portal/keys"
	"github.com/latchkey/latchkey/internal/portal/keystores"
	"github.com/latchkey/latchkey/internal/portal/link"
	"github.com/latchkey/latchkey/internal/portal/live"
	"github.com/latchkey/latchkey/internal/portal/logs"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/record"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/settings"
	"github.com/latchkey/latchkey/internal/portal/signin"
	"github.com/latchkey/latchkey/internal/portal/text"
	"github.com/latchkey/latchkey/internal/portal/vaults"
	"github.com/latchkey/latchkey/internal/portal/whose"
	"github.com/latchkey/latchkey/internal/state"
)

// Config is what the portal works with; all of it is required but where it is said.
type Config struct {
	API http.Handler // the management API
	// Token makes a token for the management API, good for minutes. Its error is
	// problem.Unauthenticated for a principal that is no longer welcome.
	Token func(ctx context.Context, p session.Principal) (string, error)
	// Vaults is the data plane of vaults, and VaultToken makes tokens for it as Token
	// does; without them there are no pages about secrets.
	Vaults        http.Handler
	VaultToken    func(ctx context.Context, p session.Principal) (string, error)
	VaultPatience time.Duration // how long a page waits for a vault; 0 is the default
	// Streams serves the logs of container apps, at the paths of the addresses that the
	// management API gives; without it there are no pages about them.
	Streams        http.Handler
	Endpoint       string // of the management API, "https://localhost:7443"
	SubscriptionID string
	Store          state.Store // sealed: for sessions and links, which count on every node
	Clock          clock.Clock
	Log            *slog.Logger
	Version        string
	Idle, Absolute time.Duration // of sessions; 0 is the default
	// Provider signs people in besides links; its zero value is none.
	Provider signin.Provider
	// Entered is told of everybody who signs in by a link, and from where; nil is told
	// nothing. It must not wait.
	Entered func(who session.Principal, remote string)
	// Console runs functions; its zero value reaches none.
	Console console.Config
}

// Portal serves the pages. It is safe for concurrent use.
type Portal struct {
	cfg      Config
	mux      *page.Mux
	links    *link.Links
	sessions *session.Sessions
	live     *live.Hub
	logs     *logs.Pages
}

// New makes the portal. Its errors are faults of the program.
func New(cfg Config) (*Portal, error) {
	p := &Portal{
		cfg: cfg, live: live.NewHub(), logs: logs.New(cfg.Streams), links: &link.Links{Store: cfg.Store, Clock: cfg.Clock},
		sessions: session.New(session.Config{Store: cfg.Store, Clock: cfg.Clock, Idle: cfg.Idle, Absolute: cfg.Absolute}),
	}
	site, err := p.site()
	if err != nil {
		return nil, err
	}
	p.mux = page.NewMux(site)
	p.mux.Files(page.Assets, site.Assets)
	return p, p.mount(cfg.Clock)
}

func (p *Portal) site() (*page.Site, error) {
	texts, err := text.Load()
	if err != nil {
		return nil, err
	}
	files, err := assets.Load(page.Assets)
	if err != nil {
		return nil, err
	}
	var vaults http.RoundTripper
	if p.cfg.Vaults != nil {
		vaults = client.Within{Handler: p.cfg.Vaults}
	}
	return page.NewSite(page.Config{
		VaultTransport: vaults, VaultToken: p.cfg.VaultToken, VaultPatience: p.cfg.VaultPatience,
		Text: texts, Assets: files, Sessions: p.sessions, Transport: client.Within{Handler: p.cfg.API}, Token: p.cfg.Token,
		Endpoint: p.cfg.Endpoint, SubscriptionID: p.cfg.SubscriptionID, Version: p.cfg.Version, Clock: p.cfg.Clock, Log: p.cfg.Log,
	})
}

// mount adds all pages.
func (p *Portal) mount(c clock.Clock) error {
	in, err := signin.New(p.links, p.sessions, c)
	if err != nil {
		return err
	}
	if p.cfg.Provider.Issuer != nil {
		in.Offer(p.cfg.Provider)
	}
	in.Tell(p.cfg.Entered)
	in.Mount(p.mux)
	p.live.Mount(p.mux)
	for _, mount := range []func(*page.Mux) error{apps.Mount, keys.Mount, settings.Mount, record.Mount, access.Mount, identities.Mount, vaults.Mount, keystores.Mount, containers.Mount, p.logs.Mount, console.New(p.cfg.Console).Mount, whose.Mount} {
		if err := mount(p.mux); err != nil {
			return err
		}
	}
	return nil
}

// Owns reports whether a path is one of the portal's.
func Owns(path string) bool {
	return path == strings.TrimSuffix(page.Base, "/") || strings.HasPrefix(path, page.Base)
}

// ServeHTTP serves a browser.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path+"/" == page.Base {
		http.Redirect(w, r, page.Base, http.StatusPermanentRedirect)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// Link makes an address by which a principal signs in once, good until the time
// given beside it.
func (p *Portal) Link(ctx context.Context, who session.Principal) (address string, until time.Time, err error) {
	t, until, err := p.links.Make(ctx, who)
	if err != nil {
		return "", until, err
	}
	return p.cfg.Endpoint + page.SignIn + "?link=" + url.QueryEscape(t.Text()), until, nil
}

// Sweep removes sessions that are over from the state. It is for now and then.
func (p *Portal) Sweep(ctx context.Context) error { return p.sessions.Sweep(ctx) }

// Notify says that something has changed, so that pages that are open show what is.
// It does not wait.
func (p *Portal) Notify() { p.live.Notify() }

// Drain ends what browsers listen to, before the server ends.
func (p *Portal) Drain() {
	p.live.Close()
	p.logs.Close()
}
