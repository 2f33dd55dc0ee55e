package instance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/worker"
)

// gated makes workers from n on wait for the gate before they take work.
func gated(n int) (plan func(*fakeWorker) error, gate chan struct{}) {
	gate = make(chan struct{})
	return func(w *fakeWorker) error {
		if w.n >= n {
			w.startGate = gate
		}
		return nil
	}, gate
}

func TestOverlappingRestart(t *testing.T) {
	e := running(t)
	plan, gate := gated(2)
	e.next(plan)
	stuck := e.enter()
	e.Restart("asked for")
	e.saw("start 2")
	e.serves(1) // until the new one is ready
	if st := e.Status().State; st != Running {
		t.Errorf("state %s while the old worker serves", st)
	}
	e.enter().Leave()
	close(gate)
	e.serves(2)
	e.enter().Leave()
	if n := e.Outstanding(); n != 1 {
		t.Errorf("%d in progress, want the one on the old worker", n)
	}
	if e.journal.count("stop 1") != 0 {
		t.Error("the old worker was stopped with work in progress")
	}
	stuck.Leave()
	e.saw("stop 1")
	if diff := cmp.Diff([]string{"start 1", "start 2", "stop 1"}, e.journal.list()); diff != "" {
		t.Error(diff)
	}
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times", n)
	}
}

func TestAReplacedWorkerIsDrainedForAWhileOnly(t *testing.T) {
	e := running(t)
	stuck := e.enter()
	before := len(e.clock.timers.list())
	e.Restart("asked for")
	e.serves(2)
	e.timer(e.cfg.StopTimeout, 1)
	if len(e.clock.timers.list()) <= before {
		t.Error("no timer for the drain")
	}
	e.clock.Advance(e.cfg.StopTimeout)
	e.saw("stop 1")
	stuck.Leave()
}

// hurried is a worker that wants less time for its work in progress than the host
// would give.
type hurried struct {
	*fakeWorker
	most time.Duration
}

func (h hurried) DrainTimeout() time.Duration { return h.most }

func TestAWorkerSaysHowLongItsWorkMayTakeToEnd(t *testing.T) {
	const host = 10 * time.Second
	for name, most := range map[string]time.Duration{"less than the host": 3 * time.Second, "more than the host": time.Minute} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(cfg *Config) {
				cfg.StopTimeout = host
				make := cfg.NewWorker
				cfg.NewWorker = func(m *Model) (worker.Worker, error) {
					w, err := make(m)
					if err != nil {
						return nil, err
					}
					return hurried{w.(*fakeWorker), most}, nil
				}
			})
			e.run()
			e.serves(1)
			stuck := e.enter()
			e.Restart("asked for")
			e.serves(2)
			e.timer(min(most, host), 1)
			e.clock.Advance(min(most, host) - 1)
			if e.journal.count("stop 1") != 0 {
				t.Error("did not wait for the work in progress")
			}
			e.clock.Advance(1)
			e.saw("stop 1")
			stuck.Leave()
		})
	}
}

func TestAReplacedWorkerThatDiesIsNotDrained(t *testing.T) {
	e := running(t)
	stuck := e.enter()
	e.Restart("asked for")
	e.serves(2)
	e.crash(1)
	e.saw("stop 1")
	e.serves(2)
	stuck.Leave()
}

