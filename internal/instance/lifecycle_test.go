package instance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

func TestStartsAndCountsWork(t *testing.T) {
	e := newEnv(t)
	if st := e.Status(); st.State != Default || e.Model() != nil || e.Workers() != nil || e.Outstanding() != 0 {
		t.Errorf("before Run: %+v", st)
	}
	e.run()
	e.serves(1)
	if st := e.state(Running); len(st.Errors) > 0 {
		t.Errorf("running with errors: %q", st.Errors)
	}
	if diff := cmp.Diff([]int{1001}, e.Workers()); diff != "" {
		t.Error(diff)
	}
	if e.Model().Function("hELLO") == nil || e.Model().Function("other") != nil {
		t.Error("functions are not found by name")
	}
	a, b := e.enter(), e.enter()
	if e.Outstanding() != 2 || a != b || a.Model != e.Model() {
		t.Errorf("%d in progress", e.Outstanding())
	}
	a.Leave()
	b.Leave()
	if n := e.Outstanding(); n != 0 {
		t.Errorf("%d in progress after all left", n)
	}
	if n := e.models.Load(); n != 1 {
		t.Errorf("OnModel called %d times", n)
	}
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times", n)
	}
}

func TestEnterWhileStarting(t *testing.T) {
	type result struct {
		live *Live
		err  error
	}
	tests := []struct {
		name   string
		happen func(e *env, gate chan struct{}, hangUp func())
		err    error
	}{
		{"waits until the app runs", func(_ *env, gate chan struct{}, _ func()) { close(gate) }, nil},
		{"loses patience", func(e *env, _ chan struct{}, _ func()) { e.clock.Advance(patience) }, problem.Unavailable},
		{"the caller hangs up", func(_ *env, _ chan struct{}, hangUp func()) { hangUp() }, worker.ErrClientGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, gate := newEnv(t), make(chan struct{})
			e.next(func(w *fakeWorker) error { w.startGate = gate; return nil })
			e.run()
			e.saw("start 1")
			e.state(Starting)
			ctx, hangUp := context.WithCancel(e.ctx)
			defer hangUp()
			results := make(chan result, 1)
			go func() {
				l, err := e.Enter(ctx, patience)
				results <- result{l, err}
			}()
			e.timer(patience, 1)
			tt.happen(e, gate, hangUp)
			got := <-results
			if !errors.Is(got.err, tt.err) || (got.live != nil) != (tt.err == nil) {
				t.Fatalf("got %v, %v, want error %v", got.live, got.err, tt.err)
			}
			if got.live != nil {
				got.live.Leave()
			}
		})
	}
}

func TestEnterDoesNotWaitForALostCause(t *testing.T) {
	for _, state := range []State{Error, Offline, Stopping, Stopped} {
		e := newEnv(t)
		e.set(state, nil)
		e.refused()
	}
}

