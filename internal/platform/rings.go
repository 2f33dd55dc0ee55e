package platform

import (
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/keyring"
)

// rings are the keyrings of the apps that run on this node. While one copy takes
// over from another an app has two; the newer one counts.
type rings struct {
	mu   sync.Mutex
	byID map[string]*keyring.Ring
}

func (r *rings) get(app string) *keyring.Ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[strings.ToLower(app)]
}

func (r *rings) put(app string, ring *keyring.Ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = map[string]*keyring.Ring{}
	}
	r.byID[strings.ToLower(app)] = ring
}

// remove forgets a ring unless a newer one has taken its place.
func (r *rings) remove(app string, ring *keyring.Ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[strings.ToLower(app)] == ring {
		delete(r.byID, strings.ToLower(app))
	}
}
