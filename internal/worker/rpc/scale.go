package rpc

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// Apps may leave the number of processes to the host: one is started, and another
// one whenever all of them have been slow for a while. What counts is how long
// they take to answer a message that costs nothing: a process whose functions
// wait is quick, one whose functions compute is not.
const (
	sampleInterval = 10 * time.Second
	slowSamples    = 6 // in a row
	slowAnswer     = 100 * time.Millisecond
)

// scale adds processes until there are as many as there may be, or the worker ends.
func (w *Worker) scale() {
	slow := 0
	for w.count() < w.cfg.Runtime.Process.MaxCount {
		if clock.Sleep(w.life, w.cfg.Clock, sampleInterval) != nil {
			return
		}
		if slow++; !w.allSlow() {
			slow = 0
		}
		if slow < slowSamples {
			continue
		}
		slow = 0
		w.say("info", fmt.Sprintf("all %d worker processes are busy: another one is started", w.count()))
		w.grow(1)
	}
}

func (w *Worker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.places
}

// allSlow asks all processes at once. It is false when none of them can be asked.
func (w *Worker) allSlow() bool {
	w.mu.Lock()
	all := w.live
	w.mu.Unlock()
	quick := make(chan bool, len(all))
	asked := 0
	for _, c := range all {
		if c.capabilities().status {
			asked++
			go func() { quick <- c.isQuick() }()
		}
	}
	slow := asked > 0
	for range asked {
		if <-quick {
			slow = false
		}
	}
	return slow
}

// isQuick reports whether a process answers soon. The time for it is bounded.
func (c *channel) isQuick() bool {
	ctx, cancel := withTimeout(c.w.life, c.w.cfg.Clock, sampleInterval)
	defer cancel()
	took, err := c.ping(ctx)
	return err == nil && took < slowAnswer
}
