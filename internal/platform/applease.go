package platform

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger"
)

// triggerLease is how long a node that was cut off keeps others from listening.
const triggerLease = 60 * time.Second

// triggerLeases are the [trigger.Leases] of one copy of an app, over all nodes. All
// that it holds are one lease of the state, which costs as much to keep as that of
// one timer: the copy that has it listens for everything.
type triggerLeases struct {
	store state.Store
	name  string
	local trigger.LocalLeases // names within the copy

	mu   sync.Mutex
	turn chan struct{} // has one element while nobody acquires the lease of the state
	held state.Lease   // nil when no name is held
	uses int
}

var _ trigger.Leases = (*triggerLeases)(nil)

func newTriggerLeases(store state.Store, a app.App) *triggerLeases {
	l := &triggerLeases{store: store, name: "trigger-" + a.UID, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// Acquire implements [trigger.Leases].
func (l *triggerLeases) Acquire(ctx context.Context, name string) (trigger.Lease, error) {
	own, err := l.local.Acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	shared, err := l.join(ctx)
	if err != nil {
		_ = own.Release(context.WithoutCancel(ctx))
		return nil, err
	}
	return &appLease{own: own, shared: shared, leave: sync.OnceValue(func() state.Lease { return l.leave(shared) })}, nil
}

// join gives the lease of the state, once this copy has it.
func (l *triggerLeases) join(ctx context.Context) (state.Lease, error) {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { l.turn <- struct{}{} }()
	shared, stale := l.use()
	if shared != nil {
		return shared, nil
	}
	if stale != nil { // else we might wait for ourselves
		_ = stale.Release(ctx)
	}
	shared, err := l.store.Acquire(ctx, l.name, triggerLease)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.uses = shared, 1
	return shared, nil
}

// use counts one more user of the lease that is held; shared is nil when none is,
// stale is one that nobody can rely on any more.
func (l *triggerLeases) use() (shared, stale state.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		return nil, nil
	}
	if !trigger.Held(l.held) {
		stale, l.held = l.held, nil
		return nil, stale
	}
	l.uses++
	return l.held, nil
}

// leave counts one user less of a lease, and gives the lease if it was the last.
func (l *triggerLeases) leave(shared state.Lease) state.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != shared {
		return nil // it was lost
	}
	if l.uses--; l.uses > 0 {
		return nil
	}
	l.held = nil
	return shared
}

// appLease is the lease of one name.
type appLease struct {
	own    trigger.Lease
	shared state.Lease
	leave  func() state.Lease
}

// Lost implements [trigger.Lease].
func (l *appLease) Lost() <-chan struct{} { return l.shared.Lost() }

// Held implements [trigger.Assured].
func (l *appLease) Held() bool { return trigger.Held(l.shared) }

// Release implements [trigger.Lease].
func (l *appLease) Release(ctx context.Context) error {
	err := l.own.Release(ctx)
	if last := l.leave(); last != nil {
		return last.Release(ctx)
	}
	return err
}
