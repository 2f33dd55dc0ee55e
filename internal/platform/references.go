package platform

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/notify"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/reference/keyvault"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
)

// openReferences makes what resolves references, and begins to.
func (n *Node) openReferences() (err error) {
	c := n.cfg.References
	if len(c.RealVaults) > 0 {
		n.realVaults, err = keyvault.New(keyvault.Config{Suffixes: c.RealVaults, Credential: n.upstream.Credential})
		if err != nil {
			return err
		}
	}
	if c.Webhook != "" {
		n.webhook, err = notify.New(notify.Config{URL: c.Webhook, Secret: c.WebhookSecret, Clock: n.outside(), Log: n.log})
		if err != nil {
			return err
		}
		n.beside(n.webhook.Run)
	}
	n.disclosed = newDisclosed()
	n.references = reference.New(reference.Config{
		Store: n.store, Clock: n.cfg.Clock, Log: n.log, Apps: n.apps, Source: (*secretSource)(n), Identify: n.referenceIdentity,
		Touch:    func(ctx context.Context, a app.App) (app.App, error) { return n.apps.Touch(ctx, a.ID) },
		OnChange: n.referenceChanged, Interval: c.Interval, Refuse: c.Refuse, StoppedTokenExpiry: n.cfg.StoppedTokenExpiry,
	})
	n.metrics.CountReferences(n.referenceFigures)
	n.beside(n.references.Run)
	n.followChanges(n.references)
	return nil
}

// followChanges tells a resolver of what may change how references stand.
func (n *Node) followChanges(r *reference.Resolver) {
	n.beside(func(ctx context.Context) { n.followSecrets(ctx, r) })
	n.beside(func(ctx context.Context) { n.followPermissions(ctx, r) })
}

// followSecrets tells a resolver of changes in our own vaults.
func (n *Node) followSecrets(ctx context.Context, r *reference.Resolver) {
	names := map[string]string{} // of vaults, by UID: a change names the UID
	for c := range n.secrets.Changes(ctx) {
		if !c.Resync && names[c.VaultUID] == "" {
			var err error
			if names, err = n.vaultNames(ctx); err != nil && ctx.Err() == nil {
				n.log.Warn("vaults cannot be listed; all references are read again", "reason", err)
				c.Resync = true
			}
		}
		switch name := names[c.VaultUID]; {
		case c.Resync:
			r.Poke()
		case name != "": // else its vault is deleted, and what it had goes now: nobody could read that
			r.Changed(name, c.Secret)
		}
	}
}

func (n *Node) vaultNames(ctx context.Context) (map[string]string, error) {
	names := map[string]string{}
	list, _, err := n.vaults.List(ctx, resource.Root, "", 0)
	for _, v := range list {
		names[v.UID] = v.Name
	}
	return names, err
}

// referenceIdentity gives the identity that reads an app's references.
func (n *Node) referenceIdentity(ctx context.Context, a app.Snapshot) (who identity.Assigned, err error) {
	list, err := n.madeIdentities(ctx, a.ID, a.Resource.Identity, func() (json.RawMessage, error) {
		now, err := n.apps.Get(ctx, a.ID)
		if err == nil && now.UID != a.UID {
			err = problem.New(problem.NotFound, "app "+a.Name+" is another one now")
		}
		return now.Resource.Identity, err
	})
	if err != nil {
		return who, err
	}
	own := a.ReferenceIdentity == "" || strings.EqualFold(a.ReferenceIdentity, "SystemAssigned")
	for _, i := range list {
		if own && i.System || !own && !i.System && strings.EqualFold(i.ResourceID, a.ReferenceIdentity) {
			if i.Dangling() && i.System {
				return who, problem.New(problem.NotFound, "app "+a.Name+"'s own identity is not there").
					WithNext("latchkey identity assign " + a.Name)
			}
			if i.Dangling() {
				return who, problem.New(problem.NotFound, "the identity "+i.ResourceID+" was deleted").
					WithNext("assign another one, or create it again and assign it anew")
			}
			return i, nil
		}
	}
	if own {
		return who, problem.New(problem.NotFound, "app "+a.Name+" has no identity of its own").
			WithNext("latchkey identity assign " + a.Name + ", or set keyVaultReferenceIdentity to a user-assigned identity")
	}
	return who, problem.New(problem.NotFound, "keyVaultReferenceIdentity names "+a.ReferenceIdentity+", which is not assigned to app "+a.Name).
		WithNext("latchkey identity assign " + a.Name + " --identity " + a.ReferenceIdentity)
}

// Waiting for an identity that is being made: an app is stored before its own
// identity, which takes moments.
const (
	identityLook = 50 * time.Millisecond
	identityTime = 2 * time.Second
)

// madeIdentities gives an app's identities, after a moment if its own is only being
// made: nobody should read that it is missing. again reads what is stored anew.
func (n *Node) madeIdentities(ctx context.Context, id resource.ID, stored json.RawMessage, again func() (json.RawMessage, error)) ([]identity.Assigned, error) {
	for waited := time.Duration(0); ; waited += identityLook {
		list, err := n.identities.Of(ctx, stored, id)
		block, bad := managed.Parse(stored)
		making := err == nil && bad == nil && block.PrincipalID == nil && slices.ContainsFunc(list, func(i identity.Assigned) bool { return i.System && i.Dangling() })
		if !making || waited >= identityTime || clock.Sleep(ctx, clock.Real{}, identityLook) != nil {
			return list, err
		}
		now, err := again()
		if errors.Is(err, problem.NotFound) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		stored = now
	}
}

