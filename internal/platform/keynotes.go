package platform

import (
	"context"
	"slices"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// keepNotes has what is known of an app's keys outside their store kept in the
// state. In the control plane nobody drops restrictions, so that they need not be
// remembered.
func (n *Node) keepNotes(a app.App, store keystore.Store, cfg *keyring.Config) {
	cfg.Usage = keynotes.NewUses(n.store, keyPlace(a), func(ctx context.Context) error {
		now, err := n.apps.Get(ctx, a.ID)
		if err == nil && now.UID != a.UID {
			err = problem.New(problem.NotFound, "app "+a.Name+" was deleted and made anew")
		}
		return err
	})
	if _, own := store.(*controlplane.Store); !own {
		cfg.Memory = keynotes.NewRestrictions(n.store, keyPlace(a))
	}
}

func (n *Node) deleteKeyNotes(ctx context.Context, a app.App) error {
	return keynotes.DeleteAll(ctx, n.store, keyPlace(a))
}

// sweepKeyNotes removes notes and rosters of apps that are gone, which a node wrote
// that had not heard of it.
func (n *Node) sweepKeyNotes(ctx context.Context) error {
	return sweepKeyNotes(ctx, n.store, func(ctx context.Context) ([]app.App, error) {
		apps, _, err := n.apps.List(ctx, resource.Root, "", 0)
		return apps, err
	})
}

// sweepKeyNotes lists the apps last: one of them may be new.
func sweepKeyNotes(ctx context.Context, store state.Store, list func(context.Context) ([]app.App, error)) error {
	notes, err := keynotes.Places(ctx, store)
	if err != nil {
		return err
	}
	rosters, err := rosterPlaces(ctx, store)
	if err != nil || len(notes)+len(rosters) == 0 {
		return err
	}
	apps, err := list(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(apps))
	for _, a := range apps {
		there[keyPlace(a)] = true
	}
	gone := func(places []string) []string {
		return slices.DeleteFunc(places, func(place string) bool { return there[place] })
	}
	for _, place := range gone(notes) {
		if err := keynotes.DeleteAll(ctx, store, place); err != nil {
			return err
		}
	}
	for _, place := range gone(rosters) {
		if err := (keyRoster{store, rostersPrefix + state.Key(place)}).forget(ctx); err != nil {
			return err
		}
	}
	return nil
}
