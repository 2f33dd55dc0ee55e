package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/engine"
)

// ImageCredential gives what a container app's image is pulled with.
func (n *Node) ImageCredential(ctx context.Context, app, image string) (engine.Credential, error) {
	return n.containers.registry.Credential(ctx, engine.Ref{App: app}, image)
}
