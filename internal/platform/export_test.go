package platform

import "github.com/latchkey/latchkey/internal/state"

// States gives the state as it is sealed and as it is read.
func (n *Node) States() (raw, open state.Store) { return n.raw, n.store }
