package custom

import (
	"sync"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// console takes one line of output: it keeps the last ones and logs all,
// for the one invocation in flight if there is exactly one.
func (w *Worker) console(from child.Stream, text string) {
	if from == child.Stderr {
		w.errors.Add(text)
	}
	w.said.Add(text)
	l := worker.LogLine{Source: "console"}
	l.Level, l.Message = child.Classify(from, text)
	if inv := w.calls.only(); inv != nil {
		l.InvocationID, l.Function = inv.ID, inv.Function.Name
	}
	w.cfg.Logs(l)
}

// calls are the invocations in flight. Safe for concurrent use; the zero value
// is empty.
type calls struct {
	mu  sync.Mutex
	now map[*worker.Invocation]struct{}
}

func (c *calls) begin(inv *worker.Invocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now = map[*worker.Invocation]struct{}{}
	}
	c.now[inv] = struct{}{}
}

func (c *calls) end(inv *worker.Invocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.now, inv)
}

// only gives the invocation in flight if there is exactly one, else nil.
func (c *calls) only() *worker.Invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.now) != 1 {
		return nil
	}
	for inv := range c.now {
		return inv
	}
	return nil
}
