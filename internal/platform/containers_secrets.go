package platform

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/containerapp/vaultsecrets"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/notify"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// openContainerSecrets makes what resolves container apps' secrets, and begins to.
func (n *Node) openContainerSecrets() {
	s := vaultsecrets.New(vaultsecrets.Config{
		Apps: n.containers.apps, Store: n.store, Source: (*secretSource)(n), Identify: n.containerIdentity,
		OnChange: n.containerSecretChanged, Interval: n.cfg.References.Interval, Clock: n.cfg.Clock, Log: n.log,
	})
	n.containers.vaults, n.containers.secrets = s, s.Values
	n.beside(s.Run)
	n.followChanges(s.Resolver)
}

// containerIdentity gives an identity of a container app, "system" or a resource id,
// for what the control plane does with it: its lifecycle does not count. One that is
// only being made, as at the first deployment, is waited for.
func (n *Node) containerIdentity(ctx context.Context, a containerapp.App, which string) (who identity.Assigned, err error) {
	list, err := n.madeIdentities(ctx, a.ID, a.Resource.Identity, func() (json.RawMessage, error) {
		now, err := n.containers.apps.Get(ctx, a.ID)
		if err == nil && now.UID != a.UID {
			err = problem.New(problem.NotFound, "container app "+a.Name+" is another one now")
		}
		return now.Resource.Identity, err
	})
	if err != nil {
		return who, err
	}
	own := strings.EqualFold(which, identityrules.System)
	assign := "latchkey containerapp identity assign --name " + a.Name + " --resource-group " + a.ID.Group()
	for _, i := range list {
		switch {
		case own != i.System || !own && !identityrules.SameIdentity(which, i.ResourceID):
		case i.Dangling() && own:
			return who, problem.New(problem.NotFound, "container app "+a.Name+"'s own identity is not there").WithNext(assign + " --system-assigned")
		case i.Dangling():
			return who, problem.New(problem.NotFound, "the identity "+i.ResourceID+" was deleted").
				WithNext("assign another one, or create it again and assign it anew")
		default:
			return i, nil
		}
	}
	if own {
		return who, problem.New(problem.NotFound, "container app "+a.Name+" has no identity of its own").WithNext(assign + " --system-assigned")
	}
	return who, problem.New(problem.NotFound, "identity "+which+" is not assigned to container app "+a.Name).WithNext(assign + " --user-assigned " + which)
}

// containerSecretChanged tells everybody who wants to know that a secret of a
// container app stands otherwise than before.
func (n *Node) containerSecretChanged(e reference.Event) {
	log := n.log.Info
	if e.To != reference.Resolved {
		log = n.log.Warn
	}
	log("a secret of a container app changed", "app", e.App.Name, "setting", e.Setting, "vault", e.Vault, "name", e.Secret,
		"from", e.From, "to", e.To, "stale", e.Stale, "version", e.Version, "why", e.Why)
	scope := e.App.ID.String() + "/secretReferences/" + e.Setting
	n.audit.Record(audit.Event{
		Time: e.Time, Category: audit.System, Action: "referenceChanged", Scope: scope, Outcome: string(e.To), Status: e.HTTPStatus,
		Reason:    e.Why,
		Principal: audit.Principal{ObjectID: e.Identity.PrincipalID, Name: e.Identity.ResourceID},
		Details:   map[string]string{"from": string(e.From), "vault": e.Vault, "secret": e.Secret, "version": e.Version},
	})
	if n.webhook != nil {
		n.webhook.Send(notify.Event{Type: "dev.latchkey.reference.changed", Subject: scope, Time: e.Time, Data: changedReference{
			App: e.App.Name, Setting: e.Setting, Vault: e.Vault, Secret: e.Secret, From: string(e.From), To: string(e.To), Why: e.Why,
			InnerCode: e.InnerCode, Version: e.Version, NewVersion: e.NewVersion, Stale: e.Stale,
		}})
	}
}
