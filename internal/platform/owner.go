package platform

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
)

// ownerValidity is how long the owner's secret works. It lies on the machine that
// runs the node, and renews itself there when the node starts in its last third.
const ownerValidity = 2 * 365 * 24 * time.Hour

// openOwner makes sure that somebody can administer the installation, and in a new
// one gives this machine the owner's credential. An owner that was deleted, or
// whose role was taken away, stays so as long as there is another: only asking for
// a new credential brings it back.
func (n *Node) openOwner(ctx context.Context) error {
	owned, err := n.isOwned(ctx)
	if err != nil {
		return err
	}
	owner, err := n.directory.Get(ctx, n.install.OwnerID)
	isNew := errors.Is(err, problem.NotFound)
	if isNew && owned && !n.cfg.NewOwnerCredential {
		return nil
	}
	if isNew {
		owner, err = n.directory.Create(ctx, identity.Principal{ObjectID: n.install.OwnerID, Name: "owner", Kind: identity.ServicePrincipal})
		if errors.Is(err, problem.Exists) { // another node was faster
			owner, err = n.directory.Get(ctx, n.install.OwnerID)
			isNew = false
		}
	}
	if err != nil {
		return err
	}
	if !owned || n.cfg.NewOwnerCredential {
		if err := n.assignOwner(ctx); err != nil {
			return err
		}
	}
	return n.keepOwnerFile(ctx, owner, isNew)
}

// isOwned reports whether a principal that there is has the role Owner over
// everything.
func (n *Node) isOwned(ctx context.Context) (bool, error) {
	all, err := n.roles.Assignments()
	if err != nil {
		return false, err
	}
	for _, a := range all {
		if a.Role != rbac.Owner || !a.Scope.IsRoot() {
			continue
		}
		p, err := n.directory.Get(ctx, a.Principal)
		if err == nil && !p.Disabled {
			return true, nil
		}
		if err != nil && !errors.Is(err, problem.NotFound) {
			return false, err
		}
	}
	return false, nil
}

// assignOwner gives the owner its role; it may have it already, under this name
// or another.
func (n *Node) assignOwner(ctx context.Context) error {
	_, _, err := n.roles.Assign(ctx, rbac.Assign{
		Scope: resource.Root, Name: n.install.OwnerID, Principal: n.install.OwnerID, Role: rbac.Owner,
		Description: "the owner made with the installation", By: n.install.OwnerID,
	})
	if errors.Is(err, problem.Exists) {
		return nil
	}
	return err
}

// keepOwnerFile writes the owner's credential in a new installation, when asked
// to, and when it will expire; else the file is only brought up to date.
func (n *Node) keepOwnerFile(ctx context.Context, owner identity.Principal, isNew bool) error {
	have, err := armclient.ReadCredential(n.path(OwnerFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isNew && !n.cfg.NewOwnerCredential:
		n.log.Info("this machine does not have the owner's credential; latchkey up --new-owner-credential makes another", "file", n.path(OwnerFile))
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !n.cfg.NewOwnerCredential:
		return err
	case isNew || err != nil || n.cfg.NewOwnerCredential || n.cfg.Clock.Now().After(have.Expires.Add(-ownerValidity/3)):
		secret, s, err := n.directory.AddSecret(ctx, owner.ObjectID, "owner file of "+n.cfg.Node, ownerValidity)
		if err != nil {
			return err
		}
		have.ClientSecret, have.Expires = secret, s.Expires
	}
	have.Endpoint, have.CAFile = n.names.managementURL(), n.path(CAFile)
	have.TenantID, have.SubscriptionID, have.ClientID = n.install.TenantID, n.install.SubscriptionID, owner.AppID
	return have.Write(n.path(OwnerFile))
}
