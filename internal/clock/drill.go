package clock

import (
	"sync"
	"time"
)

// Drill is the system clock moved ahead, so that what takes days can be replayed
// in a moment. It goes on by itself and is safe for concurrent use.
type Drill struct {
	mu     sync.Mutex
	ahead  time.Duration
	timers map[*drillTimer]struct{}
}

var _ Clock = (*Drill)(nil)

// NewDrill gives a clock that shows the system's time.
func NewDrill() *Drill { return &Drill{timers: map[*drillTimer]struct{}{}} }

// Now gives the system's time and how far the clock is ahead of it.
func (d *Drill) Now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now()
}

// now has no monotonic part: that of the system knows nothing of moves.
func (d *Drill) now() time.Time { return time.Now().Add(d.ahead).Round(0) }

// Ahead tells how far the clock is ahead of the system's.
func (d *Drill) Ahead() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ahead
}

// Set moves the clock so that it is ahead of the system's by a duration. Timers
// that come due on the way ahead fire at once, each of them once. When the clock
// is moved back, timers wait for as long as they would have.
func (d *Drill) Set(ahead time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	by := ahead - d.ahead
	d.ahead = ahead
	now := d.now()
	for t := range d.timers {
		if by < 0 {
			t.at = t.at.Add(by)
		}
		t.system.Reset(t.at.Sub(now))
	}
}

// NewTimer gives a timer that fires when d has gone by on the clock, moves
// included.
func (d *Drill) NewTimer(wait time.Duration) Timer {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &drillTimer{d: d, at: d.now().Add(wait), c: make(chan time.Time, 1)}
	d.timers[t] = struct{}{}
	t.system = time.AfterFunc(wait, t.fire)
	return t
}

type drillTimer struct {
	d      *Drill
	at     time.Time
	c      chan time.Time
	system *time.Timer
}

// fire sends the time, unless the timer was stopped or moved meanwhile.
func (t *drillTimer) fire() {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if _, pending := t.d.timers[t]; !pending {
		return
	}
	now := t.d.now()
	if left := t.at.Sub(now); left > 0 {
		t.system.Reset(left)
		return
	}
	delete(t.d.timers, t)
	t.c <- now
}

func (t *drillTimer) C() <-chan time.Time { return t.c }

func (t *drillTimer) Stop() bool {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	_, pending := t.d.timers[t]
	delete(t.d.timers, t)
	t.system.Stop()
	return pending
}
