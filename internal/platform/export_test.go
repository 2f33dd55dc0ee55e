package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// States gives the state as it is sealed and as it is read.
func (n *Node) States() (raw, open state.Store) { return n.raw, n.store }

// Readiness gives what probes are told.
func (n *Node) Readiness(ctx context.Context) telemetry.Readiness { return n.health.Ready(ctx) }

// AppState gives how an app does on this node.
func (n *Node) AppState(name string) (string, bool) {
	st, known := n.fleet.Status(name)
	return st.State, known
}
