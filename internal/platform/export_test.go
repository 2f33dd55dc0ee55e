package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/engine"
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

// ContainerAddresses gives where ready replicas of a container app's revision serve a
// port.
func (n *Node) ContainerAddresses(app, revision string, port int) []string {
	if r := n.containers.runner.Load(); r != nil {
		return r.Addresses(context.Background(), engine.Ref{App: app, Revision: revision}, port)
	}
	return nil
}

// ContainerObjects gives what there is on the engine.
func (n *Node) ContainerObjects(ctx context.Context) ([]engine.Object, error) {
	e, err := n.containers.runner.Load().Engine()
	if err != nil {
		return nil, err
	}
	return e.List(ctx)
}
