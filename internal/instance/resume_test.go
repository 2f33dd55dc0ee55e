package instance

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestResumeIsForARunningAppOnly(t *testing.T) {
	for _, state := range []State{Default, Starting, Initialized, Error, Stopping, Stopped, Offline} {
		e := newEnv(t)
		e.set(state, nil)
		e.Drain()
		if err := e.Resume(); !errors.Is(err, problem.Conflict) {
			t.Errorf("resumed in state %s: %v", state, err)
		}
		if !e.Draining() {
			t.Errorf("draining ended in state %s", state)
		}
	}
}
