package instance

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// returned reports whether Run has returned.
func (e *env) returned() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

func TestShutdownDrains(t *testing.T) {
	e := running(t)
	a, b := e.enter(), e.enter()
	e.cancel()
	e.state(Stopping)
	e.refused()
	a.Leave()
	if e.returned() || e.journal.count("stop 1") != 0 || e.Outstanding() != 1 {
		t.Error("did not wait for the work in progress")
	}
	b.Leave()
	<-e.done
	if e.journal.count("stop 1") != 1 || e.Status().State != Stopped || e.Outstanding() != 0 {
		t.Errorf("workers %q, state %s", e.journal.list(), e.Status().State)
	}
	e.refused()
}

func TestShutdownDrainsForAWhileOnly(t *testing.T) {
	e := newEnv(t, func(cfg *Config) { cfg.StopTimeout = 3 * time.Second })
	e.run()
	e.serves(1)
	stuck := e.enter()
	e.cancel()
	e.timer(3*time.Second, 1)
	e.clock.Advance(3*time.Second - 1)
	if e.returned() || e.journal.count("stop 1") != 0 {
		t.Error("did not wait for the work in progress")
	}
	e.clock.Advance(1)
	<-e.done
	stuck.Leave()
}

func TestShutdownInEveryState(t *testing.T) {
	never := func(w *fakeWorker) error { w.startGate = make(chan struct{}); return nil }
	tests := []struct {
		name  string
		plan  func(*fakeWorker) error
		reach func(*env)
	}{
		{"starting", never, func(e *env) { e.saw("start 1") }},
		{"running", nil, func(e *env) { e.serves(1) }},
		{"error", startFails, func(e *env) { e.state(Error) }},
		{"pause after a crash", nil, func(e *env) {
			e.serves(1)
			e.crash(1)
			e.serves(2)
			e.crash(2)
			e.timer(time.Second, 1)
		}},
		{"offline", nil, func(e *env) { must(e.t, e.SetOffline(true)); e.state(Offline) }},
		{"overlap", nil, func(e *env) {
			e.serves(1)
			e.next(never)
			e.Restart("asked for")
			e.saw("start 2")
		}},
		{"files just changed", nil, func(e *env) {
			e.serves(1)
			e.write("host.json", plainHost)
			e.timer(settleTime, 1)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t, watching)
			e.next(tt.plan)
			e.run()
			tt.reach(e)
			e.cancel()
			e.state(Stopped)
			<-e.done
			if n := len(e.all()); n > 2 {
				t.Errorf("%d workers", n)
			}
		})
	}
}

func TestAWorkerThatIsSlowToStop(t *testing.T) {
	e := newEnv(t)
	e.next(func(w *fakeWorker) error { w.stopGate = make(chan struct{}); return nil }) // until its context ends
	e.run()
	e.serves(1)
	e.cancel()
	e.saw("stop 1")
	e.pass(e.cfg.StopTimeout, 2) // the first was for the drain
	<-e.done
	if !strings.Contains(strings.Join(e.logs.list(), "\n"), "context canceled") {
		t.Errorf("the worker's own words are lost: %q", e.logs.list())
	}
}

func TestAWorkerThatCannotBeStopped(t *testing.T) {
	e, gate := newEnv(t), make(chan struct{})
	e.next(func(w *fakeWorker) error { w.stopGate, w.deaf = gate, true; return nil })
	e.run()
	e.serves(1)
	e.cancel()
	e.ended()
	if !strings.Contains(strings.Join(e.logs.list(), "\n"), "left behind\" pid=1001") {
		t.Errorf("nothing is said about it: %q", e.logs.list())
	}
	close(gate)
}

func TestAStartThatCannotBeEnded(t *testing.T) {
	e, gate := newEnv(t), make(chan struct{})
	e.next(func(w *fakeWorker) error { w.startGate, w.deaf = gate, true; return nil })
	e.run()
	e.saw("start 1")
	e.cancel()
	e.ended()
	e.saw("stop 1")
	close(gate)
}

func TestNobodyIsServedByAStoppedWorker(t *testing.T) {
	const callers, restarts = 100, 20
	e := running(t)
	var served, over atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for over.Load() == 0 {
				l, err := e.Enter(e.ctx, patience)
				if err != nil {
					t.Errorf("refused: %v", err)
					return
				}
				w := l.Worker.(*fakeWorker)
				if w.stopped.Load() {
					t.Errorf("entered worker %d after its stop", w.n)
				}
				_, _ = w.Invoke(e.ctx, nil)
				if w.stopped.Load() {
					t.Errorf("worker %d was stopped during work", w.n)
				}
				l.Leave()
				served.Add(1)
				runtime.Gosched()
			}
		})
	}
	for n := 2; n <= restarts+1; n++ {
		seen := served.Load()
		e.Restart("asked for")
		e.serves(n)
		for served.Load() < seen+callers && e.ctx.Err() == nil { // the new one gets work, too
			runtime.Gosched()
		}
	}
	over.Store(1)
	wg.Wait()
	for n := 1; n <= restarts; n++ {
		if !e.journal.await(e.ctx, fmt.Sprint("stop ", n), 1) {
			t.Errorf("worker %d is not stopped", n)
		}
	}
	if n := e.Outstanding(); n != 0 {
		t.Errorf("%d in progress after all left", n)
	}
}

func TestCrashesUnderLoad(t *testing.T) {
	const callers, rounds = 100, 20
	e := running(t)
	var over atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for over.Load() == 0 {
				l, err := e.Enter(e.ctx, time.Hour)
				if err != nil {
					t.Errorf("refused: %v", err)
					return
				}
				l.Leave()
				runtime.Gosched()
			}
		})
	}
	for n := 1; n <= rounds; n++ {
		e.clock.Advance(stableService)
		e.crash(n)
		e.serves(n + 1)
	}
	over.Store(1)
	wg.Wait()
}

func TestGateClosesOnceWhoeverComesLast(t *testing.T) {
	for range 200 {
		l := newLive(&Model{}, &fakeWorker{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for l.enter() {
					l.Leave()
					runtime.Gosched()
				}
			})
		}
		wg.Go(l.close)
		wg.Wait()
		<-l.drained()
		if n := l.Outstanding(); n != 0 {
			t.Fatalf("%d in progress", n)
		}
	}
}
