package platform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// namedFaults is how many apps are named whose keys are not as they should be.
const namedFaults = 5

// keyHealth tells probes whose keys are not those of their store. It leaves the
// node ready: another one would not have them either.
func (n *Node) keyHealth() error {
	faults := n.rings.faults()
	if len(faults) == 0 {
		return nil
	}
	text := strings.Join(faults[:min(len(faults), namedFaults)], "; ")
	if more := len(faults) - namedFaults; more > 0 {
		text += fmt.Sprintf("; and %d more apps", more)
	}
	return telemetry.Degraded(problem.New(problem.Unavailable, text).WithNext("run `latchkey keystore check --app NAME`"))
}

// faults says what is wrong with the keys of the apps that run here, by name.
func (r *rings) faults() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var faults []string
	for place := range r.running {
		if h := r.newest(place).Health(); h.State != keyring.OK {
			app, _, _ := strings.Cut(place, ".")
			faults = append(faults, "app "+app+": "+h.Reason)
		}
	}
	slices.Sort(faults)
	return faults
}
