package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/deployments"
	"github.com/latchkey/latchkey/internal/armapi/storage"
)

// invoker makes calls of the management API within this process.
type invoker func(ctx context.Context, in arm.Inner) (int, []byte, error)

// newDeployments makes the operations of deployments, which call the API that they
// are part of.
func (n *Node) newDeployments(invoke invoker) (*deployments.Service, error) {
	s, err := deployments.New(deployments.Config{
		Inventory: n.inventory, Invoke: invoke, Active: n.mayAct, TenantID: n.install.TenantID, SubscriptionID: n.install.SubscriptionID,
		Node: n.cfg.Node, Clock: n.cfg.Clock, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	n.onClose(s.Close)
	n.beside(func(ctx context.Context) {
		if err := s.Recover(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("deployments that were interrupted could not be ended", "reason", err)
		}
	})
	return s, nil
}

// mayAct fails for principals that were disabled or deleted.
func (n *Node) mayAct(ctx context.Context, objectID string) error {
	_, err := n.directory.Active(ctx, objectID)
	return err
}

// newStorage makes the operations of Microsoft.Storage.
func (n *Node) newStorage() (*storage.Service, error) {
	return storage.New(storage.Config{Inventory: n.inventory, Clock: n.cfg.Clock})
}
