package memory

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/latchkey/latchkey/internal/keystore"
)

// watcher collects the names of changed documents until its goroutine hands
// them on; a slow receiver costs memory for names only, once each.
type watcher struct {
	mu      sync.Mutex
	pending map[keystore.Doc]struct{}
	wake    chan struct{} // buffered by one
}

// Watch implements [keystore.Watcher].
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	w := &watcher{pending: map[keystore.Doc]struct{}{}, wake: make(chan struct{}, 1)}
	s.place.join(w)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.place.leave(w)
		w.run(ctx, changed)
	}()
	return done, nil
}

func (w *watcher) run(ctx context.Context, changed func(keystore.Doc)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		for _, doc := range w.take() {
			if ctx.Err() != nil {
				return
			}
			changed(doc)
		}
	}
}

func (w *watcher) take() []keystore.Doc {
	w.mu.Lock()
	defer w.mu.Unlock()
	docs := slices.Sorted(maps.Keys(w.pending))
	clear(w.pending)
	return docs
}

func (w *watcher) add(doc keystore.Doc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending[doc] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (p *place) join(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[w] = struct{}{}
}

func (p *place) leave(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watchers, w)
}

// announce tells every watcher. Callers hold mu.
func (p *place) announce(doc keystore.Doc) {
	for w := range p.watchers {
		w.add(doc)
	}
}
