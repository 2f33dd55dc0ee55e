package platform

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// idleRings is how many keyrings of apps that do not run are kept, and ringGrace how
// long one that another takes the place of is left to those who have it: closing it
// would break off what they read. Of very many, as when the keys of all apps are looked
// at, the oldest are left for less: few are in use at a time.
const (
	idleRings = 256
	ringGrace = time.Minute
	leftRings = 4 * idleRings
)

// rings are the keyrings of apps: of those that run on this node, and of some that
// were asked for without running. While one copy takes over from another an app
// has two; the newer one counts. They are kept by the place of the keys, which an
// app that was deleted and made again does not share with its predecessor.
type rings struct {
	mu      sync.Mutex
	running map[string][]*keyring.Ring // the newest last
	idle    *lru.Cache[string, idleRing]
	left    []leftRing // the oldest first
	clock   clock.Clock
}

// leftRing is a keyring that nobody gets any more. It has no work of its own.
type leftRing struct {
	*keyring.Ring
	since time.Time
}

// idleRing is the keyring of an app that does not run.
type idleRing struct {
	*keyring.Ring
	choice string // what its store was chosen by
}

func newRings(c clock.Clock) (*rings, error) {
	r := &rings{running: map[string][]*keyring.Ring{}, clock: c}
	idle, err := lru.NewWithEvict(idleRings, func(_ string, ring idleRing) { r.left = append(r.left, leftRing{ring.Ring, c.Now()}) })
	r.idle = idle
	return r, err
}

// closeLeft closes keyrings that were left at least so long ago. Callers hold mu.
func (r *rings) closeLeft(ago time.Duration) {
	for len(r.left) > 0 && r.clock.Now().Sub(r.left[0].since) >= ago {
		r.left[0].Close()
		r.left = r.left[1:]
	}
}

// closeMost closes the oldest of more keyrings than most that are left. Callers hold mu.
func (r *rings) closeMost(most int) {
	for len(r.left) > most {
		r.left[0].Close()
		r.left = r.left[1:]
	}
}

// keyPlace names the place of an app's keys in the control plane.
func keyPlace(a app.App) string { return strings.ToLower(a.Name) + "." + strings.ToLower(a.UID) }

// serving gives the keyring of the running copy at a place, so that a change is in
// force on this node when it returns; nil if there is none.
func (r *rings) serving(place string) *keyring.Ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest(place)
}

func (r *rings) newest(place string) *keyring.Ring {
	if all := r.running[place]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// get gives the keyring at a place: that of the running copy, or one that reads the
// store. The latter is made anew when choice, which stands for the settings that
// choose the store, is another.
func (r *rings) get(place, choice string, make func() (*keyring.Ring, error)) (*keyring.Ring, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeLeft(ringGrace)
	r.closeMost(leftRings)
	if ring := r.newest(place); ring != nil {
		return ring, nil
	}
	if ring, ok := r.idle.Get(place); ok && ring.choice == choice {
		return ring.Ring, nil
	}
	ring, err := make()
	if err == nil {
		r.idle.Remove(place) // the one of other settings
		r.idle.Add(place, idleRing{ring, choice})
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

func (r *rings) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle.Purge()
	for _, ring := range r.left {
		ring.Close()
	}
	r.left = nil
}

// Ring gives the keys of an app by its name, whether it runs or not; for
// functions.Config.
func (n *Node) Ring(ctx context.Context, name string) (*keyring.Ring, error) {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return n.ringOf(ctx, a)
}

// ringOf gives the keys of an app, whether it runs or not.
func (n *Node) ringOf(ctx context.Context, a app.App) (*keyring.Ring, error) {
	place := keyPlace(a)
	if ring := n.rings.serving(place); ring != nil {
		n.keepValues(ctx, a, ring)
		return ring, nil
	}
	settings, err := n.keySettings(ctx, a)
	if err != nil {
		return nil, err
	}
	return n.rings.get(place, choiceOf(settings), func() (*keyring.Ring, error) {
		ring, _, err := n.newRing(context.WithoutCancel(ctx), a, settings)
		return ring, err
	})
}

// keepValues has the setting for how values are kept count at once, and not only once
// a copy with the app's new settings has taken over. One that cannot be used is told
// when that copy starts.
func (n *Node) keepValues(ctx context.Context, a app.App, ring *keyring.Ring) {
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil || whole.UID != a.UID {
		return
	}
	if hash, err := keyring.ParseValues(hosted.Settings(whole.Settings).Get(keyring.ValuesSetting)); err == nil {
		ring.SetHashOnly(hash)
	}
}

// newRing makes the keyring of an app on the store that its settings choose.
func (n *Node) newRing(ctx context.Context, a app.App, s hosted.Settings) (*keyring.Ring, keystore.Store, error) {
	hash, err := keyring.ParseValues(s.Get(keyring.ValuesSetting))
	if err != nil {
		return nil, nil, err
	}
	store, err := n.openKeys(ctx, a, s)
	if err != nil {
		return nil, nil, err
	}
	cfg := keyring.Config{
		Store: store, Clock: n.cfg.Clock, Log: n.log.With("app", a.Name), OnEvent: n.auditKeys(a),
		Mode: keyring.ParseMode(s.Get(flagsSetting)), HashOnly: hash, TagKey: n.tagKey(a),
	}
	n.keepNotes(a, store, &cfg)
	if err := n.keepGone(a, s.Get(keyring.GoneKeptSetting), &cfg); err != nil {
		return nil, nil, err
	}
	ring, err := keyring.New(cfg)
	return ring, store, err
}
