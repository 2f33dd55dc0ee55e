// Package hosted owns putting together what serves one app: its instance, the
// gate before its functions, the runtime API, webhooks and the front. Where the
// app's files, settings and keys come from is for those who use it to say; it
// opens no port and no store.
package hosted

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/funchost/adminapi"
	"github.com/latchkey/latchkey/internal/funchost/webhooks"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// Config says what an app is made of. All fields but Requests, Stats and CORS are
// required.
type Config struct {
	Name     string // in logs and metrics
	HostID   string
	Dir      string // the app's folder
	Settings Settings
	// Load reads the folder anew at each (re)start of the app.
	Load        func() (*instance.Model, error)
	Keys        *keyring.Ring
	SecretsPath string // where the keys are, for the runtime API
	TokenKey    string // signs site tokens, besides the keys in the settings; "" for none
	Hostname    string // host:port the worker is told as its own
	// LocalURL is the address under which the worker reaches this host, where Hostname
	// may not be resolved; LocalQuery is what says there which app is meant.
	LocalURL, LocalQuery string

	Environment string // AZURE_FUNCTIONS_ENVIRONMENT of the worker

	CORS            []string // origins of pages that may read answers
	CORSCredentials bool
	Credential      *child.Credential // the user the worker runs as; nil is our own
	Watch           bool              // restart the app when its files change
	Only            []string          // functions that run, of those a worker finds; none is all
	Grace           time.Duration
	Version         string // of this program

	// Leases and Memory are those of the app's triggers.
	Leases trigger.Leases
	Memory trigger.Memory
	// Orchestrations is where those of the app are kept; nil: it has none.
	Orchestrations instances.Store
	// Identities gives what gets tokens for the connections of bindings that have no
	// secret; nil is the identity of this process.
	Identities func(credential.Request) (credential.Token, error)
	// Outbound sends the requests of bindings; nil: they go anywhere.
	Outbound http.RoundTripper
	// MaxBody is the largest request body that the app's settings can allow, in bytes;
	// 0 is no bound.
	MaxBody int64

	Clock    clock.Clock
	Log      *slog.Logger
	Requests *telemetry.RequestLog // nil: requests are not logged
	Stats    *telemetry.AppMetrics
	OnModel  func(*instance.Model) // called whenever a model was loaded; may be nil
	Denied   func(funchost.Denial) // told of callers that were refused; must not block; may be nil
}

// App is one app, ready to run. Its methods are safe for concurrent use.
type App struct {
	cfg      Config
	instance *instance.Instance
	admin    *adminapi.API
	webhooks *webhooks.Registry
	handler  http.Handler
	extras   *extensions
}

// New puts an app together; nothing runs before Run. It returns problem.Invalid
// for a setting that cannot be understood. The caller ends it with Close.
func New(cfg Config) (*App, error) {
	a := &App{cfg: cfg}
	limit, clamped, err := bodyLimit(cfg.Settings, cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	if clamped {
		cfg.Log.Warn("the setting "+bodySetting+" asks for more than the server allows; request bodies are bounded by the server's limit", "limit", limit)
	}
	a.extras = newExtensions(a)
	a.instance = instance.New(instance.Config{
		Root: cfg.Dir, Clock: cfg.Clock, Log: cfg.Log, Watch: cfg.Watch, StopTimeout: cfg.Grace,
		Load: cfg.Load, NewWorker: a.newWorker, Index: a.index, OnRestart: cfg.Stats.WorkerRestarted, OnModel: a.modelSeen,
		Triggers: a.triggers(),
	})
	a.extras.openHub()
	gate := &access.Gate{
		Keys: cfg.Keys, TrustProxy: cfg.Settings.IsTrue("WEBSITE_AUTH_ENABLED"), Isolation: isolation(cfg.Settings),
		Tokens: siteTokens(cfg.Settings, cfg.TokenKey, cfg.Clock),
	}
	a.admin = a.newAdmin(gate)
	a.webhooks = webhooks.New(gate, a.instance)
	front := funchost.New(funchost.Config{
		App: cfg.Name, Instance: a.instance, Gate: gate, Metrics: cfg.Stats, Requests: cfg.Requests, Log: cfg.Log,
		Clock: cfg.Clock, Admin: a.admin, Runtime: a.webhooks,
		HomePage: !cfg.Settings.IsTrue("AzureWebJobsDisableHomepage"), MaxBody: limit, Denied: cfg.Denied,
	})
	if a.handler, err = web.CORS(cfg.CORS, cfg.CORSCredentials, front); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *App) newAdmin(gate *access.Gate) *adminapi.API {
	machine, _ := os.Hostname()
	return adminapi.New(adminapi.Config{
		Gate: gate, Keys: a.cfg.Keys, Instance: a.instance, Log: a.cfg.Log, Clock: a.cfg.Clock,
		HostID: a.cfg.HostID, Version: a.cfg.Version, SecretsPath: a.cfg.SecretsPath,
		Computer: machine, InstanceID: a.cfg.Settings.Get("WEBSITE_INSTANCE_ID"),
		PlainPing: a.cfg.Settings.Get("WEBSITE_FUNCTIONS_HEALTH_PING_ENABLED") == "0",
	})
}

// Run runs the app until ctx ends, then lets requests in progress finish and
// stops the worker. It is called once.
func (a *App) Run(ctx context.Context) {
	var behind sync.WaitGroup
	behind.Go(func() { a.extras.run(ctx) })
	a.instance.Run(ctx)
	behind.Wait()
}

func (a *App) modelSeen(m *instance.Model) {
	a.extras.look(m)
	if a.cfg.OnModel != nil {
		a.cfg.OnModel(m)
	}
}

// Close gives back what New took. It is called after Run has returned, or in its
// place.
func (a *App) Close() { a.admin.Close() }

// ServeHTTP serves a request to the app.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Handler gives the app's front.
func (a *App) Handler() http.Handler { return a.handler }

// Instance gives the running app.
func (a *App) Instance() *instance.Instance { return a.instance }

// Webhooks gives the registry of extensions' webhooks.
func (a *App) Webhooks() *webhooks.Registry { return a.webhooks }
