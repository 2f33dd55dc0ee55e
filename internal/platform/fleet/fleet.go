// Package fleet owns the apps a node serves: it follows what the control plane
// wants of each, starts an app when it is first asked for, replaces a running
// copy when something changed — the new one serves before the old one ends — and
// says how each is doing. It does not know how apps are stored, where their files
// and keys come from, or what a host name looks like.
package fleet

import (
	"context"
	"log/slog"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
)

// Want is what the control plane wants of an app.
type Want struct {
	Name       string
	UID        string // of this life of the app
	Generation int64  // grows with every change that a running copy must take up
	Release    string // what is deployed; "" is nothing
	Stopped    bool   // callers get the page of a stopped app
}

// Config says where a fleet gets its apps.
type Config struct {
	Store  state.Store
	Prefix state.Key // of the documents that say what is wanted
	// Decode reads such a document; false for one that is no app.
	Decode func(state.Document) (Want, bool, error)
	// Open gets everything a copy of the app needs. end, when not nil, is called
	// after the copy has ended.
	Open func(ctx context.Context, w Want) (cfg hosted.Config, end func(), err error)
	// Eager tells whether an app is to run although nobody asks for it: it has
	// triggers. It is asked for apps that do not run, a few at a time, and again
	// after an error. Nil is for apps that start with the first request only.
	Eager func(ctx context.Context, w Want) (bool, error)
	// OnChange is told of every change of an app's status on this node, one call
	// at a time per app; it must be quick. The last one of an app that was deleted
	// has the state Gone. May be nil.
	OnChange func(Status)

	Clock       clock.Clock
	Log         *slog.Logger
	OpenTimeout time.Duration // for Open; default 60 s
}

// Fleet is the apps of a node. All methods are safe for concurrent use.
type Fleet struct {
	cfg   Config
	slots sync.Map // of lower-cased name → *slot
	ready chan struct{}
	once  sync.Once
	cut   atomic.Pointer[cut]
	eager chan struct{} // of apps that are started unasked, likewise
	turns chan struct{} // of copies that take over, so that not all apps start at once

	ctx  context.Context      // of Run
	work sync.WaitGroup       // runners
	keys map[state.Key]string // of documents → names of apps; only Run's goroutine uses it
	mu   sync.Mutex           // guards open
	open bool                 // Run has begun and not ended
}

type cut struct {
	err   error
	since time.Time
}

// New makes a fleet; Run runs it.
func New(cfg Config) *Fleet {
	if cfg.OpenTimeout == 0 {
		cfg.OpenTimeout = 60 * time.Second
	}
	return &Fleet{cfg: cfg, ready: make(chan struct{}), keys: map[state.Key]string{}, turns: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), eager: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
}

// Run follows the control plane until ctx ends, then stops all apps: requests in
// progress are finished first. It is called once.
func (f *Fleet) Run(ctx context.Context) {
	f.mu.Lock()
	f.ctx, f.open = ctx, true
	f.mu.Unlock()
	state.Follow(ctx, f.cfg.Store, f.cfg.Prefix, f.cfg.Clock, (*follower)(f))
	f.mu.Lock()
	f.open = false
	f.mu.Unlock()
	f.work.Wait()
}

// Ready is closed when what is wanted has been read for the first time.
func (f *Fleet) Ready() <-chan struct{} { return f.ready }

// Cut reports since when, and why, the control plane cannot be read: apps are
// served as they were last wanted. err is nil while it can.
func (f *Fleet) Cut() (since time.Time, err error) {
	if c := f.cut.Load(); c != nil {
		return c.since, c.err
	}
	return time.Time{}, nil
}

// Status is how an app does on this node.
type Status struct {
	Name       string
	State      string    // Idle, Stopped, Empty, Failed, Gone, or a state of its instance
	Errors     []string  // for people; never a secret
	Since      time.Time // when the state began
	Generation int64     // that is being served; 0 for none
	Release    string    // that is being served
	Pending    bool      // a newer generation does not serve yet
}

// States of an app that has no running copy.
const (
	Idle    = "Idle"    // starts with the first request
	Stopped = "Stopped" // somebody stopped it
	Empty   = "Empty"   // nothing is deployed
	Failed  = "Error"   // what is needed to run it could not be had
	Gone    = "Gone"    // it was deleted
)

// Status gives how an app does; false if there is no such app.
func (f *Fleet) Status(name string) (Status, bool) {
	s := f.slot(name)
	if s == nil {
		return Status{}, false
	}
	return s.status(), true
}

// All gives how all apps do, sorted by name.
func (f *Fleet) All() []Status {
	var list []Status
	f.slots.Range(func(_, v any) bool {
		list = append(list, v.(*slot).status())
		return true
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Running gives the app that serves under a name right now; nil if none does.
// What it gives may end at any time.
func (f *Fleet) Running(name string) *hosted.App {
	s := f.slot(name)
	if s == nil {
		return nil
	}
	if c := s.now.Load(); c != nil {
		return c.app
	}
	return nil
}

func (f *Fleet) slot(name string) *slot {
	if v, ok := f.slots.Load(name); ok {
		return v.(*slot)
	}
	if v, ok := f.slots.Load(lower(name)); ok {
		return v.(*slot)
	}
	return nil
}
