package clock

import (
	"context"
	"sync"
	"time"
)

// Manual is a clock that stands still until it is advanced. It is safe for
// concurrent use.
type Manual struct {
	mu      sync.Mutex
	now     time.Time
	timers  map[*manualTimer]struct{}
	changed chan struct{} // closed and replaced whenever timers changes
}

var _ Clock = (*Manual)(nil)

// NewManual gives a clock that shows start.
func NewManual(start time.Time) *Manual {
	return &Manual{now: start, timers: map[*manualTimer]struct{}{}, changed: make(chan struct{})}
}

// Now gives the time the clock was last moved to.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// NewTimer gives a timer that fires when the clock is advanced past it.
func (m *Manual) NewTimer(d time.Duration) Timer {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &manualTimer{m: m, at: m.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- m.now
		return t
	}
	m.timers[t] = struct{}{}
	m.signal()
	return t
}

// Advance moves the clock forward and fires every timer that has come due, in
// the order of their times.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.now.Add(d)
	for t := m.earliest(end); t != nil; t = m.earliest(end) {
		delete(m.timers, t)
		m.now = t.at
		t.c <- t.at
	}
	m.now = end
	m.signal()
}

// AwaitTimers waits until at least n timers are pending, so that a test can
// advance knowing that somebody waits. It returns ctx's error if that ends first.
func (m *Manual) AwaitTimers(ctx context.Context, n int) error {
	for {
		m.mu.Lock()
		have, changed := len(m.timers), m.changed
		m.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Manual) earliest(end time.Time) *manualTimer {
	var first *manualTimer
	for t := range m.timers {
		if !t.at.After(end) && (first == nil || t.at.Before(first.at)) {
			first = t
		}
	}
	return first
}

func (m *Manual) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

type manualTimer struct {
	m  *Manual
	at time.Time
	c  chan time.Time
}

func (t *manualTimer) C() <-chan time.Time { return t.c }

func (t *manualTimer) Stop() bool {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	_, pending := t.m.timers[t]
	delete(t.m.timers, t)
	t.m.signal()
	return pending
}
