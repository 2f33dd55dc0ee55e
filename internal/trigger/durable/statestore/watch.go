package statestore

import (
	"context"
	"encoding/hex"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

var _ instances.Watcher = (*Store)(nil)

// Watch implements [instances.Watcher].
func (s *Store) Watch(ctx context.Context, changed func(*instances.Instance)) {
	state.Follow(ctx, keysOnly{s.docs}, s.prefix, clock.Real{}, &watch{s, changed})
}

// keysOnly lists documents without reading them: who watches knows how to list.
type keysOnly struct{ state.Store }

func (k keysOnly) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	page.KeysOnly = true
	return k.Store.List(ctx, prefix, page)
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	store   *Store
	changed func(*instances.Instance)
}

// Reset implements [state.Follower].
func (w *watch) Reset([]state.Document) { w.changed(nil) }

// Apply implements [state.Follower].
func (w *watch) Apply(e state.Event) {
	id, err := hex.DecodeString(string(e.Key[len(w.store.prefix):]))
	if err != nil {
		return
	}
	if e.Value == nil {
		w.store.ledger.remove(e.Key, e.Revision)
	} else {
		w.store.ledger.put(e.Key, entryOf(e.Document))
	}
	i, err := instances.Decode(e.Value)
	if err != nil { // deleted, or damaged: who looks at it says so
		i = &instances.Instance{ID: string(id)}
	}
	w.changed(i)
}

// Cut implements [state.Follower]: Reset follows.
func (w *watch) Cut(error) {}
