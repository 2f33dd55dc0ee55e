package blob

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// blindPolls is after how many polls without the permission to list everything
// may have changed.
const blindPolls = 4

// Watch implements [keystore.Watcher] by comparing the states of the app's blobs,
// which one request tells, about every Config.Poll. A service that fails for
// longer than requests are tried again ends it. Without the permission to list,
// every fourth poll stands for a change of everything.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	known, err := s.states(ctx)
	w := &watch{store: s, changed: changed, known: known}
	switch {
	case errors.Is(err, problem.Denied):
		w.blind(err)
	case err != nil:
		return nil, err
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
	known   map[keystore.Doc]azcore.ETag
	denied  bool // known is not to be relied on
	polls   int  // since everything was told to have changed
}

func (w *watch) run(ctx context.Context) {
	cfg := w.store.cfg
	for clock.Sleep(ctx, cfg.Clock, around(cfg.Poll)) == nil {
		if err := w.poll(ctx); err != nil {
			cfg.Log.Warn("changes made by others cannot be looked for", slog.String("store", w.store.String()), slog.String("error", err.Error()))
			return
		}
	}
}

// around gives d or up to a fifth less, so that many instances spread.
func around(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

func (w *watch) poll(ctx context.Context) error {
	now, err := w.store.states(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, problem.Denied):
		w.blind(err)
		if w.polls++; w.polls%blindPolls == 0 {
			w.changed("")
		}
		return nil
	case err != nil:
		return err
	}
	was := w.known
	w.known = now
	if w.denied {
		w.denied, w.polls = false, 0
		w.changed("")
		return nil
	}
	w.tell(ctx, was, now)
	return nil
}

func (w *watch) blind(err error) {
	if w.denied {
		return
	}
	w.denied = true
	w.store.cfg.Log.Warn("without the permission to list, all key documents are read again from time to time",
		slog.String("store", w.store.String()), slog.String("error", err.Error()), slog.String("next", problem.NextOf(err)))
}

// tell names the documents that came, went or changed.
func (w *watch) tell(ctx context.Context, was, now map[keystore.Doc]azcore.ETag) {
	var docs []keystore.Doc
	for doc, etag := range now {
		if was[doc] != etag {
			docs = append(docs, doc)
		}
	}
	for doc := range maps.Keys(was) {
		if _, still := now[doc]; !still {
			docs = append(docs, doc)
		}
	}
	slices.Sort(docs)
	for _, doc := range docs {
		if ctx.Err() != nil {
			return
		}
		w.changed(doc)
	}
}