func TestAwaitStateEndsWithItsContext(t *testing.T) {
	e := newEnv(t)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	if st, err := e.AwaitState(ctx, Running, Error); !errors.Is(err, context.Canceled) || st.State != Default {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestStartFailure(t *testing.T) {
	e := newEnv(t, watching)
	e.next(startFails)
	e.run()
	st := e.state(Error)
	if diff := cmp.Diff([]string{"it does not start"}, st.Errors); diff != "" {
		t.Error(diff)
	}
	e.refused()
	for n := 1; n <= 3; n++ {
		e.pass(time.Second, n)
	}
	e.pass(2*time.Second, 1)
	e.timer(4*time.Second, 1)
	if n := len(e.all()); n != 5 {
		t.Errorf("%d workers, want 5", n)
	}
	e.next(nil)
	e.write("host.json", plainHost)
	e.settled(1) // 4 s are not over
	e.serves(6)
	if st := e.state(Running); len(st.Errors) > 0 {
		t.Errorf("running with errors: %q", st.Errors)
	}
	e.restartedBecause("host.json changed")
}

// TestReasonsHaveNoSecrets: a worker's error can quote what the app wrote.
func TestReasonsHaveNoSecrets(t *testing.T) {
	e := newEnv(t, watching)
	e.next(func(w *fakeWorker) error {
		w.startErr = problem.New(problem.Unavailable, "it does not start; its last output: GET http://b.example/pay?code=\x1b[1mhunter2 | AccountName=a;AccountKey=hunter2")
		return nil
	})
	e.run()
	want := []string{"it does not start; its last output: GET http://b.example/pay?code=REDACTED | AccountName=a;AccountKey=REDACTED"}
	if diff := cmp.Diff(want, e.state(Error).Errors); diff != "" {
		t.Error(diff)
	}
}

func TestStartFailureKeepsStateErrorUntilItRuns(t *testing.T) {
	e, gate := newEnv(t), make(chan struct{})
	e.next(startFails)
	e.run()
	e.state(Error)
	e.next(func(w *fakeWorker) error { w.startGate = gate; return nil })
	e.pass(time.Second, 1)
	e.saw("start 2")
	e.refused() // the second attempt is under way
	if st := e.Status(); st.State != Error || len(st.Errors) != 1 {
		t.Errorf("while tried again: %+v", st)
	}
	close(gate)
	e.serves(2)
	if n := e.restarted.Load(); n != 1 {
		t.Errorf("OnRestart called %d times", n)
	}
}

func TestFaultyModel(t *testing.T) {
	e := newEnv(t, watching)
	e.write("host.json", `{"version": 7}`)
	e.run()
	st := e.state(Error)
	if len(st.Errors) == 0 || !strings.Contains(st.Errors[0], "host.json") {
		t.Errorf("errors %q", st.Errors)
	}
	if e.Model() == nil {
		t.Error("a faulty model is not shown")
	}
	e.pass(time.Second, 1)
	e.timer(time.Second, 2)
	told := e.logs.countIf(func(line string) bool { return strings.Contains(line, "level=ERROR") })
	if told != len(st.Errors) {
		t.Errorf("the same %d faults were told %d times", len(st.Errors), told)
	}
	e.write("host.json", plainHost)
	e.settled(1)
	e.serves(1)
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times though no worker was lost", n)
	}
}

func TestARepairNobodySawIsFoundByTryingAgain(t *testing.T) {
	e := newEnv(t) // no watch
	e.write("host.json", `{`)
	e.run()
	e.state(Error)
	e.write("host.json", plainHost)
	e.pass(time.Second, 1)
	e.serves(1)
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times though no worker was lost", n)
	}
}

func TestNoWorkerForTheModel(t *testing.T) {
	e := newEnv(t)
	e.next(func(*fakeWorker) error {
		return problem.New(problem.Unsupported, "no such language").WithNext("use another one")
	})
	e.run()
	if diff := cmp.Diff([]string{"no such language; use another one"}, e.state(Error).Errors); diff != "" {
		t.Error(diff)
	}
	e.next(nil)
	e.Restart("repaired")
	e.serves(1)
}

func TestAStartThatTakesTooLong(t *testing.T) {
	e := newEnv(t)
	e.next(func(w *fakeWorker) error { w.startGate = make(chan struct{}); return nil })
	e.run()
	for n := 1; n <= 3; n++ {
		e.pass(time.Minute, n)
		e.pass(time.Second, n)
	}
	e.pass(time.Minute, 4)
	e.pass(2*time.Second, 1) // a long start is not long service: the pauses grow
	e.pass(time.Minute, 5)
	e.timer(4*time.Second, 1)
	if diff := cmp.Diff([]string{"the worker took no work within 1m0s"}, e.Status().Errors); diff != "" {
		t.Error(diff)
	}
	e.saw("stop 1")
}

func TestDrainAndResume(t *testing.T) {
	e := running(t)
	if e.Draining() {
		t.Error("drains by itself")
	}
	must(t, e.Resume()) // nothing to resume
	e.Drain()
	if !e.Draining() {
		t.Error("does not drain")
	}
	e.enter().Leave()
	must(t, e.Resume())
	e.serves(2)
	if e.Draining() {
		t.Error("drains after resuming")
	}
	must(t, e.Resume())
	if len(e.all()) != 2 {
		t.Error("a second resume restarts")
	}
	e.Drain()
	e.cancel()
	e.state(Stopped)
	if err := e.Resume(); !errors.Is(err, problem.Conflict) || !e.Draining() {
		t.Errorf("resumed a stopped app: %v", err)
	}
}

func TestModelFaultsAreThoseOfTheAppAndOfItsFunctions(t *testing.T) {
	e := newEnv(t)
	e.write("Broken/function.json", `{"bindings": [{"type": "httpTrigger", "name": "req", "direction": "sideways"}]}`)
	m, err := e.load()
	must(t, err)
	if n := len(m.Faults()); n != 1 {
		t.Errorf("%d faults: %v", n, m.Faults())
	}
}
