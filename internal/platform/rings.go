package platform

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// idleRings is how many keyrings of apps that do not run are kept.
const idleRings = 256

// rings are the keyrings of apps: of those that run on this node, and of some that
// were asked for without running. While one copy takes over from another an app
// has two; the newer one counts. They are kept by the place of the keys, which an
// app that was deleted and made again does not share with its predecessor.
type rings struct {
	make func(place string, s hosted.Settings) (*keyring.Ring, error)

	mu      sync.Mutex
	running map[string][]*keyring.Ring // the newest last
	idle    *lru.Cache[string, *keyring.Ring]
}

func newRings(make func(place string, s hosted.Settings) (*keyring.Ring, error)) (*rings, error) {
	r := &rings{make: make, running: map[string][]*keyring.Ring{}}
	idle, err := lru.NewWithEvict(idleRings, func(_ string, ring *keyring.Ring) { ring.Close() })
	r.idle = idle
	return r, err
}

// keyPlace names the place of an app's keys in the control plane.
func keyPlace(a app.App) string { return strings.ToLower(a.Name) + "." + strings.ToLower(a.UID) }

// get gives the keyring at a place: that of the running copy, so that a change is
// in force on this node when it returns, or one that reads the store.
func (r *rings) get(place string) (*keyring.Ring, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.running[place]; len(all) > 0 {
		return all[len(all)-1], nil
	}
	if ring, ok := r.idle.Get(place); ok {
		return ring, nil
	}
	ring, err := r.make(place, nil)
	if err == nil {
		r.idle.Add(place, ring)
	}
	return ring, err
}

// put makes ring that of a running copy.
func (r *rings) put(place string, ring *keyring.Ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[place] = append(r.running[place], ring)
	r.idle.Remove(place)
}

// remove ends the ring of a copy that has ended. When that is the newer one, which
// never came to serve, the other counts again.
func (r *rings) remove(place string, ring *keyring.Ring) {
	r.mu.Lock()
	left := slices.DeleteFunc(r.running[place], func(have *keyring.Ring) bool { return have == ring })
	if r.running[place] = left; len(left) == 0 {
		delete(r.running, place)
	}
	r.mu.Unlock()
	ring.Close()
}

// forget drops what is known of an app that is deleted.
func (r *rings) forget(place string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle.Remove(place)
}

func (r *rings) close() { r.idle.Purge() }

// Ring gives the keys of an app by its name, whether it runs or not; for
// functions.Config.
func (n *Node) Ring(ctx context.Context, name string) (*keyring.Ring, error) {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return n.rings.get(keyPlace(a))
}

func (n *Node) newRing(place string, s hosted.Settings) (*keyring.Ring, error) {
	name, _, _ := strings.Cut(place, ".")
	return keyring.New(keyring.Config{
		Store: controlplane.New(n.store, place), Clock: n.cfg.Clock, Log: n.log.With("app", name),
		Mode: keyring.ParseMode(s.Get("AzureWebJobsFeatureFlags")),
	})
}
