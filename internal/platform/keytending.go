package platform

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	// tendEvery is how often it is seen which apps' keys are to be looked at, and the
	// first wait after a failure.
	tendEvery = time.Minute
	// lookEvery is how often keys are looked at that nothing was heard of: stores
	// outside of the state do not tell changes made by others.
	lookEvery = time.Hour
	// tendsAtOnce bounds how many apps' stores are asked at a time, tendWithin how
	// long one of them.
	tendsAtOnce = 4
	tendWithin  = time.Minute
)

// keysPrefix is where the keys of apps are that have them in the control plane.
const keysPrefix state.Key = "/keys/"

// tender rotates keys that are due and removes former values that ended long ago, of
// all apps, whether they run or not, on one node at a time.
type tender struct {
	store state.Store
	clock clock.Clock
	log   *slog.Logger
	apps  func(context.Context) ([]app.App, error)
	ring  func(context.Context, app.App) (*keyring.Ring, error)

	mu      sync.Mutex
	all     bool            // any keys may have changed
	changed map[string]bool // places of keys that have

	told string // what was logged last

	plans map[string]tendPlan // by place; for the one who tends
}

// tendPlan is when an app's keys are to be looked at next.
type tendPlan struct {
	at         time.Time
	generation int64 // of the app: with other settings its keys may be elsewhere
	failures   int
	told       string
}

// tendKeys tends until ctx ends.
func (n *Node) tendKeys(ctx context.Context) {
	t := &tender{
		store: n.store, clock: n.cfg.Clock, log: n.log, ring: n.ringOf,
		apps: func(ctx context.Context) ([]app.App, error) {
			list, _, err := n.apps.List(ctx, resource.Root, "", 0)
			return list, err
		},
	}
	t.run(ctx)
}

func (t *tender) run(ctx context.Context) {
	for ctx.Err() == nil {
		lease, err := t.store.Acquire(ctx, "key-tending", time.Minute)
		if err == nil {
			held, cancel := state.Held(ctx, lease)
			t.tendWhile(held)
			cancel()
			_ = lease.Release(context.WithoutCancel(ctx))
			continue
		}
		if ctx.Err() == nil {
			t.tell("which node looks after keys that are due cannot be settled", err)
		}
		_ = clock.Sleep(ctx, clock.Real{}, time.Second) // leases live by the state's clock
	}
}

// tendWhile tends while this node has the lease.
func (t *tender) tendWhile(ctx context.Context) {
	t.plans = map[string]tendPlan{}
	t.mark(nil)
	// What changes is heard of before all keys are looked at: they would be looked at
	// once more otherwise, which takes seconds where there are very many.
	heard := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() { t.follow(ctx, sync.OnceFunc(func() { close(heard) })) })
	defer following.Wait()
	select {
	case <-heard:
	case <-ctx.Done():
		return
	}
	for {
		t.tendOnce(ctx)
		if clock.Sleep(ctx, t.clock, tendEvery) != nil {
			return
		}
	}
}

// follow notes whose keys change, until ctx ends. It calls heard once it hears of
// changes, or knows that it does not.
func (t *tender) follow(ctx context.Context, heard func()) {
	defer heard()
	for ctx.Err() == nil {
		if err := t.followOnce(ctx, heard); err != nil && ctx.Err() == nil {
			t.tell("changes of keys are not heard of; they are looked for each hour", err)
			heard()
		}
		_ = clock.Sleep(ctx, clock.Real{}, time.Second)
	}
}

func (t *tender) followOnce(ctx context.Context, heard func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now, err := t.store.List(ctx, keysPrefix, state.Page{Limit: 1, KeysOnly: true})
	if err != nil {
		return err
	}
	own, err := t.store.Watch(ctx, keysPrefix, now.Revision)
	if err != nil {
		return err
	}
	elsewhere, err := t.store.Watch(ctx, keynotes.RestrictionsPrefix, now.Revision)
	if err != nil {
		return err
	}
	t.mark(nil)
	heard()
	for {
		var e state.Event
		var open bool
		select {
		case e, open = <-own:
		case e, open = <-elsewhere:
		}
		if !open || e.Kind == state.EventResync {
			return nil
		}
		t.mark(&e.Key)
	}
}

// mark notes that the keys changed that a document of the state is about; nil: all
// may have.
func (t *tender) mark(key *state.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if key == nil {
		t.all, t.changed = true, map[string]bool{}
		return
	}
	for _, prefix := range []state.Key{keysPrefix, keynotes.RestrictionsPrefix} {
		if below, ok := strings.CutPrefix(string(*key), string(prefix)); ok {
			place, _, _ := strings.Cut(below, "/")
			t.changed[place] = true
		}
	}
}

// take gives what changed since the last time.
func (t *tender) take() (all bool, changed map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, changed = t.all, t.changed
	t.all, t.changed = false, map[string]bool{}
	return all, changed
}

// tendOnce looks at the keys of the apps that something may be due for.
func (t *tender) tendOnce(ctx context.Context) {
	all, changed := t.take()
	apps, err := t.apps(ctx)
	if err != nil {
		if all {
			t.mark(nil)
		}
		if ctx.Err() == nil {
			t.tell("keys that are due are not looked after: apps cannot be listed", err)
		}
		return
	}
	plans := make(map[string]tendPlan, len(apps))
	var writing sync.Mutex
	var group errgroup.Group
	group.SetLimit(tendsAtOnce)
	for _, a := range apps {
		place := keyPlace(a)
		plan, known := t.plans[place]
		due := !known || all || changed[place] || plan.generation != a.Generation || !t.clock.Now().Before(plan.at)
		if !due {
			writing.Lock()
			plans[place] = plan
			writing.Unlock()
			continue
		}
		group.Go(func() error {
			plan := t.tend(ctx, a, plan)
			writing.Lock()
			defer writing.Unlock()
			plans[place] = plan
			return nil
		})
	}
	_ = group.Wait()
	t.plans = plans
}

// tend looks at the keys of one app and gives when to do so again. After failures
// that is later each time, and each is told once.
func (t *tender) tend(ctx context.Context, a app.App, plan tendPlan) tendPlan {
	within, cancel := context.WithTimeout(ctx, tendWithin)
	defer cancel()
	var done keyring.Tended
	ring, err := t.ring(within, a)
	if err == nil {
		done, err = ring.Tend(within)
	}
	next := tendPlan{at: t.clock.Now().Add(lookEvery), generation: a.Generation}
	switch {
	case ctx.Err() != nil || errors.Is(err, problem.NotFound): // or it was deleted meanwhile
	case err == nil:
		if !done.Next.IsZero() && done.Next.Before(next.at) {
			next.at = done.Next
		}
	default:
		next.failures, next.told = plan.failures+1, err.Error()
		next.at = t.clock.Now().Add(min(tendEvery<<min(plan.failures, 10), lookEvery))
		if next.told != plan.told {
			t.log.Error("keys of an app that are due could not be rotated or removed; this is tried again from time to time",
				"app", a.Name, "reason", err, "next", problem.NextOf(err))
		}
	}
	return next
}

// tell logs what keeps this node from tending, once.
func (t *tender) tell(what string, err error) {
	t.mu.Lock()
	text := what + err.Error()
	news := text != t.told
	t.told = text
	t.mu.Unlock()
	if news {
		t.log.Warn(what, "reason", err)
	}
}
