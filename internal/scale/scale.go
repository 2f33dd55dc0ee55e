// Package scale owns how many replicas each revision has, on engines that do not
// scale by themselves: it reads what the rules of a revision measure, decides by
// the same arithmetic as the platform, and has the engine follow. How rules are
// written is package rules', the arithmetic is package decide's, queues are asked
// by package queue.
//
// It knows no engine, no ingress and no ARM shapes: what it measures and what it
// changes are functions that it is given.
package scale

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/scale/rules"
)

// Config is what a Scaler needs.
type Config struct {
	// Scale sets the number of replicas of a revision; it is told again after
	// errors, and now and then when nothing changed.
	Scale func(ctx context.Context, revision engine.Ref, replicas int) error
	// HandOver has an engine scale a revision that it runs; nil, ErrByItself or
	// problem.Unsupported leave it to the Scaler. Other errors are tried again.
	HandOver func(ctx context.Context, revision engine.Ref, by *engine.AutoScale) error
	Sources  Sources
	Clock    clock.Clock
	Log      *slog.Logger
	// Engine names the engine in messages about rules that it has not; empty: "docker".
	Engine string
}

// Sources are what rules measure. One that is nil makes the rules that need it
// unreadable, which never makes fewer replicas.
type Sources struct {
	// Load tells what a revision's ingress has to do. It must be cheap.
	Load func(engine.Ref) Load
	// Usage tells what the replicas of a revision have used.
	Usage func(context.Context, engine.Ref) ([]engine.Usage, error)
	// Queue tells about how many messages a storage queue has.
	Queue func(context.Context, Queue) (int64, error)
}

// Load is what the ingress of a revision has to do.
type Load struct {
	InFlight int   // requests, or connections of a tcp ingress, that are worked on or wait
	Total    int64 // how many have come since whenever; only grows
}

// Queue is a storage queue and whose right opens it.
type Queue struct {
	App        string // resource id of the container app
	Rule       string // name of the scale rule, for messages
	Account    string // name of the storage account, with Identity
	Endpoint   string // suffix of the account's host, with Identity; empty: queue.core.windows.net
	Name       string
	Identity   string // "system" or the id of a user-assigned one; empty: Connection
	Connection string // a connection string, a secret
}

// Revision is one that is to be scaled.
type Revision struct {
	engine.Ref
	App      string                // resource id of the container app, whose identities rules may use
	Template containerapp.Template // as it is stored, with its defaults
	Ingress  *containerapp.Ingress // nil: none
	Ready    bool                  // it was ready once; until then it has at least one replica
	Replicas int                   // how many it had when Latchkey ended, with Ready; -1: not known
	// Secret gives the value of a secret of the app for rules' auth.
	Secret func(ctx context.Context, name string) (string, error)
}

// Scaler scales revisions. All methods are safe for concurrent use.
type Scaler struct {
	cfg  Config
	room chan struct{} // bounds how many sources are read at a time

	mu        sync.RWMutex
	revisions map[engine.Ref]*revision
	running   context.Context // of Run; nil before and after
	work      sync.WaitGroup
}

const mostReads = 16

// New makes a Scaler; nothing is scaled before Run.
func New(cfg Config) *Scaler {
	if cfg.Engine == "" {
		cfg.Engine = "docker"
	}
	return &Scaler{cfg: cfg, room: make(chan struct{}, mostReads), revisions: map[engine.Ref]*revision{}}
}

// Set tells of a revision that is to be scaled, or that it has changed: the same
// again, or with another Secret or Ready, goes on from where it was. From then on
// Desired knows it.
func (s *Scaler) Set(r Revision) {
	r.Ref = r.Key()
	list := rules.Parse(r.Template, r.Ingress)
	s.mu.Lock()
	defer s.mu.Unlock()
	if had := s.revisions[r.Ref]; had != nil {
		had.update(r, list)
		return
	}
	made := newRevision(s, r, list)
	s.revisions[r.Ref] = made
	if s.running != nil {
		s.start(made)
	}
}

// Forget ends the scaling of a revision; a call of Scale that is under way may
// still end after it.
func (s *Scaler) Forget(ref engine.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.revisions[ref.Key()]; r != nil {
		r.end()
		delete(s.revisions, ref.Key())
	}
}

// Keep forgets the revisions of an app that keep does not name, as Forget does;
// the app is that of their Ref.
func (s *Scaler) Keep(app string, keep ...engine.Ref) {
	app = engine.Ref{App: app}.Key().App
	wanted := map[engine.Ref]bool{}
	for _, ref := range keep {
		wanted[ref.Key()] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, r := range s.revisions {
		if ref.App == app && !wanted[ref] {
			r.end()
			delete(s.revisions, ref)
		}
	}
}

// Activate tells that somebody waits for a revision while it has no ready
// replica: it gets one at once if it has none, and its cooldown starts anew. It is
// cheap and may be called for every request; a revision that is not known is
// ignored.
func (s *Scaler) Activate(ref engine.Ref) {
	if r := s.find(ref); r != nil {
		r.activate()
	}
}

// Desired gives how many replicas a revision is to have; 0 for one that is not
// known.
func (s *Scaler) Desired(ref engine.Ref) int {
	if r := s.find(ref); r != nil {
		return r.desired()
	}
	return 0
}

// Explain tells why a revision has as many replicas as it has; ok is false for
// one that is not known.
func (s *Scaler) Explain(ref engine.Ref) (e Explanation, ok bool) {
	if r := s.find(ref); r != nil {
		return r.explain(), true
	}
	return Explanation{}, false
}

// Run scales until ctx ends and returns when nothing of it goes on. It is called
// once.
func (s *Scaler) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.running = ctx
	for _, r := range s.revisions {
		s.start(r)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Scaler) find(ref engine.Ref) *revision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revisions[ref.Key()]
}

// start has the goroutines of a revision run; the caller holds mu.
func (s *Scaler) start(r *revision) {
	ctx, cancel := context.WithCancel(s.running)
	r.stop(cancel)
	s.work.Go(func() { r.follow(ctx) })
	s.work.Go(func() { r.watch(ctx) })
}

// Explanation is what a revision's rules say and what follows from it.
type Explanation struct {
	Revision engine.Ref
	Desired  int
	Min, Max int
	Reason   string    // a sentence: why it has as many replicas as it has
	Active   time.Time // when there was work for it last; its cooldown counts from then
	Rules    []Rule
	Error    string // why the engine did not follow; empty: it did
}

// Rule is what one rule says.
type Rule struct {
	Name     string
	Type     string // http, tcp, cpu, memory, azure-queue, cron, or another type of KEDA
	Value    float64
	Target   float64
	Unit     string // of both, such as "messages"
	Replicas int    // how many it asks for, before the limits
	Active   bool   // it keeps the revision from zero
	Read     time.Time
	Error    string // why it could not be read, or is not followed; empty: all is well
}
