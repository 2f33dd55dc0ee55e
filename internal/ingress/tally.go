package ingress

import (
	"context"
	"sync/atomic"
)

// tally counts what is under way, and tells who waits for its end.
type tally struct {
	n     atomic.Int64
	quiet atomic.Pointer[chan struct{}] // closed when nothing is under way; nil while nobody waits for that
}

func (t *tally) begin() { t.n.Add(1) }

func (t *tally) end() {
	if t.n.Add(-1) > 0 {
		return
	}
	if told := t.quiet.Swap(nil); told != nil {
		close(*told)
	}
}

// wait waits until nothing is under way, or ctx ends.
func (t *tally) wait(ctx context.Context) {
	for t.n.Load() > 0 {
		told := make(chan struct{})
		if !t.quiet.CompareAndSwap(nil, &told) {
			other := t.quiet.Load()
			if other == nil {
				continue
			}
			told = *other
		}
		if t.n.Load() <= 0 {
			return // whoever ended last may not have seen the channel
		}
		select {
		case <-told:
		case <-ctx.Done():
			return
		}
	}
}
