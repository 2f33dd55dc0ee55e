package vault

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// view is what this node knows of all vaults.
type view struct {
	byName atomic.Pointer[sync.Map] // *Vault by name in lower case; nil before the first reading

	mu       sync.Mutex
	change   chan struct{} // closed and replaced when anything below changed
	running  bool
	seen     state.Revision // of the last change that byName has
	resets   int
	cutSince time.Time
	cutBy    error
}

// Run follows the state until ctx ends. Call it once.
func (vs *Vaults) Run(ctx context.Context) {
	vs.known.update(func(w *view) { w.running = true })
	defer vs.known.update(func(w *view) { w.running = false })
	state.Follow(ctx, vs.store, inventory.TypePrefix(Type), vs.clock, follower{vs})
}

// Ready waits until the vaults have been read once; the error is ctx's.
func (vs *Vaults) Ready(ctx context.Context) error {
	return vs.known.await(ctx, func(w *view) bool { return w.byName.Load() != nil })
}

// Health says since when the vaults known may be old because the state cannot be
// read, and why; the zero time when they are up to date.
func (vs *Vaults) Health() (since time.Time, err error) {
	vs.known.mu.Lock()
	defer vs.known.mu.Unlock()
	return vs.known.cutSince, vs.known.cutBy
}

// ByName gives a vault by its name, whatever the case, from memory and without
// locks. While the state cannot be read, what was last known is given. Errors:
// problem.NotFound with VaultNotFound, problem.Unavailable before the first
// reading.
func (vs *Vaults) ByName(name string) (Vault, error) {
	all := vs.known.byName.Load()
	if all == nil {
		return Vault{}, problem.New(problem.Unavailable, "vaults have not been read from the state yet").WithNext("try again in a moment")
	}
	found, ok := all.Load(strings.ToLower(name))
	if !ok {
		return Vault{}, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no vault %q", clip(name)), VaultNotFound)
	}
	return *found.(*Vault), nil
}

// has reports whether a life of a vault is known.
func (w *view) has(v Vault) bool {
	all := w.byName.Load()
	if all == nil {
		return false
	}
	found, ok := all.Load(v.key())
	return ok && found.(*Vault).UID == v.UID
}

func (w *view) resetCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resets
}

// update changes the view and wakes those who await something.
func (w *view) update(change func(*view)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
	close(w.change)
	w.change = make(chan struct{})
}

// await waits until done says so, which is asked under the lock.
func (w *view) await(ctx context.Context, done func(*view) bool) error {
	for {
		w.mu.Lock()
		change, ok := w.change, done(w)
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until the view shows a write that has happened, so that who wrote it
// sees it. It does not wait where nobody follows the state or the state cannot be
// read: the write is durable, and the view comes by itself.
func (w *view) settle(ctx context.Context, shown func(*view) bool) {
	_ = w.await(ctx, func(w *view) bool { return !w.running || w.cutBy != nil || shown(w) })
}

// follower takes the documents of vaults.
type follower struct{ *Vaults }

// Reset replaces everything known.
func (f follower) Reset(docs []state.Document) {
	all, seen := &sync.Map{}, state.Revision(0)
	for _, doc := range docs {
		if v := f.decode(doc); v != nil {
			all.Store(v.key(), v)
		}
		seen = max(seen, doc.Revision)
	}
	f.known.byName.Store(all)
	f.known.update(func(w *view) {
		w.seen, w.resets = max(w.seen, seen), w.resets+1
		w.cutSince, w.cutBy = time.Time{}, nil
	})
}

// Apply takes one change.
func (f follower) Apply(e state.Event) {
	all := f.known.byName.Load()
	name := string(e.Key[strings.LastIndexByte(string(e.Key), '/')+1:])
	if id, err := resource.Parse("/" + strings.TrimPrefix(string(e.Key), string(inventory.TypePrefix(Type)))); err == nil && strings.EqualFold(id.Type(), Type) {
		var v *Vault
		if e.Kind == state.EventPut {
			v = f.decode(e.Document)
		}
		if v != nil {
			all.Store(name, v)
		} else if had, ok := all.Load(name); ok && had.(*Vault).ID.Equal(id) {
			all.Delete(name)
		}
	}
	f.known.update(func(w *view) { w.seen = max(w.seen, e.Revision) })
}

// Cut notes that what is known may be old.
func (f follower) Cut(err error) {
	f.known.update(func(w *view) {
		if w.cutBy == nil {
			w.cutSince = f.clock.Now()
			f.log.Warn("vaults cannot be read; the last known ones keep serving", "error", err)
		}
		w.cutBy = err
	})
}

// decode gives nil for what is no vault or cannot be understood: nobody gets in
// then, since nobody can tell who may.
func (f follower) decode(doc state.Document) *Vault {
	r, err := inventory.Decode(doc)
	if err == nil && !strings.EqualFold(r.ResourceID().Type(), Type) {
		return nil // it lies in a vault
	}
	var v Vault
	if err == nil {
		v, err = FromResource(r)
	}
	if err != nil {
		f.log.Error("a vault is left out of account", "key", string(doc.Key), "kind", problem.KindOf(err).Error(), "error", err)
		return nil
	}
	return &v
}
