package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
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

// sweepKeyNotes removes notes of apps that are gone, which a node wrote that had not
// heard of it.
func (n *Node) sweepKeyNotes(ctx context.Context) error {
	places, err := keynotes.Places(ctx, n.store) // before the apps, of which some may be new
	if err != nil || len(places) == 0 {
		return err
	}
	apps, _, err := n.apps.List(ctx, resource.Root, "", 0)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(apps))
	for _, a := range apps {
		there[keyPlace(a)] = true
	}
	for _, place := range places {
		if there[place] {
			continue
		}
		if err := keynotes.DeleteAll(ctx, n.store, place); err != nil {
			return err
		}
	}
	return nil
}
