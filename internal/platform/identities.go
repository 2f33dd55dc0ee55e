package platform

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/entra"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/identity/tokens"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/tokenapi/msi"
)

// openIdentities makes what workloads' identities are and get tokens from.
func (n *Node) openIdentities() (err error) {
	n.groups = groups.New(n.store, n.cfg.Clock, n.log)
	n.beside(n.groups.Run)
	n.identities, err = managed.New(managed.Config{
		Inventory: n.inventory, Directory: n.directory, TenantID: n.install.TenantID, OnDelete: n.forgetPrincipal,
		Holders: []string{app.SiteType, containerapp.Type},
	})
	if err != nil {
		return err
	}
	cfg := tokens.Config{Authority: n.authority, Clock: n.cfg.Clock, Active: n.directory.Accepts, Lifetime: n.cfg.TokenLifetime}
	if n.upstream, err = n.openUpstream(); err != nil {
		return err
	}
	if len(n.cfg.Upstream) > 0 {
		cfg.Upstream = n.upstream
	}
	n.tokens, err = tokens.New(cfg)
	return err
}

func (n *Node) openUpstream() (*entra.Upstream, error) {
	u, err := entra.New(entra.Config{Mappings: n.cfg.Upstream, Ours: n.ours, Clock: n.cfg.Clock, Log: n.log})
	if err != nil {
		return nil, err
	}
	for i, bad := range u.Check() {
		n.log.Error("an identity gets no tokens of the cloud", "identity", n.cfg.Upstream[i].Identity, "reason", bad)
	}
	return u, nil
}

// ours reports whether tokens for a resource are this installation's to make.
func (n *Node) ours(resource string) bool {
	for _, own := range append(n.audiences(""), n.vaultAudiences("")...) {
		if strings.EqualFold(strings.TrimRight(own, "/"), strings.TrimRight(resource, "/")) {
			return true
		}
	}
	return false
}

// forgetPrincipal takes from a principal that goes away what it was given.
func (n *Node) forgetPrincipal(ctx context.Context, objectID string) error {
	if _, err := n.roles.UnassignAll(ctx, objectID); err != nil {
		return err
	}
	_, err := n.groups.RemoveEverywhere(ctx, objectID)
	n.tokens.Forget(objectID)
	return err
}

// openEndpoint opens the identity endpoint of a copy of an app and tells its
// settings. An app without identities has none, as on the platform.
func (n *Node) openEndpoint(ctx context.Context, a app.App, settings hosted.Settings) (end func(), err error) {
	block, err := managed.Parse(a.Resource.Identity)
	if err != nil || !block.System() && !block.User() || settings.IsTrue("WEBSITE_DISABLE_MSI") {
		return func() {}, err
	}
	e, err := msi.Listen(context.WithoutCancel(ctx), msi.Config{
		Identities: n.identitiesOf(a),
		Issue:      n.tokens.Get, Clock: n.cfg.Clock, Log: n.log.With("app", a.Name), TenantID: n.install.TenantID,
		Location: a.Resource.Location, WindowsErrors: !strings.Contains(strings.ToLower(a.Resource.Kind), "linux"),
		OnEvent: n.auditWorkload(a), Fault: n.tokenFault(),
	})
	if err != nil {
		return nil, err
	}
	for name, value := range e.Env() {
		settings[name] = value
	}
	return e.Close, nil
}

// identitiesOf gives what tells the identities that an app may use at each moment;
// none for a life of the app that is over.
func (n *Node) identitiesOf(a app.App) func(context.Context) ([]identity.Assigned, error) {
	var last atomic.Pointer[app.App] // as it was read last
	last.Store(&a)
	return func(ctx context.Context) ([]identity.Assigned, error) {
		known := last.Load()
		now, err := n.apps.Current(ctx, *known)
		if err != nil || now.UID != a.UID {
			return nil, err
		}
		if now.Resource.Revision != known.Resource.Revision {
			last.Store(&now)
		}
		return n.identities.Of(ctx, now.Resource.Identity, a.ID)
	}
}

// tokenFault makes the endpoints fail in a drill.
func (n *Node) tokenFault() func(context.Context) error {
	if n.drill == nil {
		return nil
	}
	return n.drill.Token
}

// auditWorkload records the tokens that an app got and did not get. It does not
// wait; what repeats becomes one event.
func (n *Node) auditWorkload(a app.App) func(msi.Event) {
	scope := a.ID.String()
	return func(e msi.Event) {
		event := audit.Event{
			Time: e.Time, Category: audit.SignIn, Action: "workloadToken", Scope: scope, Outcome: "Succeeded", Status: e.Status,
			Source: e.Source, CorrelationID: e.CorrelationID,
			Principal: audit.Principal{ObjectID: e.Identity.ObjectID, AppID: e.Identity.AppID, Name: e.Identity.ResourceID},
			Details:   map[string]string{"audience": e.Resource},
		}
		if e.Selector != "" {
			event.Details["selector"] = e.Selector
		}
		if !e.Granted {
			event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Reason
		}
		n.audit.Record(event)
	}
}
