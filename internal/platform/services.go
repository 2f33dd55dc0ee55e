package platform

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/token"
)

// openServices makes what works on the state, and waits until it has read it.
func (n *Node) openServices(ctx context.Context) (err error) {
	n.inventory = &inventory.Inventory{Store: n.store, Clock: n.cfg.Clock}
	n.directory = identity.New(n.store, n.cfg.Clock)
	n.authority, err = token.New(token.Config{
		Store: n.store, Clock: n.cfg.Clock, Log: n.log, TenantID: n.install.TenantID, Active: n.directory.Accepts,
		Algorithm: token.Algorithm(n.cfg.TokenAlgorithm),
	})
	if err != nil {
		return err
	}
	n.roles = rbac.New(n.inventory, n.cfg.Clock, n.log)
	n.roles.Principals = n.principalExists
	n.openAudit()
	n.beside(n.directory.Run)
	n.beside(n.authority.Run)
	n.beside(n.roles.Run)
	if err := n.openIdentities(); err != nil {
		return err
	}
	n.openVaults()
	n.openReleases()
	if n.rings, err = newRings(n.cfg.Clock); err != nil {
		return err
	}
	n.onClose(n.rings.close)
	n.statuses = newStatuses(n.store, n.cfg.Node, n.cfg.State.Kind != "bolt", n.cfg.Clock, func(err error) {
		n.log.Warn("what apps do on this node cannot be told to the others", "reason", err)
	})
	n.beside(func(ctx context.Context) {
		n.statuses.run(ctx, heartbeat{Version: n.cfg.Version, Management: n.names.managementURL()})
	})
	n.openTraffic()
	n.apps = app.New(app.Config{
		Inventory: n.inventory, Clock: n.cfg.Clock,
		Hosts: app.LocalHosts(n.cfg.Domain, n.names.functions, n.names.management),
		OnDelete: []func(context.Context, app.App) error{
			n.deleteKeys, n.deleteKeyNotes, n.deleteTriggers, n.deleteReleases, n.deleteIdentity, n.forgetTraffic,
			func(ctx context.Context, a app.App) error { return n.roles.UnassignBelow(ctx, a.ID) },
		},
	})
	if err := n.vaults.Ready(ctx); err != nil {
		return err
	}
	if err := n.roles.Ready(ctx); err != nil {
		return err
	}
	return n.openReferences() // before, what it asks for would seem to be neither there nor allowed
}

// deleteIdentity removes what an app could identify itself with, and the secrets
// that were read with it.
func (n *Node) deleteIdentity(ctx context.Context, a app.App) error {
	if err := n.identities.Remove(ctx, a.ID); err != nil {
		return err
	}
	return n.references.Forget(ctx, a.UID)
}

func (n *Node) openAudit() {
	n.audit = audit.New(n.store, n.cfg.Clock, n.log)
	n.audit.Node = n.cfg.Node
	n.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Grace)
		defer cancel()
		if err := n.audit.Close(ctx); err != nil {
			n.log.Error("the last audit events could not be written", "reason", err)
		}
	})
}

func (n *Node) openReleases() {
	n.releases = release.New(release.Config{
		Store: n.store, CacheDir: n.path(isolation.PackagesDir), Node: n.cfg.Node, Clock: n.cfg.Clock, Log: n.log,
		Limits: release.Limits{Zip: n.cfg.MaxPackage}, Inspect: inspect,
	})
	n.deployer = release.NewDeployer(release.DeployerConfig{Releases: n.releases, Activate: n.activate, Log: n.log})
	n.onClose(n.deployer.Close)
}

func (n *Node) principalExists(ctx context.Context, objectID string) (bool, string, error) {
	p, err := n.directory.Get(ctx, objectID)
	if err == nil {
		return true, p.Kind.AssignmentType(), nil
	}
	if errors.Is(err, problem.NotFound) {
		_, err = n.groups.Get(ctx, objectID)
	}
	if errors.Is(err, problem.NotFound) {
		return false, "", nil
	}
	return err == nil, "Group", err
}

func (n *Node) deleteKeys(ctx context.Context, a app.App) error {
	n.rings.forget(keyPlace(a))
	n.metrics.Forget(a.Name)
	if err := n.keyRoster(a).forget(ctx); err != nil {
		return err
	}
	return controlplane.DeleteAll(ctx, n.store, keyPlace(a))
}

func (n *Node) activate(ctx context.Context, name, id, by string) error {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return err
	}
	_, err = n.apps.Activate(ctx, a.ID, by, id)
	return err
}

func (n *Node) deleteReleases(ctx context.Context, a app.App) error {
	if err := n.statuses.forget(ctx, a.Name); err != nil {
		return err
	}
	return n.releases.DeleteAll(ctx, a.Name)
}
