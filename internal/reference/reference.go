// Package reference owns the life of references to secrets in the settings of
// apps: it resolves them, keeps the values that were good last, tells how it went
// and makes running copies take up a value that changed. All of it belongs to the
// control plane and does not depend on whether an app runs.
//
// It does not know where secrets are kept and who may read them (see [Source]),
// how references are spelled (package keyref), or how apps are run.
package reference

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Documents is the prefix of the documents of this package: what is known of the
// references of an app, by the app's UID. They hold secrets.
const Documents state.Key = "/references/"

// Query asks for a secret on behalf of an app.
type Query struct {
	App      resource.ID
	Identity identity.Assigned // who reads; never dangling
	Host     string            // of the reference's SecretUri; "" when it names only the vault
	Vault    string
	Secret   string
	Version  string // "" for the newest
}

// Secret is a secret as it was read.
type Secret struct {
	Value   string
	Version string
	Expires time.Time // zero for never
}

// Source reads secrets. It is called concurrently, and must end when ctx does. It
// does not retry: the resolver does. Errors are *Failure, or have a problem kind:
// Denied, Unauthenticated, NotFound and Timeout have their statuses, the rest is
// OtherReasons. Their texts are shown to people and never contain a secret.
type Source interface {
	Fetch(ctx context.Context, q Query) (Secret, error)
}

// Apps are the apps whose references are resolved; *app.Apps are.
type Apps interface {
	Get(ctx context.Context, id resource.ID) (app.App, error)
	Snapshot(ctx context.Context, id resource.ID) (app.Snapshot, error)
	List(ctx context.Context, scope resource.ID, after state.Key, limit int) ([]app.App, state.Key, error)
}

var _ Apps = (*app.Apps)(nil)

// Backoff says when a reference that failed is tried again: after First, then
// twice as long each time up to Most. Each wait is shortened by a random part of
// up to half.
type Backoff struct{ First, Most time.Duration }

// Config is what a Resolver needs. Zero values of durations and limits stand for
// their defaults.
type Config struct {
	Store  state.Store
	Clock  clock.Clock
	Log    *slog.Logger
	Apps   Apps
	Source Source
	// Type is the type of the resources that are apps, Decode reads one. The defaults
	// are app.SiteType and app.FromResource.
	Type   string
	Decode func(inventory.Resource) (app.App, error)
	// Reader names the identity that reads one reference, as ReferenceIdentity does
	// for all of an app, which is the default. Whatever it depends on must be in the
	// ReferenceIdentity or the setting's value too, so that changes are seen.
	Reader func(a app.Snapshot, section app.Section, setting string) string
	// Identify gives the identity that reads an app's references: the app's own, or
	// the one its ReferenceIdentity names, which is what Reader gave. problem.NotFound says that the app has no
	// such identity.
	Identify func(ctx context.Context, a app.Snapshot) (identity.Assigned, error)
	// Touch makes running copies of an app start anew, with overlap, by raising the
	// app's generation; it gives the app as it is then. It is called for an app that
	// is to run, when a value changed that its copies may have.
	Touch func(ctx context.Context, a app.App) (app.App, error)
	// OnChange, if set, is told of changes after they are stored, each on one node
	// only. It must not block.
	OnChange func(Event)

	// Interval is the time between fetches of a reference without a version; each is
	// shortened by up to a fifth. The default is 5 min; the platform's is 24 h.
	Interval time.Duration
	Timeout  time.Duration // of one fetch, in real time; default 10 s
	Opening  time.Duration // how long Values waits for fetches, in real time; default 10 s
	Settle   time.Duration // how long changes of an app are collected before Touch; default 200 ms
	Backoff  Backoff       // default 5 s, 5 min
	// Parallel bounds fetches at the same time, PerVault those from one vault;
	// defaults are 32 and 8. Copies that wait for values have as many besides.
	Parallel, PerVault int
	Lease              string // name of the lease for refreshing, default "references"

	// Refuse makes Values fail when a reference has no value, instead of giving the
	// literal text.
	Refuse bool
	// StoppedTokenExpiry reproduces a fault of Azure: references of an app that has
	// been stopped for longer than TokenLife (default 24 h) are denied, and their
	// last values are dropped, until the app is started.
	StoppedTokenExpiry bool
	TokenLife          time.Duration
}

// Resolver resolves the references of all apps. It is safe for concurrent use,
// and may run on several nodes with one state: one of them, which holds the
// lease, refreshes; each resolves what its copies need to open.
type Resolver struct {
	cfg      Config
	store    state.Store
	counts   counts
	behind   *lane // fetches in the background
	front    *lane // fetches that somebody waits for
	loading  chan struct{}
	mu       sync.Mutex
	gates    map[string]*gate // by UID, of apps that are being worked on
	schedule *schedule        // nil on nodes without the lease
}

// New makes a resolver.
func New(c Config) *Resolver {
	setDefault(&c.Interval, 5*time.Minute)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.Opening, 10*time.Second)
	setDefault(&c.Settle, 200*time.Millisecond)
	setDefault(&c.Backoff.First, 5*time.Second)
	setDefault(&c.Backoff.Most, 5*time.Minute)
	setDefault(&c.TokenLife, 24*time.Hour)
	setDefault(&c.Parallel, 32)
	setDefault(&c.PerVault, 8)
	setDefault(&c.Lease, "references")
	setDefault(&c.Type, app.SiteType)
	if c.Decode == nil {
		c.Decode = app.FromResource
	}
	if c.Reader == nil {
		c.Reader = func(a app.Snapshot, _ app.Section, _ string) string { return a.ReferenceIdentity }
	}
	if c.OnChange == nil {
		c.OnChange = func(Event) {}
	}
	r := &Resolver{cfg: c, store: c.Store, loading: make(chan struct{}, loads), gates: map[string]*gate{}}
	r.behind, r.front = r.newLane(), r.newLane()
	return r
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (r *Resolver) now() time.Time { return r.cfg.Clock.Now().UTC() }
