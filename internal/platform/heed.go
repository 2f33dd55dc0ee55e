package platform

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
)

// heedAgain is the wait before the store is asked again.
const heedAgain = time.Second

// heed tells which documents of the state change, on whichever node, until ctx ends.
// missed is called where it is not known which did: at the beginning, and after the
// store could not be asked. Values are not read.
func (n *Node) heed(ctx context.Context, missed func(), changed func(state.Key)) {
	for ctx.Err() == nil {
		n.heedOnce(ctx, missed, changed)
		_ = clock.Sleep(ctx, n.outside(), heedAgain)
	}
}

func (n *Node) heedOnce(ctx context.Context, missed func(), changed func(state.Key)) {
	now, err := n.raw.List(ctx, trafficPrefix, // any: only the revision counts
		state.Page{Limit: 1, KeysOnly: true})
	if err != nil {
		return
	}
	events, err := n.raw.Watch(ctx, "/", now.Revision)
	if err != nil {
		return
	}
	missed()
	for e := range events {
		if e.Kind == state.EventResync {
			missed()
			continue
		}
		changed(e.Key)
	}
}
