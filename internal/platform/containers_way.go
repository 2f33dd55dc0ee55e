package platform

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/engine"
)

// containerWay gives containers that are processes of this machine what workers have
// to reach the installation's own hosts, such as vaults: its authority, and the proxy
// where the machine does not know their names. Containers of other engines have file
// systems and networks of their own.
func (n *Node) containerWay() (env []engine.Env) {
	if n.cfg.Containers.Engine != EngineProcess {
		return nil
	}
	for name, value := range n.baseEnv(nil) {
		if !slices.Contains(passed, name) && !slices.Contains(personal, name) {
			env = append(env, engine.Env{Name: name, Value: value})
		}
	}
	slices.SortFunc(env, func(x, y engine.Env) int { return strings.Compare(x.Name, y.Name) })
	return env
}
