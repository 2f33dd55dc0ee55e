package platform

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/server/stores"
)

// controlPlane names the installation's own store of keys where stores are named.
const controlPlane = "controlplane"

// MigrateKeys implements functions.KeyStores: it copies the keys of an app between
// the control plane and the services that its settings describe, as the app's own
// identities. The app goes on using the store that its setting names.
func (n *Node) MigrateKeys(ctx context.Context, name string, m functions.KeyMigration) (functions.KeyMigrated, error) {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return functions.KeyMigrated{}, err
	}
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil {
		return functions.KeyMigrated{}, err
	}
	s, err := n.withValues(ctx, whole)
	if err != nil {
		return functions.KeyMigrated{}, err
	}
	from, err := n.keysIn(ctx, a, s, "from", m.From)
	if err != nil {
		return functions.KeyMigrated{}, err
	}
	to, err := n.keysIn(ctx, a, s, "to", m.To)
	if err != nil {
		return functions.KeyMigrated{}, err
	}
	if m.Replace {
		if err := n.notInUse(ctx, a, s, to); err != nil {
			return functions.KeyMigrated{}, err
		}
	}
	return migrateBetween(ctx, from, to, m)
}

func migrateBetween(ctx context.Context, from, to keystore.Store, m functions.KeyMigration) (functions.KeyMigrated, error) {
	done := functions.KeyMigrated{From: nameOf(from), To: nameOf(to)}
	var err error
	if done.Steps, err = migrate.Plan(ctx, from, to, migrate.Options{Replace: m.Replace}); err != nil {
		return done, err
	}
	if !m.Apply || migrate.Blockers(done.Steps) != nil {
		return done, nil
	}
	done.Steps, err = migrate.Apply(ctx, from, to, done.Steps)
	done.Done = err == nil
	return done, err
}

// nameOf names a store for people; places in the state are nobody's business.
func nameOf(s keystore.Store) string {
	if _, own := s.(*controlplane.Store); own {
		return "the control plane"
	}
	return s.String()
}

// keysIn opens a store that a migration names.
func (n *Node) keysIn(ctx context.Context, a app.App, s hosted.Settings, member, place string) (keystore.Store, error) {
	before := controlplane.New(n.store, keyPlace(a))
	if strings.EqualFold(place, controlPlane) {
		return before, nil
	}
	kind, err := stores.ParseKind(place)
	if err != nil || kind == "" {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("%s %.40q names no key store", member, place)).
			WithNext("use controlplane, blob or keyvault")
	}
	return n.openKeysOf(ctx, a, choosing(s, string(kind)), before)
}

// choosing gives settings that choose a kind of store, however the setting is spelled.
func choosing(s hosted.Settings, kind string) hosted.Settings {
	out := maps.Clone(s)
	maps.DeleteFunc(out, func(name, _ string) bool { return strings.EqualFold(name, stores.TypeSetting) })
	out[stores.TypeSetting] = kind
	return out
}

// notInUse returns problem.Conflict for the store that the app uses.
func (n *Node) notInUse(ctx context.Context, a app.App, s hosted.Settings, to keystore.Store) error {
	used, err := n.openKeysOf(ctx, a, s, controlplane.New(n.store, keyPlace(a)))
	if err != nil {
		return err // whether it is in use is not known
	}
	if used.String() != to.String() {
		return nil
	}
	return problem.New(problem.Conflict, "app "+a.Name+" uses the keys in "+nameOf(to)+"; they are not replaced").
		WithNext("leave out --replace, or set " + stores.TypeSetting + " to the other store first")
}
