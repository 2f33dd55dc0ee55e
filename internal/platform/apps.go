package platform

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/egress"
	"github.com/latchkey/latchkey/internal/funchost"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/statestore"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
)

// openApps makes the fleet. What an earlier process left is cleared beside it:
// nobody waits for that, and with thousands of apps it takes seconds.
func (n *Node) openApps(context.Context) error {
	n.fleet = fleet.New(fleet.Config{
		Store: n.store, Prefix: inventory.TypePrefix(app.SiteType) + "subscriptions/", Decode: decodeWant,
		Open: n.openCopy, Eager: n.eager, OnChange: n.appChanged, Clock: n.outside(), Log: n.log,
	})
	if n.webhook != nil && n.cfg.AlertRetiredKeys {
		n.keyAlerts = newKeyAlerts(n.webhook.Send, n.cfg.Clock, n.log)
	}
	n.beside(n.upkeep)
	n.beside(n.tendKeys)
	n.beside(n.keepUsers)
	return nil
}

// decodeWant reads what is wanted of an app from its document.
func decodeWant(doc state.Document) (fleet.Want, bool, error) {
	r, err := inventory.Decode(doc)
	if err != nil {
		return fleet.Want{}, false, err
	}
	a, err := app.FromResource(r)
	if err != nil {
		return fleet.Want{}, false, err
	}
	return fleet.Want{
		Name: a.Name, UID: a.UID, Generation: a.Generation, Release: a.Release,
		Stopped: !a.Wanted(),
	}, true, nil
}

