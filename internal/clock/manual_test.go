package clock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// due gives the time a timer fired with; ok is false if it has not fired.
func due(t Timer) (at time.Time, ok bool) {
	select {
	case at = <-t.C():
		return at, true
	default:
		return at, false
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestManualStandsStill(t *testing.T) {
	m := NewManual(start)
	timer := m.NewTimer(1)
	if _, ok := due(timer); ok || !m.Now().Equal(start) {
		t.Error("time passes by itself")
	}
}

func TestManualFiresWhatIsDue(t *testing.T) {
	m := NewManual(start)
	late, early, exact := m.NewTimer(3*time.Second), m.NewTimer(time.Second), m.NewTimer(2*time.Second)
	m.Advance(2 * time.Second)
	var got []time.Time
	for _, timer := range []Timer{early, exact} {
		at, ok := due(timer)
		if !ok {
			t.Error("a timer that is due did not fire")
		}
		got = append(got, at)
	}
	if diff := cmp.Diff([]time.Time{start.Add(time.Second), start.Add(2 * time.Second)}, got); diff != "" {
		t.Errorf("fired with other times: %s", diff)
	}
	if _, ok := due(late); ok {
		t.Error("a timer fired too early")
	}
	if now := m.Now(); !now.Equal(start.Add(2 * time.Second)) {
		t.Errorf("it is %s", now)
	}
	m.Advance(time.Hour)
	if at, ok := due(late); !ok || !at.Equal(start.Add(3*time.Second)) {
		t.Errorf("fired %v with %s", ok, at)
	}
	m.Advance(time.Hour)
	if _, ok := due(late); ok {
		t.Error("a timer fired twice")
	}
}

func TestManualTimerThatIsDueAtOnce(t *testing.T) {
	m := NewManual(start)
	for _, d := range []time.Duration{0, -time.Second} {
		timer := m.NewTimer(d)
		if at, ok := due(timer); !ok || !at.Equal(start) {
			t.Errorf("after %s: fired %v with %s", d, ok, at)
		}
		if timer.Stop() {
			t.Errorf("after %s: stopped although it has fired", d)
		}
	}
	if err := m.AwaitTimers(testContext(t), 0); err != nil {
		t.Error(err)
	}
}

func TestManualStop(t *testing.T) {
	m := NewManual(start)
	timer := m.NewTimer(time.Second)
	if !timer.Stop() {
		t.Error("it was pending")
	}
	if timer.Stop() {
		t.Error("it was pending after it was stopped")
	}
	m.Advance(time.Minute)
	if _, ok := due(timer); ok {
		t.Error("a stopped timer fired")
	}
	fired := m.NewTimer(time.Second)
	m.Advance(time.Second)
	if fired.Stop() {
		t.Error("it was pending after it fired")
	}
	if _, ok := due(fired); !ok {
		t.Error("stopping took away the time that had been sent")
	}
}

func TestAwaitTimers(t *testing.T) {
	m := NewManual(start)
	waited := make(chan error, 1)
	go func() { waited <- m.AwaitTimers(testContext(t), 2) }()
	stopped, _ := m.NewTimer(time.Second), m.NewTimer(time.Second)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	stopped.Stop()
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := m.AwaitTimers(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped timer counts: %v", err)
	}
	if err := m.AwaitTimers(ctx, 1); err != nil {
		t.Errorf("the pending timer does not count: %v", err)
	}
}

func TestManualIsSafeForConcurrentUse(t *testing.T) {
	m := NewManual(start)
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			timer := m.NewTimer(time.Duration(n%5+1) * time.Second)
			if n%2 == 0 {
				timer.Stop()
				return
			}
			if at := <-timer.C(); at.Before(start) {
				t.Errorf("fired with %s", at)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return
		default:
			m.Advance(time.Second)
			_ = m.Now()
		}
	}
}

func TestSleep(t *testing.T) {
	t.Run("for the time", func(t *testing.T) {
		m, slept := NewManual(start), make(chan error, 1)
		go func() { slept <- Sleep(testContext(t), m, time.Hour) }()
		if err := m.AwaitTimers(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		m.Advance(time.Hour)
		if err := <-slept; err != nil {
			t.Error(err)
		}
	})
	t.Run("until the context ends", func(t *testing.T) {
		m, slept := NewManual(start), make(chan error, 1)
		ctx, cancel := context.WithCancel(testContext(t))
		go func() { slept <- Sleep(ctx, m, time.Hour) }()
		if err := m.AwaitTimers(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-slept; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		ended, cancelNow := context.WithCancel(context.Background())
		cancelNow()
		if err := m.AwaitTimers(ended, 1); err == nil {
			t.Error("the timer is left behind")
		}
	})
	t.Run("on the system clock", func(t *testing.T) {
		if err := Sleep(testContext(t), Real{}, time.Nanosecond); err != nil {
			t.Error(err)
		}
	})
}

func TestRealStop(t *testing.T) {
	before := Real{}.Now()
	timer := Real{}.NewTimer(time.Hour)
	if !timer.Stop() || timer.Stop() {
		t.Error("Stop does not report whether the timer was pending")
	}
	if at, ok := due(Real{}.NewTimer(time.Hour)); ok {
		t.Errorf("fired at %s", at)
	}
	if time.Since(before) < 0 {
		t.Error("time runs backwards")
	}
}
