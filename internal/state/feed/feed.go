// Package feed owns the changes of a store that lives in one process: a bounded
// history of events and the watchers that read it, each at its own pace. It does
// not know where documents are kept or how writes are made durable.
package feed

import (
	"bytes"
	"context"
	"sort"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/state"
)

// Bounds of the history. Watchers hold no events besides a few in their channel,
// so these bound what slow ones cost.
const (
	MaxEvents = 10_000
	MaxBytes  = 64 << 20 // of keys and values together
)

// channelSize is how many events wait in a watcher's channel.
const channelSize = 16

// Feed is a history of events with its watchers. It is safe for concurrent use.
type Feed struct {
	mu      sync.Mutex
	events  []state.Event // the history, oldest first
	first   uint64        // position of events[0]; positions are never used twice and are at least 1
	size    int           // bytes of the history
	floor   state.Revision
	grown   chan struct{} // closed and replaced when events are added
	ended   chan struct{} // closed by Close
	closed  bool
	watches sync.WaitGroup
}

// New gives an empty feed of a store that is at the given revision: events after
// it will be known.
func New(at state.Revision) *Feed {
	return &Feed{first: 1, floor: at, grown: make(chan struct{}), ended: make(chan struct{})}
}

// Publish adds the events of one write, or of several in order. The feed keeps
// their values, which must not change any more.
func (f *Feed) Publish(events []state.Event) {
	if len(events) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		f.events = append(f.events, e)
		f.size += cost(e)
	}
	for len(f.events) > MaxEvents || f.size > MaxBytes {
		f.drop()
	}
	f.wake()
}

// Forget drops the history up to a revision, the store's current one. All
// watchers get EventResync.
func (f *Feed) Forget(at state.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.events) > 0 {
		f.drop()
	}
	f.first++ // also past those who have read everything
	f.floor = max(f.floor, at)
	f.wake()
}

// drop removes the oldest event. Callers hold mu.
func (f *Feed) drop() {
	f.size -= cost(f.events[0])
	f.floor = f.events[0].Revision
	f.events[0] = state.Event{} // lets go of the value
	f.events = f.events[1:]
	f.first++
}

func cost(e state.Event) int { return len(e.Key) + len(e.Value) }

// wake tells watchers to look again. Callers hold mu.
func (f *Feed) wake() {
	close(f.grown)
	f.grown = make(chan struct{})
}

// Watch gives the events below prefix after revision from, as [state.Store]
// promises.
func (f *Feed) Watch(ctx context.Context, prefix state.Key, from state.Revision) <-chan state.Event {
	out := make(chan state.Event, channelSize)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(out)
		return out
	}
	w := &watcher{feed: f, prefix: string(prefix), from: from, out: out}
	w.next = f.first + uint64(sort.Search(len(f.events), func(i int) bool { return f.events[i].Revision > from }))
	if from < f.floor {
		w.next = f.first - 1 // what it asks for is gone
	}
	f.watches.Go(func() { w.run(ctx) })
	return out
}

// Close ends all watches and waits until they have.
func (f *Feed) Close() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.ended)
	}
	f.mu.Unlock()
	f.watches.Wait()
}

// watcher is a reader of the history.
type watcher struct {
	feed   *Feed
	prefix string
	from   state.Revision
	next   uint64 // position of the event to look at next
	out    chan state.Event
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	for {
		event, found, grown := w.look()
		if !found {
			select {
			case <-grown:
				continue
			case <-ctx.Done():
				return
			case <-w.feed.ended:
				return
			}
		}
		select {
		case w.out <- event:
		case <-ctx.Done():
			return
		case <-w.feed.ended:
			return
		}
		if event.Kind == state.EventResync {
			return
		}
	}
}

// look finds the next event for the watcher. When there is none yet, grown is
// closed as soon as it is worth looking again.
func (w *watcher) look() (event state.Event, found bool, grown <-chan struct{}) {
	f := w.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.next < f.first {
		return state.Event{Kind: state.EventResync, Document: state.Document{Revision: f.floor}}, true, nil
	}
	for w.next < f.first+uint64(len(f.events)) {
		e := f.events[w.next-f.first]
		w.next++
		if e.Revision > w.from && strings.HasPrefix(string(e.Key), w.prefix) {
			e.Value = bytes.Clone(e.Value)
			return e, true, nil
		}
	}
	return state.Event{}, false, f.grown
}