// secretSource reads secrets for references: from our own vaults, as the app's
// identity may, and from the cloud's.
type secretSource Node

// Fetch implements reference.Source.
func (s *secretSource) Fetch(ctx context.Context, q reference.Query) (reference.Secret, error) {
	n := (*Node)(s)
	v, own, err := n.vaultOf(ctx, q)
	if err != nil {
		return reference.Secret{}, err
	}
	if !own {
		return n.realVaults.Fetch(ctx, q)
	}
	secret, err := n.readSecret(ctx, v, q)
	n.disclosed.record(n, v, q, secret.Version, err)
	return secret, failure(err, q)
}

// vaultOf finds the vault that a query means. A name alone is first of all one of
// ours; so is a host of the cloud, unless the cloud's vaults are asked.
func (n *Node) vaultOf(ctx context.Context, q reference.Query) (v vault.Vault, own bool, err error) {
	host, real := withoutPort(q.Host), n.realVaults != nil
	kind, _ := n.names.kindOf(host)
	switch {
	case host != "" && real && n.realVaults.Serves(q.Host):
		return v, false, nil
	case host != "" && kind != hostVault && !strings.HasSuffix(host, "."+azureVaults):
		return v, false, &reference.Failure{
			Status:  reference.VaultNotFound,
			Message: host + " is no vault of this installation; vaults elsewhere are asked only if references.realVaults lists their domain",
		}
	}
	v, err = n.vaults.ByName(q.Vault)
	if host != "" || !real || !errors.Is(err, problem.NotFound) || !n.realVaults.Serves("") {
		return v, true, failure(err, q)
	}
	// A vault of ours that was deleted must not become somebody else's of that name.
	free, bad := n.vaults.NameFree(ctx, q.Vault)
	switch {
	case bad != nil:
		return v, true, failure(bad, q)
	case !free:
		return v, true, failure(err, q)
	}
	return v, false, nil
}

func withoutPort(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// readSecret reads a secret of one of our vaults as an identity may.
func (n *Node) readSecret(ctx context.Context, v vault.Vault, q reference.Query) (s reference.Secret, err error) {
	if _, err := n.directory.Active(ctx, q.Identity.ObjectID); err != nil {
		return s, err
	}
	if n.drill != nil {
		if err := n.drilled(ctx, v); err != nil {
			return s, err
		}
	}
	in, err := n.groups.Of(ctx, q.Identity.ObjectID)
	if err != nil {
		return s, err
	}
	_, err = n.vaults.Check(ctx, v, vault.Caller{
		ObjectID: q.Identity.ObjectID, AppID: q.Identity.AppID, TenantID: n.install.TenantID, Issuer: token.IssuerV1(n.install.TenantID),
		Groups: in, Trusted: true,
	}, vault.Get, q.Secret)
	if err != nil {
		return s, err
	}
	b, err := n.secrets.Get(ctx, v, q.Secret, q.Version)
	return reference.Secret{Value: b.Value, Version: b.Version, Expires: b.Expires}, err
}

// referenceChanged tells everybody who wants to know that a reference stands
// otherwise than before.
func (n *Node) referenceChanged(e reference.Event) {
	log := n.log.Info
	if e.To != reference.Resolved {
		log = n.log.Warn
	}
	log("a reference changed", "app", e.App.Name, "setting", e.Setting, "vault", e.Vault, "name", e.Secret,
		"from", e.From, "to", e.To, "stale", e.Stale, "version", e.Version, "why", e.Why)
	scope := e.App.ID.String() + "/config/configreferences/" + string(e.Section) + "/" + e.Setting
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

// changedReference is what a webhook is told. Its form is a contract.
type changedReference struct {
	App        string `json:"app"`
	Setting    string `json:"setting"`
	Vault      string `json:"vault"`
	Secret     string `json:"secret"`
	From       string `json:"from"`
	To         string `json:"to"`
	Why        string `json:"why,omitempty"`
	InnerCode  string `json:"innerCode,omitempty"`
	Version    string `json:"version,omitempty"`
	NewVersion bool   `json:"newVersion"`
	Stale      bool   `json:"stale"`
}

func (n *Node) referenceFigures() telemetry.ReferenceFigures {
	s := n.references.Stats()
	f := telemetry.ReferenceFigures{InFlight: s.InFlight, Queued: s.Queued, Restarts: s.Touches, Apps: s.Apps, Fetches: map[string]int64{}}
	for status, count := range s.Fetches {
		f.Fetches[string(status)] = count
	}
	return f
}

// resolved gives an app's snapshot with its references replaced, and says in the
// log which could not be.
func (n *Node) resolved(ctx context.Context, a app.Snapshot) (app.Snapshot, error) {
	values, err := n.references.Values(ctx, a)
	if err != nil {
		return a, err
	}
	for _, p := range values.Unresolved {
		n.log.Error("an app starts with a reference that is not resolved", "app", a.Name, "setting", p.Setting, "status", p.Status, "why", p.Why,
			"stale", p.Stale, "next", "latchkey references list "+a.Name)
	}
	a.Settings, a.Connections = values.Settings, values.Connections
	return a, nil
}
