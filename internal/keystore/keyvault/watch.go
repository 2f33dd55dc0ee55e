package keyvault

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
)

// blindPolls is after how many polls everything may have changed where there is no
// permission to list.
const blindPolls = 4

// Watch implements [keystore.Watcher] with one list of the vault about every
// Config.Poll. As vaults note times in whole seconds, and a second write within
// one would not show, what changed is told once more at the next poll. A vault that
// fails for longer than requests are tried again ends the watch. With
// Config.GetOnly, every fourth poll stands for a change of everything and asks
// nobody.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	w := &watch{store: s, changed: changed}
	if !s.cfg.GetOnly {
		inv, err := s.lists.get(ctx)
		if err != nil {
			return nil, err
		}
		w.known = states(inv)
		s.begun.Store(&baseline{inv, s.cfg.Clock.Now()})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	return done, nil
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	store   *Store
	changed func(keystore.Doc)
	known   map[keystore.Doc]string
	again   map[keystore.Doc]bool // told last time
	polls   int
}

func (w *watch) run(ctx context.Context) {
	cfg := w.store.cfg
	for clock.Sleep(ctx, cfg.Clock, around(cfg.Poll)) == nil {
		if cfg.GetOnly {
			if w.polls++; w.polls%blindPolls == 0 {
				w.changed("")
			}
			continue
		}
		inv, err := w.store.lists.get(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			cfg.Log.Warn("changes made by others cannot be looked for", slog.String("store", w.store.String()), slog.String("error", err.Error()))
			return
		}
		w.tell(ctx, states(inv))
	}
}

// around gives d or up to a fifth less, so that many instances spread.
func around(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

func states(inv inventory) map[keystore.Doc]string {
	states := make(map[keystore.Doc]string, len(inv.docs))
	for doc, list := range inv.docs {
		states[doc] = state(list)
	}
	return states
}

// tell names the documents that came, went or changed, and those of the time
// before.
func (w *watch) tell(ctx context.Context, now map[keystore.Doc]string) {
	was, again := w.known, w.again
	w.known, w.again = now, map[keystore.Doc]bool{}
	for doc, state := range now {
		if was[doc] != state {
			w.again[doc] = true
		}
	}
	for doc := range was {
		if now[doc] == "" {
			w.again[doc] = true
		}
	}
	docs := map[keystore.Doc]bool{}
	maps.Copy(docs, w.again)
	maps.Copy(docs, again)
	for _, doc := range slices.Sorted(maps.Keys(docs)) {
		if ctx.Err() != nil {
			return
		}
		w.changed(doc)
	}
}
