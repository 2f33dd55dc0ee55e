package platform

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/state"
)

// rostersPrefix is where it is kept which functions apps have, by the place of
// their keys.
const rostersPrefix state.Key = "/keyfunctions/"

// keyRoster is the [keyring.Roster] of one app, shared by all nodes.
type keyRoster struct {
	store state.Store
	key   state.Key
}

func (n *Node) keyRoster(a app.App) keyRoster {
	return keyRoster{n.store, rostersPrefix + state.Key(keyPlace(a))}
}

// Read implements [keyring.Roster].
func (k keyRoster) Read(ctx context.Context) ([]byte, error) {
	doc, err := k.store.Get(ctx, k.key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return doc.Value, err
}

// Revise implements [keyring.Roster].
func (k keyRoster) Revise(ctx context.Context, change func(old []byte) ([]byte, error)) error {
	_, err := state.Update(ctx, k.store, k.key, func(old []byte, _ bool) ([]byte, error) { return change(old) })
	return err
}

// forget drops the roster of an app that is deleted.
func (k keyRoster) forget(ctx context.Context) error {
	_, err := k.store.Write(ctx, state.Delete(k.key, state.Any))
	return err
}

// rosterPlaces gives the places that have a roster.
func rosterPlaces(ctx context.Context, store state.Store) ([]string, error) {
	list, err := store.List(ctx, rostersPrefix, state.Page{KeysOnly: true})
	places := make([]string, len(list.Documents))
	for i, d := range list.Documents {
		places[i] = string(d.Key[len(rostersPrefix):])
	}
	return places, err
}

// keepGone fills in what becomes of the keys of functions that are gone.
func (n *Node) keepGone(a app.App, setting string, cfg *keyring.Config) error {
	kept, keep, err := keyring.ParseGoneKept(setting)
	if err == nil && !keep {
		cfg.Roster, cfg.Limits.GoneKept = n.keyRoster(a), kept
	}
	return err
}

// modelLoaded reports what an app turned out to be. One that cannot be loaded, or
// whose worker is yet to find them, says nothing about its functions, and is reported once it has found them.
func (n *Node) modelLoaded(name string, ring *keyring.Ring) func(*instance.Model) {
	report := n.reportFaults(name)
	return func(m *instance.Model) {
		if m.Unindexed {
			return
		}
		report(m)
		if len(m.App.Faults) == 0 {
			ring.Deployed(m.Names())
			select {
			case n.deployed <- struct{}{}:
			default: // it is known already that there is something new
			}
		}
	}
}