// openCopy gets what a copy of an app needs: its settings, files and keys.
func (n *Node) openCopy(ctx context.Context, w fleet.Want) (cfg hosted.Config, end func(), err error) {
	a, err := n.apps.ByName(ctx, w.Name)
	if err != nil {
		return cfg, nil, err
	}
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil {
		return cfg, nil, err
	}
	if a.UID != w.UID { // this node has not heard yet: its files must not meet the next app's secrets
		return cfg, nil, problem.New(problem.Unavailable, "app "+a.Name+" was deleted and made anew")
	}
	n.logs.Open(a.Name, a.UID)
	user, leave, err := n.takeUser(a)
	if err != nil {
		return cfg, nil, err
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	if whole, err = n.resolved(ctx, whole); err != nil {
		return cfg, nil, err
	}
	settings := n.effective(whole, user)
	dir, err := n.releases.Folder(ctx, a.Name, w.Release)
	if err == nil {
		err = n.grant(user, dir)
	}
	if err != nil {
		return cfg, nil, err
	}
	ring, store, err := n.newRing(context.WithoutCancel(ctx), a, settings)
	if err != nil {
		return cfg, nil, err
	}
	unplug, err := n.openEndpoint(ctx, a, settings)
	if err != nil {
		return cfg, nil, err
	}
	if err := ring.Start(ctx); err != nil {
		n.log.Error("the access keys cannot be read; no key is accepted until they can", "app", a.Name, "reason", err, "next", problem.NextOf(err))
	}
	n.rings.put(keyPlace(a), ring)
	stats := n.metrics.App(a.Name)
	return hosted.Config{
		Name: a.Name, HostID: hostID(a.Name, settings), Dir: dir, Settings: settings, Credential: credential(user),
		Load: func() (*instance.Model, error) { return hosted.LoadModel(dir, settings) },
		Keys: ring, TokenKey: n.tokenKey(a), SecretsPath: placeOf(store), Hostname: n.apps.Hosts(a.Name).App, LocalURL: n.localURL(), LocalQuery: localQuery(a.Name), Environment: "Production",
		Grace: n.cfg.Grace, Version: n.cfg.Version, Clock: n.cfg.Clock, Log: n.log.With("app", a.Name),
		Requests: n.requests, Stats: stats, OnModel: n.functionsFound(ctx, a, w.Release, n.modelSeen(ctx, a, n.modelLoaded(a.Name, ring))), Denied: n.auditDenial(a),
		Leases: newTriggerLeases(n.store, a), Memory: triggerMemory{n.store, a.UID}, Orchestrations: n.orchestrations(a), Identities: n.credentialOf(a, "bindings"), MaxBody: n.cfg.MaxBody,
		Outbound: n.outbound(),
	}, func() { n.rings.remove(keyPlace(a), ring); unplug(); leave() }, nil
}

// outbound sends the requests of an app's bindings and key store. They go where the app's settings
// say, with the node's place in the network: not to the node itself, nor to what
// trusts it.
func (n *Node) outbound() http.RoundTripper {
	return egress.Rule{Private: true, Allow: n.cfg.AppNetworks, Setting: "apps.networks"}.Transport(account.MaxIdle)
}

// orchestrations is where those of an app are kept.
func (n *Node) orchestrations(a app.App) *statestore.Store {
	b := n.cfg.Orchestrations
	return statestore.New(statestore.Config{
		Docs: n.store, Prefix: triggersOf(a.UID) + "durable/", Clock: n.cfg.Clock,
		Budget: instances.Budget{Instances: b.Most, Bytes: b.Bytes},
	})
}

// placeOf names where an app's keys are, for the runtime API.
func placeOf(store keystore.Store) string {
	if _, own := store.(*controlplane.Store); own {
		return "control plane"
	}
	return store.String()
}

// auditDenial records callers of an app that were refused. Repeated ones become
// one event.
func (n *Node) auditDenial(a app.App) func(funchost.Denial) {
	scope := a.ID.String()
	return func(d funchost.Denial) {
		event := audit.Event{
			Category: audit.Denied, Action: "invoke", Scope: scope, Outcome: "Denied", Status: d.Status, Reason: d.Reason,
			Source: d.Remote, CorrelationID: d.ID, Details: map[string]string{},
		}
		for name, value := range map[string]string{"function": d.Function, "key": d.Key, "method": d.Method, "path": d.Path} {
			if value != "" {
				event.Details[name] = value
			}
		}
		if d.Function != "" {
			event.Scope += "/functions/" + d.Function
		}
		switch {
		case d.Invocation:
			event.Category, event.Outcome = "", "Admitted" // the app's own answer is none of ours
			n.audit.Keep(event)
		case d.Status == http.StatusTooManyRequests: // what is used too much is recorded by keyAudit
			n.audit.Keep(event)
		default:
			n.audit.Record(event)
		}
	}
}

func (n *Node) reportFaults(name string) func(*instance.Model) {
	return func(m *instance.Model) {
		for i := range m.Functions {
			for _, f := range m.Functions[i].Faults {
				n.log.Error("a function is left out", "app", name, "function", m.Functions[i].Name, "reason", f.String())
			}
		}
	}
}

// effective gives the settings an app's host and worker see: its own above what
// the platform gives every app.
func (n *Node) effective(a app.Snapshot, user *isolation.User) hosted.Settings {
	s := hosted.Settings(n.baseEnv(user))
	s["WEBSITE_SITE_NAME"] = a.Name
	s["WEBSITE_RESOURCE_GROUP"] = a.ID.Group()
	s["WEBSITE_OWNER_NAME"] = n.install.SubscriptionID + "+" + a.ID.Group()
	s["REGION_NAME"] = a.Resource.Location
	for name, c := range a.Connections {
		s[c.Variable(name)] = c.Value
	}
	maps.Copy(s, a.Settings)
	return s
}

// hostID gives the id of an app's host, in the alphabet of the stock host.
func hostID(name string, s hosted.Settings) string {
	id := s.Get("AzureFunctionsWebHost__hostid")
	if id == "" {
		id = name
	}
	if len(id) > 32 {
		id = id[:32]
	}
	return strings.TrimRight(strings.ToLower(id), "-")
}
