package engine

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// timers wait for many moments with one goroutine, which is run. They are safe for
// concurrent use.
type timers struct {
	clock   clock.Clock
	mu      sync.Mutex
	heap    alarms
	byOwner map[flight]*alarm
	earlier chan struct{} // has one element when the first moment may have changed
}

// alarm is a moment and what is done then, which must not block.
type alarm struct {
	at    time.Time
	owner flight
	ring  func()
	index int
}

func newTimers(c clock.Clock) *timers {
	return &timers{clock: c, byOwner: map[flight]*alarm{}, earlier: make(chan struct{}, 1)}
}

// set has ring called at a moment, unless something earlier is set for the same
// owner, which then counts.
func (t *timers) set(owner flight, at time.Time, ring func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was := t.byOwner[owner]; was != nil && !at.Before(was.at) {
		return
	}
	t.drop(owner)
	a := &alarm{at: at, owner: owner, ring: ring}
	t.byOwner[owner] = a
	heap.Push(&t.heap, a)
	if a.index == 0 {
		t.look()
	}
}

// forget takes back what was set for an owner, if anything.
func (t *timers) forget(owner flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(owner)
}

func (t *timers) drop(owner flight) {
	if a := t.byOwner[owner]; a != nil {
		heap.Remove(&t.heap, a.index)
		delete(t.byOwner, owner)
	}
}

// look has run look at the first moment anew; mu is held.
func (t *timers) look() {
	select {
	case t.earlier <- struct{}{}:
	default:
	}
}

// run rings until ctx ends.
func (t *timers) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, any := t.due()
		if !any {
			select {
			case <-t.earlier:
			case <-ctx.Done():
			}
			continue
		}
		timer := t.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-t.earlier:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// due rings what is due and gives the wait for the next; any is false when there is
// none.
func (t *timers) due() (wait time.Duration, any bool) {
	for {
		a, wait := t.first()
		if a == nil {
			return wait, wait > 0
		}
		a.ring()
	}
}

// first takes the first alarm if it is due; else it gives the wait for it, 0 when
// there is none.
func (t *timers) first() (*alarm, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 {
		return nil, 0
	}
	a := t.heap[0]
	if wait := a.at.Sub(t.clock.Now()); wait > 0 {
		return nil, wait
	}
	t.drop(a.owner)
	return a, 0
}

// alarms implement [heap.Interface], the earliest first.
type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	a.index = len(*h)
	*h = append(*h, a)
}

// Pop implements [heap.Interface].
func (h *alarms) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return a
}
