package controlplane

import (
	"context"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/state"
)

// Watch implements [keystore.Watcher]. After changes were lost, or the state could
// not be reached for a while, it reports that any document may have changed.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if err := s.check(ctx, keystore.HostDoc); err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancel(ctx)
	w := &watch{store: s, ctx: inner, changed: changed, began: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		state.Follow(inner, keysOnly{s.state}, s.prefix, clock.Real{}, w)
	}()
	var err error
	select {
	case err = <-w.began:
	case <-ctx.Done():
		err = keystore.Alive(ctx)
	}
	if err != nil {
		cancel()
		<-done
		return nil, s.fault(err)
	}
	return done, nil
}

// keysOnly lists documents without reading them: a damaged one must not keep
// others from being watched.
type keysOnly struct{ state.Store }

func (k keysOnly) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	page.KeysOnly = true
	return k.Store.List(ctx, prefix, page)
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	store   *Store
	ctx     context.Context
	changed func(keystore.Doc)
	begun   bool
	began   chan error // gets how the beginning went, once
}

var _ state.Follower = (*watch)(nil)

// Reset implements [state.Follower].
func (w *watch) Reset([]state.Document) {
	if !w.begun {
		w.begun = true
		w.began <- nil
		return
	}
	w.tell("")
}

// Apply implements [state.Follower].
func (w *watch) Apply(e state.Event) {
	if doc, ok := w.store.docOf(e.Key); ok {
		w.tell(doc)
	}
}

// Cut implements [state.Follower]. Later Reset says what is to be said.
func (w *watch) Cut(err error) {
	if !w.begun {
		w.begun = true
		w.began <- err
	}
}

func (w *watch) tell(doc keystore.Doc) {
	if w.ctx.Err() == nil {
		w.changed(doc)
	}
}
