// Package kubernetes owns the engine on a Kubernetes cluster: how a revision becomes
// a Deployment and what belongs to it, how that is kept, and how what the cluster
// says of its pods becomes the status of replicas.
//
// It does not run containers: kubelets start them, restart them and ask their probes.
// It touches nothing but the objects it made, and of those only the fields it sets.
// It speaks plain JSON with the API server (see internal/kubeapi): what is written are
// maps with the fields that are meant, what is read are small types of its own.
package kubernetes

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

// Manager is the field manager of all that is applied.
const Manager = "latchkey"

// DefaultResync is how often everything is applied again without an occasion.
const DefaultResync = 5 * time.Minute

// Config says where the cluster is and what replicas get besides their spec.
type Config struct {
	engine.Config
	// Access is the way to the API server; objects are made in its namespace.
	Access kubeapi.Access
	// Transport sends the requests; nil is one of the engine's own. Exec needs nil.
	Transport http.RoundTripper
	// Sidecar is what gives containers an identity endpoint; it is needed with Identity.
	Sidecar Sidecar
	// Network says who may talk to replicas.
	Network Network
	// Capabilities are those that containers keep, such as "CHOWN"; the rest is dropped.
	Capabilities []string
	// Resync is how often everything is applied again, and registries are asked for
	// credentials again; 0 is DefaultResync.
	Resync time.Duration
}

// Sidecar is the container that each replica has before all others. It hands the
// requests for tokens on to Latchkey (see package sidecar and Engine.Handler).
type Sidecar struct {
	Image    string   // has the program
	Command  []string // empty: the image's
	Upstream string   // https address that Engine.Handler is served at
	CA       []byte   // PEM; empty: the system's authorities
}

// Network says who may connect to replicas and where replicas may connect to. The
// replicas of a revision never reach link-local addresses, where clouds give the
// identity of the machine away.
type Network struct {
	// Open makes no NetworkPolicy.
	Open bool
	// Pods are labels of the pods that may connect: those of Latchkey. Namespace is
	// theirs; empty is that of the replicas.
	Pods      map[string]string
	Namespace string
	// From are blocks of addresses that may connect, for a Latchkey outside the cluster.
	From []string
	// To are the blocks of addresses that replicas may connect to besides Pods and
	// name servers; empty is everywhere.
	To []string
}

// Engine is an engine on Kubernetes. All methods are safe for concurrent use.
type Engine struct {
	cfg    Config
	api    *kubeapi.Client
	ns     string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	doors  *doors

	mu        sync.Mutex
	closed    bool
	revisions map[string]*revision // by base name
	seen      *cache
}

var _ engine.Engine = (*Engine)(nil)

// Open makes sure that the API server answers and begins to watch. problem.Unavailable
// with engine.ReasonEngine if it does not, problem.Denied if it may not be asked.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if err := check(&cfg); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, api: kubeapi.New(cfg.Access, cfg.Transport), revisions: map[string]*revision{}, seen: newCache()}
	var err error
	if e.ns, err = e.api.Namespace(); err != nil {
		return nil, err
	}
	e.doors = newDoors(e)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for _, k := range kinds {
		w := &watch{e: e, kind: k}
		if !k.optional {
			if err := w.list(ctx); err != nil {
				e.cancel()
				e.work.Wait()
				return nil, e.fault(err, "list "+k.plural)
			}
		}
		e.work.Go(func() { w.run(e.ctx) })
	}
	return e, nil
}

func check(cfg *Config) error {
	cfg.Resync = cmp.Or(cfg.Resync, DefaultResync)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !kubeapi.IsLabel(cfg.Installation) || len(cfg.Installation) > 63 {
		return problem.New(problem.Invalid, "the name of the installation must be a DNS label")
	}
	if cfg.Identity != nil && (cfg.Sidecar.Image == "" || cfg.Sidecar.Upstream == "") {
		return problem.New(problem.Invalid, "containers with identities need a sidecar's image and the address it asks").
			WithNext("give the image of Latchkey and the address of its service")
	}
	return cfg.Access.Check()
}

// String names the cluster.
func (e *Engine) String() string {
	return "the Kubernetes cluster at " + e.api.Server() + ", namespace " + e.ns
}

// Close stops watching. Replicas go on and are found by the next Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.work.Wait()
	return nil
}

// Place implements engine.Engine. Ports with a Host and folders of a machine are
// problem.Unsupported.
func (e *Engine) Place(_ context.Context, spec engine.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := supported(spec); err != nil {
		return err
	}
	spec.Ref = spec.Key()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return problem.New(problem.Unavailable, "the engine was closed")
	}
	name := e.base(spec.Ref)
	if r := e.revisions[name]; r != nil {
		if r.removing() {
			return problem.New(problem.Conflict, spec.Ref.String()+" is being removed").WithNext("place it again when it is gone")
		}
		r.want(spec)
		return nil
	}
	r := newRevision(e, name, spec)
	e.revisions[name] = r
	e.work.Go(r.keep)
	return nil
}

func (e *Engine) find(ref engine.Ref) (*revision, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.revisions[e.base(ref)]; r != nil {
		return r, nil
	}
	return nil, problem.New(problem.NotFound, ref.String()+" is not placed")
}

// Scale implements engine.Engine. Of a revision that the cluster scales it sets what
// the cluster begins with, see AutoScale.
func (e *Engine) Scale(_ context.Context, ref engine.Ref, replicas int) error {
	if replicas < 0 {
		return problem.New(problem.Invalid, "field 'replicas' must not be negative")
	}
	r, err := e.find(ref)
	if err != nil {
		return err
	}
	r.scale(replicas)
	return nil
}

// changed tells the world that a revision's status changed.
func (e *Engine) changed(ref engine.Ref) {
	if e.cfg.Changed != nil {
		e.cfg.Changed(ref)
	}
}
