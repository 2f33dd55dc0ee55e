package keyring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// readsAtOnce bounds how many documents Ensure asks a store for at a time.
const readsAtOnce = 16

// Ring is one app's keys in use. All methods are safe for concurrent use.
type Ring struct {
	cfg     Config
	hasher  *hasher
	limiter *Limiter
	born    time.Time
	snap    atomic.Pointer[snapshot]
	home    *Scope // the host document

	hashOnly atomic.Bool // see Config.HashOnly

	life  context.Context // ends with Close; reads that outlive their caller end with it
	end   context.CancelFunc
	tasks sync.WaitGroup
	nudge chan struct{} // buffered by one: the loop has something to look at

	mu         sync.Mutex
	closed     bool
	started    bool
	watching   bool // changes by others are being reported
	watchFault error
	scopes     []*Scope // by index; the host's is first
	byDoc      map[keystore.Doc]*Scope
	pending    map[*Scope]bool // to be read again because others changed them
	health     Health
	ahead      ahead

	functions functions

	flushing sync.Mutex                      // held while uses are handed over or summed up
	recalled atomic.Pointer[map[KeyRef]Used] // quotas as they were kept at the start
}

// New makes a ring without touching the store; [Ring.Open] or [Ring.Start]
// reads the keys. A ring is done with by calling [Ring.Close].
// It returns problem.Invalid for a Config without a Store.
func New(cfg Config) (*Ring, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Ring{
		cfg: cfg, hasher: newHasher(), born: cfg.Clock.Now(), nudge: make(chan struct{}, 1),
		byDoc: map[keystore.Doc]*Scope{}, pending: map[*Scope]bool{},
		limiter: NewLimiter(cfg.Clock, Budget{Burst: cfg.Limits.Burst, PerSecond: cfg.Limits.PerSecond}, cfg.Limits.Sources),
	}
	r.hashOnly.Store(cfg.HashOnly)
	r.functions.nudge, r.functions.left = make(chan struct{}, 1), map[keystore.Doc]bool{}
	r.life, r.end = context.WithCancel(context.Background())
	r.home = r.addScope(keystore.HostDoc, "")
	r.health = r.diagnose()
	r.health.Since = r.born
	r.snap.Store(assemble(r.scopes))
	return r, nil
}

// Open reads the host keys, creating them where there are none and the store
// can be written. An error says why they cannot be read now; the ring then
// answers Unavailable and asks the store again when the keys are needed (or, if
// started, by itself).
func (r *Ring) Open(ctx context.Context) error { return r.obtain(ctx, r.home) }

// Start does what Open does and from then on follows changes made by others,
// where the store can report them, and retries failed reads, until Close. Both
// go on even if Start returns an error, which is the one Open would return.
// Starting twice is an error of kind problem.Conflict.
func (r *Ring) Start(ctx context.Context) error {
	r.mu.Lock()
	if r.started || r.closed {
		r.mu.Unlock()
		return problem.New(problem.Conflict, "the keyring was started or closed before")
	}
	r.started = true
	r.mu.Unlock()
	r.startWatching()
	r.recall(ctx)
	r.readAhead(ctx)
	err := r.Open(ctx)
	r.spawn(r.follow)
	if r.cfg.Usage != nil {
		r.spawn(r.keepUsage)
	}
	if r.tendsFunctions() {
		r.spawn(r.keepFunctions)
	}
	return err
}

// Ensure reads the keys of functions, creating a default key for each function
// that has none where the store can be written. Names that have been read are
// not read again. It returns the errors of all functions joined; the others are
// in force nonetheless.
func (r *Ring) Ensure(ctx context.Context, functions []string) error {
	if r.worthwhile(functions) {
		r.readAhead(ctx)
	}
	errs := make([]error, len(functions))
	var group errgroup.Group
	group.SetLimit(readsAtOnce)
	for i, name := range functions {
		s := r.Function(name)
		if s == nil {
			errs[i] = errFunctionName(name)
			continue
		}
		group.Go(func() error {
			errs[i] = r.obtain(ctx, s)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// Close ends everything the ring does in the background and waits for it.
// Decisions go on being made from the keys held. Closing twice does nothing.
func (r *Ring) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.tasks.Wait()
}

// spawn runs work in the background; false once the ring is closed.
func (r *Ring) spawn(work func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.tasks.Go(work)
	return true
}

// publish puts the present keys in force. Callers hold mu.
func (r *Ring) publish() { r.snap.Store(assemble(r.scopes)) }
