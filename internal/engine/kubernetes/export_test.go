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
