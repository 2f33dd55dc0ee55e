// Package release owns what is deployed to apps: packages as zip files, kept once
// per content in the state, and releases, each a package given to an app at a
// moment. It checks packages as strangers' input, unpacks them for running, and
// collects what no release refers to. It deliberately does not know which release
// of an app is active, how functions are read (see [Config].Inspect), or who may
// deploy.
package release

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Status is how far a release has come.
type Status string

const (
	Pending  Status = "Pending"  // reserved, the package is awaited
	Building Status = "Building" // the package is being checked and stored
	Failed   Status = "Failed"   // it came to nothing; the log says why
	Ready    Status = "Ready"    // complete: it can be run on any node
)

// Release is one package given to an app. A release that is Ready never changes
// but for its log and Activation.
type Release struct {
	ID       string // sorts by age; unique within the app
	App      string // as spelled by who deployed
	SHA256   string // of the package, in hex; "" while there is none
	Size     int64  // bytes of the package
	Unpacked int64  // bytes of its files
	Files    int

	Created  time.Time
	Finished time.Time // zero until Ready or Failed

	By       string // who deployed: an object id or the publishing user
	Message  string
	Author   string
	Deployer string

	Status     Status
	Activation string // why a Ready release could not be made the active one; "" otherwise
	Functions  []Function
	Faults     []string // what is wrong with functions; the release is Ready nonetheless
	Log        []Entry
}

// Function is a function of a release as its files describe it.
type Function struct {
	Name      string
	Config    json.RawMessage `json:",omitempty"` // like function.json, with "bindings"
	Language  string
	Disabled  bool
	Route     string // "api/x": path template of the URL, "" without an HTTP trigger
	AuthLevel string // "anonymous", "function", "admin"; "" without an HTTP trigger
	Trigger   string // type of the trigger binding, such as "httpTrigger"
	Methods   []string
}

// Entry is a line of a release's log.
type Entry struct {
	Time  time.Time
	Text  string
	Error bool
}

// Function finds a function by name, ignoring case.
func (r Release) Function(name string) (Function, bool) {
	for _, f := range r.Functions {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Function{}, false
}

// Meta is what who deploys says about it. All of it is text for people.
type Meta struct{ By, Message, Author, Deployer string }

// Limits bounds packages. A zero field takes its default.
type Limits struct {
	Zip      int64         // bytes of the zip; 100 MiB
	Unpacked int64         // bytes of all files together; 300 MiB
	Files    int           // files and folders; 20,000
	Ratio    int64         // bytes unpacked per byte of zip, once more than 16 MiB are unpacked; 200
	Path     int           // bytes of a file's path; 1024
	Depth    int           // folders a file lies in; 64
	Deadline time.Duration // longest a deployment may take; 15 minutes
}

// Config is what [Releases] needs. Store and CacheDir are required.
type Config struct {
	Store state.Store
	// CacheDir is this node's folder for unpacked packages. It is made with mode
	// 0700 when it is missing; nobody else may write in it.
	CacheDir string
	// Node tells the deployments this node began from those of others: what a node
	// left behind is cleared when it starts again under the same name.
	Node   string
	Clock  clock.Clock  // nil: the system clock
	Log    *slog.Logger // nil: discarded
	Limits Limits
	// Inspect reads the functions from an unpacked package. faults are about single
	// functions; the error makes the release fail. nil finds no functions.
	Inspect func(ctx context.Context, dir string) (functions []Function, faults []string, err error)
}

func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Inspect == nil {
		c.Inspect = func(context.Context, string) ([]Function, []string, error) { return nil, nil, nil }
	}
	l := &c.Limits
	l.Zip, l.Unpacked = or(l.Zip, 100<<20), or(l.Unpacked, 300<<20)
	l.Files, l.Ratio = or(l.Files, 20_000), or(l.Ratio, 200)
	l.Path, l.Depth = or(l.Path, 1024), or(l.Depth, 64)
	l.Deadline = or(l.Deadline, 15*time.Minute)
	return c
}

func or[T ~int | ~int64](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// Releases keeps the releases of all apps. It is safe for concurrent use, also by
// several nodes on one store; each has a CacheDir of its own.
type Releases struct {
	cfg Config

	mu       sync.Mutex
	running  map[string]bool          // deployments of this process by app/id
	folders  map[string]chan struct{} // held while a folder is being made
	verified map[string]bool          // folders this process made or checked
	temps    map[string]bool          // what this process has in use besides
}

// New makes the service without touching store or disk. Call [Releases.Collect]
// once at start.
func New(cfg Config) *Releases {
	return &Releases{
		cfg: cfg.withDefaults(), running: map[string]bool{},
		folders: map[string]chan struct{}{}, verified: map[string]bool{}, temps: map[string]bool{},
	}
}

var (
	appName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	releaseID = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}\.[0-9]{3}-[0-9a-f]{8}$`)
)

func checkApp(app string) error {
	if !appName.MatchString(app) {
		return problem.New(problem.Invalid, fmt.Sprintf("%.120q is no name of an app", app))
	}
	return nil
}

func checkID(app, id string) error {
	if err := checkApp(app); err != nil {
		return err
	}
	if !releaseID.MatchString(id) {
		return problem.New(problem.NotFound, fmt.Sprintf("app %s has no release %.60q", app, id))
	}
	return nil
}

// collection gives the releases of an app in the state.
func (r *Releases) collection(app string) state.Collection[Release] {
	return state.Collection[Release]{Store: r.cfg.Store, Prefix: state.Key("/releases/" + strings.ToLower(app) + "/")}
}

// List gives an app's releases, newest first; none for an app that is not known.
func (r *Releases) List(ctx context.Context, app string) ([]Release, error) {
	if err := checkApp(app); err != nil {
		return nil, err
	}
	items, err := r.collection(app).List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Release, len(items))
	for i, item := range items {
		list[len(items)-1-i] = item.Value
	}
	return list, nil
}

// Get gives one release; problem.NotFound if there is none of that id.
func (r *Releases) Get(ctx context.Context, app, id string) (Release, error) {
	item, err := r.item(ctx, app, id)
	return item.Value, err
}

func (r *Releases) item(ctx context.Context, app, id string) (state.Item[Release], error) {
	if err := checkID(app, id); err != nil {
		return state.Item[Release]{}, err
	}
	item, err := r.collection(app).Get(ctx, id)
	if problem.KindOf(err) == problem.NotFound && err != nil {
		return item, problem.New(problem.NotFound, fmt.Sprintf("app %s has no release %q", app, id))
	}
	return item, err
}

// ready gives a release that can be run; problem.Conflict for another.
func (r *Releases) ready(ctx context.Context, app, id string) (Release, error) {
	rel, err := r.Get(ctx, app, id)
	if err == nil && rel.Status != Ready {
		return rel, problem.New(problem.Conflict, fmt.Sprintf("release %s of app %s is %s", id, app, rel.Status)).
			WithNext("choose a release that is Ready")
	}
	return rel, err
}
