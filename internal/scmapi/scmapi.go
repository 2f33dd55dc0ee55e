// Package scmapi owns the deployment endpoints that every app has under a host
// name of its own: taking zips, telling how deployments went, the app's log as it is written, and who may
// deploy and read it, with the publishing password or a token of the management API. Clients expect
// the routes and answers of Kudu. It does not know how packages are kept, what
// an app does, or whether it runs: a stopped app is deployed to like any other.
package scmapi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/places"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/resource"
)

// PublishAction is what callers with a token must be allowed at the site.
const PublishAction = "Microsoft.Web/sites/publish/Action"

// Site is what this package needs to know of an app.
type Site struct {
	ID       resource.ID
	Name     string // as spelled when it was created
	UID      string // of this life of the app
	Release  string // the active one; "" before the first deployment
	Settings map[string]string
	// Password is that of the publishing user, "$" and the app's name. Passwords
	// count only with BasicAuth, and "" is none.
	Password  string
	BasicAuth bool
}

// Sites finds apps.
type Sites interface {
	// Site finds an app by name, ignoring case; problem.NotFound if there is none.
	Site(ctx context.Context, name string) (Site, error)
}

// Authorizer decides what callers may do.
type Authorizer interface {
	Allow(ctx context.Context, r authz.Request) (authz.Decision, error)
}

// Deployer takes packages; see [release.Deployer].
type Deployer interface {
	Deploy(ctx context.Context, app string, zip io.Reader, meta release.Meta) (release.Release, error)
	DeployLater(ctx context.Context, app string, zip io.Reader, meta release.Meta) (release.Release, error)
	Activate(ctx context.Context, app, id, by string) (release.Release, error)
}

// Releases reads releases; see [release.Releases].
type Releases interface {
	List(ctx context.Context, app string) ([]release.Release, error)
	Get(ctx context.Context, app, id string) (release.Release, error)
	Deploying(ctx context.Context, app string) (id string, err error)
}

// Config is what an API works with. All without a remark is required.
type Config struct {
	Domain   string // hosts are "{app}.scm.{domain}"
	Sites    Sites
	Deployer Deployer
	Releases Releases
	// Authenticate tells who sends a request by its bearer token. Its errors are
	// answered 401.
	Authenticate func(ctx context.Context, r *http.Request) (principal string, groups []string, err error)
	Authorize    Authorizer
	// Logs gives the log of an app on this node; without it there are no log streams.
	Logs func(Site) *applog.Log
	// Where says which node's lines those are, a sentence; nil or "" says nothing.
	Where func(context.Context, Site) string
	// Audit records who deployed, read logs or was refused; nil records nothing.
	Audit func(ctx context.Context, e AuditEntry)
	// Source gives the address that wrong passwords are counted by; nil takes that
	// of the connection.
	Source  func(*http.Request) netip.Addr
	Wrong   keyring.Budget // wrong passwords of a source; zero: 20, then 1 per second
	Receive time.Duration  // longest a request's body may take; zero: 15 minutes
	Clock   clock.Clock    // nil: the system clock
	Log     *slog.Logger   // nil: discarded
}

// AuditEntry is what is recorded of a call.
type AuditEntry struct {
	Method string
	Path   string
	App    string
	Site   resource.ID
	Caller string // object id, or the publishing user; "" if it is not known
	Remote string
	Status int
	Denied string // why the call was refused; "" if it was not
	Reads  bool   // it read a log, and changed nothing
}

// API serves the endpoints. It is safe for concurrent use.
type API struct {
	cfg     Config
	limiter *keyring.Limiter
	cross   *http.CrossOriginProtection

	streams places.Places // of logs
}

// New makes an API.
func New(cfg Config) *API {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Audit == nil {
		cfg.Audit = func(context.Context, AuditEntry) {}
	}
	if cfg.Source == nil {
		cfg.Source = connection
	}
	if cfg.Wrong.Burst < 1 || cfg.Wrong.PerSecond < 1 {
		cfg.Wrong = keyring.Budget{Burst: 20, PerSecond: 1}
	}
	if cfg.Receive <= 0 {
		cfg.Receive = 15 * time.Minute
	}
	return &API{
		cfg: cfg, cross: http.NewCrossOriginProtection(), streams: places.Places{All: maxStreams, Each: maxEach},
		limiter: keyring.NewLimiter(cfg.Clock, cfg.Wrong, 10_000),
	}
}

func connection(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address is a source like any other
	return at.Addr()
}

// AppOf gives the app that a host name of this kind belongs to. host may have a
// port.
func AppOf(host, domain string) (app string, ok bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	app, ok = strings.CutSuffix(host, ".scm."+strings.ToLower(domain))
	return app, ok && app != "" && !strings.Contains(app, ".")
}
