package platform

import (
	"context"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// idleRings is how many keyrings of apps that do not run are kept.
const idleRings = 256

// rings are the keyrings of apps: of those that run on this node, and of some that
// were asked for without running. While one copy takes over from another an app
// has two; the newer one counts.
type rings struct {
	make func(app string, s hosted.Settings) (*keyring.Ring, error)

	mu      sync.Mutex
	running map[string]*keyring.Ring
	idle    *lru.Cache[string, *keyring.Ring]
}

func newRings(make func(app string, s hosted.Settings) (*keyring.Ring, error)) (*rings, error) {
	r := &rings{make: make, running: map[string]*keyring.Ring{}}
	idle, err := lru.NewWithEvict(idleRings, func(_ string, ring *keyring.Ring) { ring.Close() })
	r.idle = idle
	return r, err
}

// Ring gives the keyring of an app: that of the running copy, so that a change is
// in force on this node when it returns, or one that reads the store.
func (r *rings) Ring(_ context.Context, app string) (*keyring.Ring, error) {
	name := strings.ToLower(app)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ring := r.running[name]; ring != nil {
		return ring, nil
	}
	if ring, ok := r.idle.Get(name); ok {
		return ring, nil
	}
	ring, err := r.make(app, nil)
	if err == nil {
		r.idle.Add(name, ring)
	}
	return ring, err
}

// put makes ring that of a running copy.
func (r *rings) put(app string, ring *keyring.Ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[strings.ToLower(app)] = ring
	r.idle.Remove(strings.ToLower(app))
}

// remove ends the ring of a copy that has ended.
func (r *rings) remove(app string, ring *keyring.Ring) {
	r.mu.Lock()
	if r.running[strings.ToLower(app)] == ring {
		delete(r.running, strings.ToLower(app))
	}
	r.mu.Unlock()
	ring.Close()
}

// forget drops what is known of an app that is deleted.
func (r *rings) forget(app string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle.Remove(strings.ToLower(app))
}

func (r *rings) close() { r.idle.Purge() }

func (n *Node) newRing(name string, s hosted.Settings) (*keyring.Ring, error) {
	return keyring.New(keyring.Config{
		Store: controlplane.New(n.store, strings.ToLower(name)), Clock: n.cfg.Clock, Log: n.log.With("app", name),
		Mode: keyring.ParseMode(s.Get("AzureWebJobsFeatureFlags")),
	})
}
