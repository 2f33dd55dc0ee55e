package secrets

import (
	"context"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
)

// Change is news of a secret: it was set, updated, deleted, recovered or restored.
type Change struct {
	VaultUID string
	Secret   string // name in lower case
	Resync   bool   // changes may have been missed: take everything for changed
}

// Waits between attempts to follow a state that cannot be read.
const (
	firstWait = 50 * time.Millisecond
	mostWait  = 2 * time.Second
)

// Changes gives news of all secrets from when it is called, in order, until ctx
// ends; then the channel is closed. While the state cannot be read there is none,
// and a Resync follows. Purging is no news: a deleted secret could not be read
// before. Who reads slowly misses nothing, but may get a Resync instead.
func (s *Store) Changes(ctx context.Context) <-chan Change {
	out := make(chan Change)
	events, err := s.watch(ctx)
	go func() {
		defer close(out)
		s.follow(ctx, out, events, err)
	}()
	return out
}

func (s *Store) follow(ctx context.Context, out chan<- Change, events <-chan state.Event, err error) {
	for wait := firstWait; ; {
		lost := false
		if err == nil {
			lost = pass(ctx, events, out)
			wait = firstWait
		}
		if !lost && clock.Sleep(ctx, s.Clock, wait) != nil || ctx.Err() != nil {
			return
		}
		wait = min(2*wait, mostWait)
		if events, err = s.watch(ctx); err == nil && !send(ctx, out, Change{Resync: true}) {
			return
		}
	}
}

// watch follows the state from now on.
func (s *Store) watch(ctx context.Context) (<-chan state.Event, error) {
	now, err := s.State.List(ctx, root, state.Page{Limit: 1, KeysOnly: true})
	if err != nil {
		return nil, err
	}
	return s.State.Watch(ctx, root, now.Revision)
}

// pass hands on events until there are no more; lost tells that the store has
// more and could not give them one by one.
func pass(ctx context.Context, events <-chan state.Event, out chan<- Change) (lost bool) {
	for e := range events {
		if e.Kind == state.EventResync {
			return true
		}
		uid, rest, _ := strings.Cut(strings.TrimPrefix(string(e.Key), string(root)), "/")
		if name, ok := strings.CutPrefix("/"+rest, heads); ok && !send(ctx, out, Change{VaultUID: uid, Secret: name}) {
			return false
		}
	}
	return false
}

func send(ctx context.Context, out chan<- Change, c Change) bool {
	select {
	case out <- c:
		return true
	case <-ctx.Done():
		return false
	}
}
