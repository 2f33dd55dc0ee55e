package instance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/worker"
)

func (e *env) crash(n int) { e.worker(n).end(worker.Exit{Code: 1}) }

func TestCrashPolicy(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	type step struct {
		idle, served time.Duration // between the crashes, and of it in service
		count        int
		pause        time.Duration
		failed       bool
	}
	const s = time.Second
	tests := []struct {
		name  string
		steps []step
	}{
		{"one after the other", []step{
			{s, s, 1, 0, false}, {s, s, 2, s, false}, {s, s, 3, s, false}, {s, s, 4, 2 * s, true}, {s, s, 5, 4 * s, true},
		}},
		{"good service is a new start", []step{
			{s, s, 1, 0, false}, {s, s, 2, s, false}, {time.Hour, time.Minute, 1, 0, false}, {s, s, 2, s, false},
		}},
		{"nearly good service is not", []step{{s, s, 1, 0, false}, {time.Minute, time.Minute - 1, 2, s, false}}},
		{"a whole window apart", []step{{s, 0, 1, 0, false}, {30 * time.Minute, 0, 2, s, false}}},
		{"further apart than the window", []step{{s, 0, 1, 0, false}, {30*time.Minute + 1, 0, 1, 0, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c crashes
			now := start
			for n, st := range tt.steps {
				now = now.Add(st.idle)
				var pause time.Duration
				var failed bool
				c, pause, failed = c.next(now, st.served)
				if c.count != st.count || pause != st.pause || failed != st.failed {
					t.Errorf("crash %d: count %d, pause %s, failed %v; want %+v", n+1, c.count, pause, failed, st)
				}
			}
		})
	}
}

func TestBackoffDoublesUpToTwoMinutes(t *testing.T) {
	var got []time.Duration
	for n := range 9 {
		got = append(got, backoff(n)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120}, got); diff != "" {
		t.Error(diff)
	}
	if d := backoff(1 << 30); d != longestPause {
		t.Errorf("after very many attempts: %s", d)
	}
}

func TestCrashesUntilErrorAndBack(t *testing.T) {
	e := newEnv(t)
	e.next(func(w *fakeWorker) error {
		if w.n >= 5 && w.n <= 11 {
			return startFails(w)
		}
		return nil
	})
	e.run()
	e.serves(1)
	stuck := e.enter() // never leaves: nobody may wait for it
	e.crash(1)
	e.serves(2) // at once
	e.enter().Leave()
	e.crash(2)
	e.timer(time.Second, 1)
	st := e.state(Starting)
	if diff := cmp.Diff([]string{"the worker ended with exit code 1"}, st.Errors); diff != "" {
		t.Error(diff)
	}
	served := make(chan *Live, 1)
	go func() { served <- e.enter() }() // waits through the pause
	e.timer(patience, 1)
	e.clock.Advance(time.Second)
	(<-served).Leave()
	e.serves(3)
	e.crash(3)
	e.pass(time.Second, 2)
	e.serves(4)
	e.crash(4)
	e.state(Error)
	e.refused()
	for n, pause := range []time.Duration{2, 4, 8, 16, 32, 64, 120, 120} {
		e.refused()
		e.pass(pause*time.Second, n/7+1) // the longest comes twice
	}
	e.serves(12)
	if st := e.state(Running); len(st.Errors) > 0 {
		t.Errorf("running with errors: %q", st.Errors)
	}
	if n := e.restarted.Load(); n != 11 {
		t.Errorf("OnRestart called %d times, want 11", n)
	}
	stuck.Leave()
}

func TestServiceForgivesCrashes(t *testing.T) {
	e := running(t)
	e.crash(1)
	e.serves(2)
	e.clock.Advance(stableService)
	e.crash(2)
	e.serves(3) // at once: it counts as the first
	e.crash(3)
	e.pass(time.Second, 1)
	e.serves(4)
}

func TestARestartForgivesCrashes(t *testing.T) {
	e := running(t)
	for n := 1; n <= 3; n++ {
		e.crash(n)
		if n > 1 {
			e.pass(time.Second, n-1)
		}
		e.serves(n + 1)
	}
	e.crash(4)
	e.state(Error)
	e.Restart("asked for")
	e.serves(5)
	e.crash(5)
	e.serves(6) // at once
	if n := e.restarted.Load(); n != 4 {
		t.Errorf("OnRestart called %d times, want 4: not for the restart asked for", n)
	}
}

func TestRestartDuringThePauseAfterACrash(t *testing.T) {
	e := running(t)
	e.crash(1)
	e.serves(2)
	e.crash(2)
	e.timer(time.Second, 1)
	e.Restart("asked for")
	e.serves(3) // the pause is not over
	e.restartedBecause("asked for")
}

func TestEveryExitIsFollowedByARestart(t *testing.T) {
	tests := []struct {
		name string
		exit worker.Exit
		text string
	}{
		{"code 0", worker.Exit{}, "the worker ended with exit code 0"},
		{"signal", worker.Exit{Code: -1, Signal: "killed"}, "the worker was ended by signal killed"},
		{"with output", worker.Exit{Code: 3, LastLogs: []string{"a", "b"}}, "the worker ended with exit code 3; its last output: a | b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := running(t)
			e.crash(1)
			e.serves(2)
			e.worker(2).end(tt.exit)
			e.timer(time.Second, 1)
			if diff := cmp.Diff([]string{tt.text}, e.state(Starting).Errors); diff != "" {
				t.Error(diff)
			}
			e.clock.Advance(time.Second)
			e.serves(3)
		})
	}
}

func TestAWorkerThatEndsToBeStartedAnewDidNotCrash(t *testing.T) {
	e := running(t)
	for n := 1; n < 12; n++ { // many more than crashes are forgiven
		e.serves(n)
		e.worker(n).end(worker.Exit{Code: 200})
		e.timer(time.Second, n)
		if diff := cmp.Diff([]string(nil), e.state(Starting).Errors); diff != "" {
			t.Fatal(diff)
		}
		e.clock.Advance(time.Second)
	}
	e.serves(12)
}

func TestACrashedWorkerThatCannotBeStoppedHoldsNothingUp(t *testing.T) {
	e, gate := newEnv(t), make(chan struct{})
	e.next(func(w *fakeWorker) error {
		if w.n == 1 {
			w.stopGate, w.deaf = gate, true
		}
		return nil
	})
	e.run()
	e.serves(1)
	e.crash(1)
	e.serves(2)
	e.saw("stop 1")
	close(gate)
}
