package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/engine"
)

// UsableIdentities tells how many identities the endpoint gives a start of a container.
func (n *Node) UsableIdentities(ctx context.Context, s engine.Start) (int, error) {
	w, err := n.containerWorkload(ctx, s)
	return len(w.Identities), err
}

// MayHaveQueueToken tells whether the queue service of a scale rule may see tokens.
func (n *Node) MayHaveQueueToken(ctx context.Context, app, identity, host string) error {
	return n.mayHaveQueueToken(ctx, app, identity, host)
}
