// Package feed owns that an ingress knows what there is: it is told of container
// apps as they change, and of revisions of which something changed on the engine,
// and tells the ingress, in order. It knows neither requests nor how apps are kept.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/problem"
)

// Config is what a Feed needs.
type Config struct {
	Ingress *ingress.Ingress
	// Domain gives the domain of an app's environment, without a port. It is asked
	// once in each life of an app; problem.NotFound leaves the app out.
	Domain func(ctx context.Context, a containerapp.App) (string, error)
	// Observe tells what the replicas of a revision are doing; problem.NotFound says
	// that there are none, any other error leaves those that were known.
	Observe func(ctx context.Context, ref engine.Ref) (engine.Status, error)
	Clock   clock.Clock
	Log     *slog.Logger
}

// Feed tells an ingress. Its methods but Run do not block and are safe for
// concurrent use; those about one app are to be called in order.
type Feed struct {
	cfg  Config
	wake chan struct{} // buffered by one

	mu      sync.Mutex
	known   map[string]*known // by lower-case id
	changed map[engine.Ref]struct{}
	ended   bool
}

// known is an app.
type known struct {
	app       containerapp.App
	revisions []containerapp.Revision
	domain    string // "" until it was asked for
	told      string // what was last said to be wrong
}

// Times of Run.
const (
	observeTime = 10 * time.Second
	domainTime  = 10 * time.Second
	retryAfter  = time.Second
)

// New makes a feed. Run does what cannot be done at once.
func New(cfg Config) *Feed {
	return &Feed{cfg: cfg, wake: make(chan struct{}, 1), known: map[string]*known{}, changed: map[engine.Ref]struct{}{}}
}

// Seen tells of an app and all its revisions. If the app was known, the ingress
// goes by it when this returns.
func (f *Feed) Seen(a containerapp.App, revisions []containerapp.Revision) {
	key := strings.ToLower(a.ID.String())
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	k := f.known[key]
	if k == nil || k.app.UID != a.UID {
		k = &known{}
		f.known[key] = k
	}
	k.app, k.revisions = a, revisions
	for _, r := range revisions {
		if r.Active {
			f.changed[engine.Ref{App: a.ID.String(), Revision: r.Name}.Key()] = struct{}{}
		}
	}
	if k.domain != "" {
		f.tell(k)
	}
	f.nudge()
}

// Gone tells that an app is no more; app is its id.
func (f *Feed) Gone(app string) {
	key := strings.ToLower(app)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, key)
	f.cfg.Ingress.Forget(key)
}

// Changed tells that something about a revision's replicas changed.
func (f *Feed) Changed(ref engine.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.changed[ref.Key()] = struct{}{}
		f.nudge()
	}
}

func (f *Feed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tell tells the ingress of an app; mu is held.
func (f *Feed) tell(k *known) {
	view, ok, err := View(k.app, k.revisions, k.domain)
	if err != nil && err.Error() != k.told {
		f.cfg.Log.Error("an app's ingress lets nobody in", "app", k.app.ID.String(), "reason", err, "next", problem.NextOf(err))
	}
	k.told = ""
	if err != nil {
		k.told = err.Error()
	}
	if ok {
		f.cfg.Ingress.Put(view)
	} else {
		f.cfg.Ingress.Forget(k.app.ID.String())
	}
}

// Run tells the ingress what it has to ask for first, until ctx ends; then the
// ingress knows of nothing any more.
func (f *Feed) Run(ctx context.Context) {
	defer f.end()
	for ctx.Err() == nil {
		again := f.settleDomains(ctx)
		f.settleReplicas(ctx)
		var retry <-chan time.Time
		stop := func() bool { return true }
		if again {
			t := f.cfg.Clock.NewTimer(retryAfter)
			retry, stop = t.C(), t.Stop
		}
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-retry:
		}
		stop()
	}
}

func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for key := range f.known {
		f.cfg.Ingress.Forget(key)
	}
	clear(f.known)
	clear(f.changed)
}

// settleDomains asks for the domains that are not known; again says that one could
// not be had.
func (f *Feed) settleDomains(ctx context.Context) (again bool) {
	for _, k := range f.withoutDomain() {
		ask, cancel := context.WithTimeout(ctx, domainTime)
		a := f.appOf(k)
		domain, err := f.cfg.Domain(ask, a)
		cancel()
		if err == nil {
			f.named(k, domain)
			continue
		}
		if !errors.Is(err, problem.NotFound) && ctx.Err() == nil {
			again = true
			f.cfg.Log.Warn("the domain of an app cannot be had; it is tried again", "app", a.ID.String(), "reason", err)
		}
	}
	return again
}

func (f *Feed) withoutDomain() (list []*known) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.known {
		if k.domain == "" {
			list = append(list, k)
		}
	}
	return list
}

func (f *Feed) appOf(k *known) containerapp.App {
	f.mu.Lock()
	defer f.mu.Unlock()
	return k.app
}

// named takes the domain of an app, which may have changed or gone meanwhile.
func (f *Feed) named(k *known, domain string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k.domain = domain
	if f.known[strings.ToLower(k.app.ID.String())] == k {
		f.tell(k)
	}
}

// settleReplicas asks for the replicas of revisions that changed.
func (f *Feed) settleReplicas(ctx context.Context) {
	f.mu.Lock()
	changed := f.changed
	f.changed = map[engine.Ref]struct{}{}
	f.mu.Unlock()
	for ref := range changed {
		ask, cancel := context.WithTimeout(ctx, observeTime)
		s, err := f.cfg.Observe(ask, ref)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			f.replicas(ref, s)
		case errors.Is(err, problem.NotFound):
			f.replicas(ref, engine.Status{})
		}
	}
}

// replicas tells the ingress which replicas take requests, unless their app is gone.
func (f *Feed) replicas(ref engine.Ref, s engine.Status) {
	var list []ingress.Replica
	for _, r := range s.Replicas {
		if r.Ready && r.State == engine.ReplicaRunning {
			list = append(list, ingress.Replica{Name: r.Name, Addresses: r.Addresses})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known[ref.App] == nil {
		list = nil
	}
	f.cfg.Ingress.Replicas(ref, list)
}
