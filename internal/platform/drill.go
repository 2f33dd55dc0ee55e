package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/drill"
	"github.com/latchkey/latchkey/internal/problem"
)

// openDrill takes up a drill, or makes sure that none is going on.
func (n *Node) openDrill(ctx context.Context) (err error) {
	if !n.cfg.Drill {
		return drill.Check(ctx, n.store)
	}
	c, ok := n.cfg.Clock.(*clock.Drill)
	if !ok {
		return problem.New(problem.Invalid, "drill mode needs a clock that can be moved")
	}
	if n.drill, err = drill.Open(ctx, n.store, c, n.log); err != nil {
		return err
	}
	n.log.Warn("drill mode: the owner can move the clock and make parts fail", "ahead", n.drill.Now().Ahead.String())
	n.beside(n.drill.Run)
	return nil
}

// outside gives the clock by which the world outside lives: certificates are
// judged by the clients' clocks, and leases by the state's, which no drill moves.
func (n *Node) outside() clock.Clock { return n.cfg.outside() }

func (c Config) outside() clock.Clock {
	if c.Drill {
		return clock.Real{}
	}
	return c.Clock
}
