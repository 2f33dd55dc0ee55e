// Package clock owns time: every part of Latchkey that reads the time or waits
// gets a [Clock], so that tests and drills can move it. It knows nothing of
// what the time is for.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and makes timers. Implementations are safe for
// concurrent use.
type Clock interface {
	// Now gives the current time.
	Now() time.Time
	// NewTimer gives a timer that fires once after d; d <= 0 fires at once.
	NewTimer(d time.Duration) Timer
}

// Timer is a single future event.
type Timer interface {
	// C gives the channel on which the time is sent once, buffered by one.
	C() <-chan time.Time
	// Stop keeps the timer from firing; it reports whether it was still pending.
	Stop() bool
}

// Real is the system clock.
type Real struct{}

var _ Clock = Real{}

// Now gives the system time.
func (Real) Now() time.Time { return time.Now() }

// NewTimer gives a system timer.
func (Real) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time { return t.t.C }
func (t realTimer) Stop() bool          { return t.t.Stop() }

// Sleep waits for d on the clock or until ctx ends, in which case it returns
// the context's error.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
