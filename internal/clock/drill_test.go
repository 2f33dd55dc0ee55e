package clock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

const long = time.Minute // what never goes by in a test, and what fails it

func await(t *testing.T, c <-chan time.Time, what string) time.Time {
	t.Helper()
	select {
	case at := <-c:
		return at
	case <-time.After(long):
		t.Fatal(what)
		return time.Time{}
	}
}

func TestADrillReplaysDaysInAMoment(t *testing.T) {
	c := clock.NewDrill()
	start, day, week := c.Now(), c.NewTimer(24*time.Hour), c.NewTimer(7*24*time.Hour)
	c.Set(5 * 24 * time.Hour)
	at := await(t, day.C(), "a timer that has come due does not fire")
	if gone := at.Sub(start); gone < 5*24*time.Hour || gone > 5*24*time.Hour+time.Hour {
		t.Errorf("the clock moved by %s", gone)
	}
	if !week.Stop() || day.Stop() {
		t.Error("the wrong timers are pending")
	}
	if c.Ahead() != 5*24*time.Hour {
		t.Errorf("ahead by %s", c.Ahead())
	}
}

func TestADrillClockGoesOnByItself(t *testing.T) {
	c := clock.NewDrill()
	c.Set(time.Hour)
	await(t, c.NewTimer(time.Millisecond).C(), "time stands still")
	await(t, c.NewTimer(-time.Second).C(), "a timer in the past does not fire")
	if err := clock.Sleep(t.Context(), c, time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestTimersWaitAsLongWhenTheClockIsMovedBack(t *testing.T) {
	c := clock.NewDrill()
	c.Set(100 * 24 * time.Hour)
	timer := c.NewTimer(time.Hour)
	c.Set(0)
	if !timer.Stop() {
		t.Fatal("a timer fired on the way back")
	}
	timer = c.NewTimer(time.Hour)
	c.Set(-time.Hour)
	c.Set(2 * time.Hour)
	await(t, timer.C(), "a timer waits for the time the clock had")
}

func TestDrillClocksAreMovedWhileInUse(t *testing.T) {
	c := clock.NewDrill()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				timer := c.NewTimer(time.Duration(i+j) * time.Hour)
				if j%2 == 0 {
					timer.Stop()
					continue
				}
				select {
				case <-timer.C():
				case <-ctx.Done():
					t.Error("a timer was lost")
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for ahead := time.Duration(0); ; ahead += 10 * time.Hour {
		select {
		case <-done:
			return
		default:
			c.Set(ahead)
		}
	}
}
