package groups

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// held is what was read of the store.
type held struct {
	groups    map[string]Group // by object id
	running   bool
	live      bool           // it is what the store has
	cuts      uint64         // how often it was not
	seen      state.Revision // of the newest change it includes
	version   uint64         // counts changes
	published uint64         // the version that the view was made of
}

// Run keeps [Groups.Of] up with the store until ctx ends. Call it once.
func (g *Groups) Run(ctx context.Context) {
	g.setRunning(true)
	defer g.setRunning(false)
	var following sync.WaitGroup
	following.Go(func() { state.Follow(ctx, g.records.Store, Documents, g.clock, follower{g}) })
	for {
		select {
		case <-g.dirty:
			g.publish()
		case <-ctx.Done():
			following.Wait()
			follower{g}.Cut(ctx.Err())
			return
		}
	}
}

func (g *Groups) setRunning(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held.running = on
	g.tell()
}

// publish puts a view of everything read into force. Changes that come in while
// one is made are taken together by the next.
func (g *Groups) publish() {
	g.mu.Lock()
	list, version, cuts := make([]Group, 0, len(g.held.groups)), g.held.version, g.held.cuts
	for _, n := range g.held.groups {
		list = append(list, n)
	}
	g.mu.Unlock()
	slices.SortFunc(list, func(a, b Group) int { return strings.Compare(a.ObjectID, b.ObjectID) })
	v := newView(list)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held.live || g.held.cuts != cuts {
		return // it may be old by now; a listing comes first
	}
	g.view.Store(v)
	g.held.published = version
	g.tell()
}

// tell wakes those who await something. The caller holds the lock.
func (g *Groups) tell() {
	close(g.change)
	g.change = make(chan struct{})
}

// follower takes what the store tells.
type follower struct{ *Groups }

// Reset replaces everything known.
func (f follower) Reset(docs []state.Document) {
	groups := make(map[string]Group, len(docs))
	for _, doc := range docs {
		if n, ok := f.decode(doc); ok {
			groups[n.ObjectID] = n
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held.groups, f.held.live = groups, true
	for _, doc := range docs {
		f.held.seen = max(f.held.seen, doc.Revision)
	}
	f.changed()
}

// Apply takes one change.
func (f follower) Apply(e state.Event) {
	var n Group
	there := e.Kind == state.EventPut
	if there {
		n, there = f.decode(e.Document)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if there {
		f.held.groups[n.ObjectID] = n
	} else {
		delete(f.held.groups, string(e.Key[len(Documents):]))
	}
	f.held.seen = max(f.held.seen, e.Revision)
	f.changed()
}

// Cut has the store asked from now on, since what is known may be old.
func (f follower) Cut(error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held.live, f.held.groups = false, nil
	f.held.cuts++
	f.view.Store(nil)
	f.tell()
}

// changed has a view made. The caller holds the lock.
func (f follower) changed() {
	f.held.version++
	select {
	case f.dirty <- struct{}{}:
	default:
	}
	f.tell()
}

// settle waits until [Groups.Of] takes a write into account that has happened. It
// does not wait where nobody follows the store or the store cannot be read: the
// store is asked then. Every write is of one group, so that a change seen of the
// same or a later revision includes it.
func (g *Groups) settle(ctx context.Context, objectID string, rev state.Revision) {
	shown := uint64(0) // the version that has it
	for {
		g.mu.Lock()
		h, change := g.held, g.change
		_, known := h.groups[objectID]
		g.mu.Unlock()
		if shown == 0 && (h.seen >= rev || !known && g.gone(ctx, objectID)) {
			shown = h.version
		}
		if !h.running || !h.live || shown > 0 && h.published >= shown {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

// gone reports whether the store has no such group: of one that was deleted before
// the store was listed anew, no change is told.
func (g *Groups) gone(ctx context.Context, objectID string) bool {
	_, err := g.records.Store.Get(ctx, g.records.Key(objectID))
	return errors.Is(err, problem.NotFound)
}