func TestSequentialRestart(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*env)
	}{
		{"fixed port", func(e *env) {
			e.write("host.json", `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}, "port": 5555}}`)
		}},
		{"setting", func(e *env) {
			e.settings = map[string]string{"AzureFunctionsJobHost__SequentialRestart": "true"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			tt.prepare(e)
			e.run()
			e.serves(1)
			stuck := e.enter()
			e.Restart("asked for")
			e.state(Starting)
			if n := e.journal.count("start 2"); n != 0 || e.Outstanding() != 1 {
				t.Errorf("started while the old worker works, %d in progress", e.Outstanding())
			}
			stuck.Leave()
			e.serves(2)
			if diff := cmp.Diff([]string{"start 1", "stop 1", "start 2"}, e.journal.list()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRestartWithAFaultyModel(t *testing.T) {
	e := running(t)
	stuck := e.enter()
	e.write("host.json", `{"version": 7}`)
	e.Restart("asked for")
	e.state(Error)
	e.refused()
	stuck.Leave()
	e.saw("stop 1")
	e.write("host.json", plainHost)
	e.Restart("repaired")
	e.serves(2)
}

func TestRestartWithAWorkerThatDoesNotStart(t *testing.T) {
	e := running(t)
	e.next(startFails)
	e.Restart("asked for")
	e.state(Error)
	e.refused()
	e.saw("stop 1")
	e.saw("stop 2")
}

func TestTheOldWorkerDiesDuringTheOverlap(t *testing.T) {
	e := running(t)
	plan, gate := gated(2)
	e.next(plan)
	e.Restart("asked for")
	e.saw("start 2")
	e.crash(1)
	e.state(Starting) // nobody is sent to the dead one
	e.saw("stop 1")
	close(gate)
	e.serves(2)
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times", n)
	}
}

func TestARestartBreaksAStartOff(t *testing.T) {
	t.Run("the first one", func(t *testing.T) {
		e := newEnv(t)
		plan, _ := gated(1)
		e.next(plan)
		e.run()
		e.saw("start 1")
		e.next(nil)
		e.Restart("asked for")
		e.serves(2)
		e.saw("stop 1")
		if n := e.restarted.Load(); n != 0 {
			t.Errorf("OnRestart called %d times", n)
		}
	})
	t.Run("the old worker serves on", func(t *testing.T) {
		e := running(t)
		plan, gate := gated(2)
		e.next(plan)
		e.Restart("asked for")
		e.saw("start 2")
		e.Restart("asked for again")
		e.saw("start 3")
		e.saw("stop 2")
		e.serves(1)
		if st := e.Status().State; st != Running {
			t.Errorf("state %s while the old worker serves", st)
		}
		close(gate)
		e.serves(3)
		e.saw("stop 1")
	})
	t.Run("by a change of files", func(t *testing.T) {
		e := newEnv(t, watching)
		plan, _ := gated(1)
		e.next(plan)
		e.run()
		e.saw("start 1")
		e.next(nil)
		e.write("host.json", plainHost)
		e.settled(1)
		e.serves(2)
	})
	t.Run("a deaf one", func(t *testing.T) {
		e := newEnv(t)
		gate := make(chan struct{})
		e.next(func(w *fakeWorker) error { w.startGate, w.deaf = gate, true; return nil })
		e.run()
		e.saw("start 1")
		e.next(nil)
		e.Restart("asked for")
		e.serves(2)
		close(gate)
		e.saw("stop 1")
	})
}

func TestRestartsAreMerged(t *testing.T) {
	e := running(t)
	plan, gate := gated(2)
	e.next(plan)
	e.Restart("first")
	e.saw("start 2")
	for n := range 50 { // more at once than could be worked off
		e.Restart(fmt.Sprint("more ", n))
	}
	close(gate)
	e.await("the last restart", func() bool { return len(e.restarts) == 0 && e.live.Load().Worker.(*fakeWorker).n > 2 })
	if n := len(e.all()); n > 52 {
		t.Errorf("%d workers", n)
	}
}

func TestARestartAskedForBeforeRunIsSatisfiedByIt(t *testing.T) {
	e := newEnv(t)
	e.Restart("early")
	e.run()
	e.serves(1)
	if len(e.restarts) != 0 {
		t.Error("it is still pending")
	}
}

func TestLoadFails(t *testing.T) {
	e := newEnv(t)
	load := e.cfg.Load
	e.cfg.Load = func() (*Model, error) {
		if len(e.all()) == 1 {
			return nil, errors.New("the disk is gone")
		}
		return load()
	}
	e.run()
	e.serves(1)
	e.Restart("asked for")
	if diff := cmp.Diff([]string{"the disk is gone"}, e.state(Error).Errors); diff != "" {
		t.Error(diff)
	}
	if e.Model() == nil {
		t.Error("the model of before is forgotten")
	}
	e.saw("stop 1")
}
