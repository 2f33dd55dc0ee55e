package platform

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/installation"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/archive"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// newInstallation makes the operations on the installation as a whole.
func (n *Node) newInstallation() *installation.Provider {
	return installation.New(installation.Config{
		Info: n.info, Backup: n.backup, Rotate: n.rotate, Rewrap: n.keyset.Rewrap, RotateTokens: n.authority.Rotate,
		Now: n.cfg.Clock.Now, Drill: n.drill, PortalLink: n.portalLink,
	})
}

func (n *Node) info(ctx context.Context) (installation.Info, error) {
	nodes, err := n.nodes(ctx)
	return installation.Info{
		TenantID: n.install.TenantID, SubscriptionID: n.install.SubscriptionID, Version: n.cfg.Version, Created: n.install.Created,
		State: n.raw.String(), Keyset: n.keyset.KeyID(), CAFingerprint: n.ca.Fingerprint(), Nodes: nodes,
	}, err
}

func (n *Node) nodes(ctx context.Context) ([]installation.Node, error) {
	own := installation.Node{Name: n.cfg.Node, Version: n.cfg.Version, Management: n.names.managementURL(), Alive: true, Seen: n.cfg.Clock.Now().UTC()}
	list := []installation.Node{own}
	beats, err := state.Collection[heartbeat]{Store: n.store, Prefix: nodesPrefix}.List(ctx)
	for _, b := range beats {
		if b.Name != segment(n.cfg.Node) {
			alive := n.cfg.Clock.Now().Sub(b.Value.Time) < 3*beat
			list = append(list, installation.Node{Name: b.Name, Version: b.Value.Version, Management: b.Value.Management, Alive: alive, Seen: b.Value.Time})
		}
	}
	return list, err
}

func (n *Node) backup(ctx context.Context, w io.Writer) error {
	_, err := archive.Backup(ctx, n.raw, w, archive.Options{
		Created: n.cfg.Clock.Now(), Program: n.cfg.Version, Sealer: n.keyset, Keyset: sealed.KeysetKey,
	})
	return err
}

// rotate makes a new data key and seals everything with it. Nodes that have not
// met the new key yet may seal with the old one for a moment; the next upkeep
// finds that.
func (n *Node) rotate(ctx context.Context) (int, error) {
	if err := n.keyset.Rotate(ctx); err != nil {
		return 0, err
	}
	total := 0
	err := n.store.Reseal(ctx, func(_, all int) { total = all })
	return total, err
}

// upkeepEvery is how often what may have been left lying is cleared.
const upkeepEvery = time.Hour

// upkeep clears what was left when the node starts, and now and then does, on one
// node at a time, what nobody waits for. Deletions and deployments in progress are
// not disturbed.
func (n *Node) upkeep(ctx context.Context) {
	if err := n.apps.FinishDeletes(ctx); err != nil && ctx.Err() == nil {
		n.log.Error("apps whose deletion was interrupted are still there", "reason", err)
	}
	if err := n.containers.apps.FinishDeletes(ctx); err != nil && ctx.Err() == nil {
		n.log.Error("container apps whose deletion was interrupted are still there", "reason", err)
	}
	if err := n.identities.EnsureAll(ctx); err != nil && ctx.Err() == nil {
		n.log.Error("apps are without the identity that they are to have", "reason", err, "next", "latchkey identity assign APP")
	}
	if err := n.releases.Collect(ctx); err != nil && ctx.Err() == nil {
		n.log.Error("what interrupted deployments left could not be cleared", "reason", err)
	}
	for {
		if clock.Sleep(ctx, n.cfg.Clock, upkeepEvery) != nil {
			return
		}
		n.upkeepOnce(ctx)
	}
}

func (n *Node) upkeepOnce(ctx context.Context) {
	lease, err := n.store.Acquire(ctx, "upkeep", time.Minute)
	if err != nil {
		return
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	held, cancel := state.Held(ctx, lease)
	defer cancel()
	for what, do := range map[string]func(context.Context) error{
		"releases": n.releases.Collect, "deletions": n.apps.FinishDeletes, "container app deletions": n.containers.apps.FinishDeletes, "identities": n.identities.FinishDeletes,
		"missing identities": n.identities.EnsureAll,
		"vaults":             n.vaults.PurgeExpired, "secrets": n.secrets.PurgeExpired,
		"seals": n.reseal, "notes of keys": n.sweepKeyNotes,
	} {
		if err := do(held); err != nil && ctx.Err() == nil {
			n.log.Warn("upkeep failed", "of", what, "reason", err)
		}
	}
}

// resealed says how far everything is sealed with a data key.
type resealed struct {
	Key    string `json:"key"`
	Passes int    `json:"passes"` // over all documents since the key was made
}

// passes are enough: in the first, a node that had not met the key yet may have
// sealed with the one before.
const passes = 2

// reseal seals anew what was sealed with an older data key, unless that was done.
func (n *Node) reseal(ctx context.Context) error {
	done := state.Collection[resealed]{Store: n.store, Prefix: "/platform/"}
	at, err := done.Get(ctx, "resealed")
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	key := n.keyset.KeyID()
	if at.Value.Key != key {
		at.Value = resealed{Key: key}
	}
	if at.Value.Passes >= passes {
		return nil
	}
	if err := n.store.Reseal(ctx, nil); err != nil {
		return err
	}
	_, err = done.Update(ctx, "resealed", func(resealed, bool) (resealed, error) {
		return resealed{Key: key, Passes: at.Value.Passes + 1}, nil
	})
	return err
}

// checkComplete refuses a state that a restore has not filled.
func checkComplete(ctx context.Context, s state.Store) error {
	_, err := s.Get(ctx, archive.RestoringKey)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = problem.New(problem.Conflict, "a restore into "+s.String()+" was interrupted").
			WithNext("run latchkey restore again with the same file")
	}
	return err
}
