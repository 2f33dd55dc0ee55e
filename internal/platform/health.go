package platform

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// openHealth tells probes whether the node is in touch with the state. A node
// that is cut off goes on serving what it knows, and says that it does.
func (n *Node) openHealth(context.Context) error {
	n.health.Set("apps", func(context.Context) error { return cutOff(n.fleet.Cut()) })
	n.health.Set("roles", func(context.Context) error { return cutOff(n.roles.Health()) })
	n.health.Set("keys", func(context.Context) error { return n.keyHealth() })
	return nil
}

func cutOff(since time.Time, err error) error {
	if err == nil {
		return nil
	}
	return problem.Wrap(problem.Unavailable, "the state cannot be read since "+since.UTC().Format(time.RFC3339)+"; what was last known is served", err)
}
