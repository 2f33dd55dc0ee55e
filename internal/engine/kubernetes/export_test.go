package kubernetes

import "github.com/latchkey/latchkey/internal/engine"

// Applied reports whether the newest wish for a revision was applied as a whole.
func (e *Engine) Applied(ref engine.Ref) bool {
	r, err := e.find(ref)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passes > 0
}

// Inside, for tests.
var (
	RegistryKey = registryKey
	ExitCode    = exitCode
)

// ReasonOf gives what is made of a waiting container's reason and message.
func ReasonOf(reason, message string) engine.Reason {
	got, _ := waiting(engine.RoleMain, reason, message)
	return got
}
