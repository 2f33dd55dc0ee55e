package rbac

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// documents is what was read of the state, kept decoded so that making a view of
// it is cheap.
type documents struct {
	assignments map[state.Key]Assignment
	definitions map[state.Key]Definition
	read        [2]bool // both parts were read once: assignments, definitions
	running     bool
	version     uint64 // counts changes
	published   uint64 // the version the view in force was made of
	cut         [2]bool
	cutSince    time.Time
	cutBy       error
}

func newDocuments() documents {
	return documents{assignments: map[state.Key]Assignment{}, definitions: map[state.Key]Definition{}}
}

// Run follows the state until ctx ends. Call it once.
func (r *Roles) Run(ctx context.Context) {
	r.setRunning(true)
	defer r.setRunning(false)
	var wg sync.WaitGroup
	wg.Go(func() {
		state.Follow(ctx, r.inv.Store, inventory.TypePrefix(AssignmentType), r.clock, follower{r, 0})
	})
	wg.Go(func() {
		state.Follow(ctx, r.inv.Store, inventory.TypePrefix(DefinitionType), r.clock, follower{r, 1})
	})
	for {
		select {
		case <-r.dirty:
			r.publish()
		case <-ctx.Done():
			wg.Wait()
			return
		}
	}
}

func (r *Roles) setRunning(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held.running = on
	r.tell()
}

// publish puts a view of everything read into force. Changes that come in while
// one is made are taken together by the next.
func (r *Roles) publish() {
	r.mu.Lock()
	if !r.held.read[0] || !r.held.read[1] {
		r.mu.Unlock()
		return
	}
	v, version := newView(r.held), r.held.version
	r.mu.Unlock()
	v.index()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.Store(v)
	r.held.published = version
	r.tell()
}

// tell wakes those who await something. The caller holds the lock.
func (r *Roles) tell() {
	close(r.change)
	r.change = make(chan struct{})
}

// await waits until done says so, which is asked after every change, without the
// lock.
func (r *Roles) await(ctx context.Context, done func() bool) error {
	for {
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until the view in force shows a write that has happened, so that
// who wrote it sees it. It does not wait where nobody follows the state or the
// state cannot be read: the write is durable, and the view comes by itself.
func (r *Roles) settle(ctx context.Context, shown func(documents) bool) {
	_ = r.await(ctx, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		h := r.held
		return !h.running || h.cutBy != nil || h.published == h.version && shown(h)
	})
}

// follower takes the documents of one type: 0 assignments, 1 definitions.
type follower struct {
	*Roles
	part int
}

// Reset replaces everything known of the type.
func (f follower) Reset(docs []state.Document) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.part == 0 {
		f.held.assignments = make(map[state.Key]Assignment, len(docs))
	} else {
		f.held.definitions = make(map[state.Key]Definition, len(docs))
	}
	for _, doc := range docs {
		f.put(doc)
	}
	f.held.read[f.part], f.held.cut[f.part] = true, false
	if !f.held.cut[0] && !f.held.cut[1] {
		f.held.cutSince, f.held.cutBy = time.Time{}, nil
	}
	f.changed()
}

// Apply takes one change.
func (f follower) Apply(e state.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Kind == state.EventPut {
		f.put(e.Document)
	} else {
		delete(f.held.assignments, e.Key)
		delete(f.held.definitions, e.Key)
	}
	f.changed()
}

// Cut notes that what is known may be old.
func (f follower) Cut(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held.cutBy == nil {
		f.held.cutSince = f.clock.Now()
		f.log.Warn("roles cannot be read; the last known ones stay in force", "error", err)
	}
	f.held.cut[f.part], f.held.cutBy = true, err
	f.tell()
}

// put decodes one document. One that cannot be understood counts as absent: it
// allows nothing.
func (f follower) put(doc state.Document) {
	res, err := inventory.Decode(doc)
	if err == nil && f.part == 0 {
		f.held.assignments[doc.Key], err = decodeAssignment(res)
	} else if err == nil {
		f.held.definitions[doc.Key], err = decodeDefinition(res)
	}
	if err != nil {
		delete(f.held.assignments, doc.Key)
		delete(f.held.definitions, doc.Key)
		f.log.Error("a role document is left out of account", "key", string(doc.Key), "kind", problem.KindOf(err).Error(), "error", err)
	}
}

func (f follower) changed() {
	f.held.version++
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}
