package rpc_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
)

// hasty is the system clock on which waiting is short. It counts what is waited for.
type hasty struct {
	clock.Real
	timers *atomic.Int64
}

func (h hasty) NewTimer(d time.Duration) clock.Timer {
	if d != 10*time.Second {
		return h.Real.NewTimer(d)
	}
	h.timers.Add(1)
	return h.Real.NewTimer(5 * time.Millisecond)
}

func scaled(t *testing.T, change func(*fixture)) (*fixture, hasty) {
	f, h := newFixture(t, "echo"), hasty{timers: &atomic.Int64{}}
	f.cfg.Clock = h
	f.script.Capabilities = map[string]string{"WorkerStatus": "true"}
	f.cfg.Runtime.Process.Dynamic, f.cfg.Runtime.Process.MaxCount = true, 3
	f.cfg.Runtime.Process.InitTimeout = time.Minute
	change(f)
	return f, h
}

func TestProcessesAreAddedWhileAllOfThemAreBusy(t *testing.T) {
	f, _ := scaled(t, func(f *fixture) { f.script.SilentAt = testworker.AtStatus })
	w := f.start(t)
	until(t, "as many processes as there may be", func() bool { return len(w.PIDs()) == 3 })
	f.logs.await(t, "all 2 worker processes are busy")
}

func TestProcessesAreNotAddedWhenTheyCannotBeAsked(t *testing.T) {
	f, h := scaled(t, func(f *fixture) { f.script.Capabilities = nil })
	w := f.start(t)
	until(t, "many samples", func() bool { return h.timers.Load() > 30 })
	if n := len(w.PIDs()); n != 1 {
		t.Errorf("%d processes", n)
	}
}
