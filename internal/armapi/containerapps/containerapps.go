// Package containerapps serves the management API of Microsoft.App: managed
// environments, container apps, their secrets, revisions and replicas, and the
// status of changes that take a while. Reads are answered from the control plane's
// state, whether or not anything runs. It does not know how containers run, how
// secrets are sealed, or what an identity's tokens are.
package containerapps

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Identities gives apps their identities; managed.Identities does.
type Identities interface {
	Ensure(ctx context.Context, id resource.ID, identity json.RawMessage) (json.RawMessage, error)
	Merge(ctx context.Context, old, said json.RawMessage, patch bool) (json.RawMessage, error)
	Shown(ctx context.Context, stored json.RawMessage, id resource.ID) (json.RawMessage, error)
}

// Runtime tells what runs. It must be safe for concurrent use.
type Runtime interface {
	// Replicas gives the replicas of a revision; none for one of which none runs.
	Replicas(ctx context.Context, a containerapp.App, revision string) ([]Replica, error)
}

// Replica is one running copy of a revision.
type Replica struct {
	Name    string
	Created time.Time
	Running string // such as "Running"
	Details string
	// Init and Main are the containers, in the order of the template.
	Init, Main []ReplicaContainer
}

// ReplicaContainer is one container of a replica.
type ReplicaContainer struct {
	Name     string
	ID       string
	Ready    bool
	Started  bool
	Restarts int
	Running  string // Running, Terminated or Waiting
	Details  string
}

// Config is what the provider needs. What can be nil is said so.
type Config struct {
	Apps       *containerapp.Apps
	Identities Identities
	// Authorize says what callers may do with other resources that a call about an
	// app makes use of.
	Authorize arm.Authorizer
	// Domain is what the host names of apps end in, with the port where it is not
	// that of the scheme: "apps.localhost:7443".
	Domain string
	// Runtime is nil as long as nothing runs apps: changes are then done as soon as
	// they are stored.
	Runtime Runtime
	// Secrets is nil if nothing reads secrets from vaults.
	Secrets Secrets
	// Scaling tells why a revision has as many replicas as it has, without waiting; ok
	// is false where nobody knows. nil knows of none.
	Scaling func(a containerapp.App, r containerapp.Revision) (s Scaling, ok bool)
	// AuthToken makes a token for the logs and consoles of an app; nil refuses.
	AuthToken func(c *arm.Call, a containerapp.App) (token string, expires time.Time, err error)
}

// API serves the operations. It is safe for concurrent use.
type API struct{ cfg Config }

// New makes the provider. It fails for a Config that leaves out what has no
// default.
func New(cfg Config) (*API, error) {
	if cfg.Apps == nil || cfg.Identities == nil || cfg.Authorize == nil || cfg.Domain == "" {
		return nil, errors.New("containerapps: Apps, Identities, Authorize and Domain must be set")
	}
	return &API{cfg}, nil
}

// Patterns of what operations are about.
const (
	subscription = "/subscriptions/{sub}"
	group        = subscription + "/resourceGroups/{group}"
	provider     = "/providers/Microsoft.App"
	apps         = group + provider + "/containerApps"
	oneApp       = apps + "/{app}"
	environments = group + provider + "/managedEnvironments"
	oneEnv       = environments + "/{environment}"
	oneRevision  = "/revisions/{revision}"
	// segments is how many segments the id of an app or environment has: whatever
	// lies below is authorised there.
	segments = 8
)

// Operations gives everything the provider serves.
func (api *API) Operations() []arm.Operation {
	ops := []arm.Operation{
		{Method: "PUT", Pattern: oneApp, Handler: api.putApp},
		{Method: "PATCH", Pattern: oneApp, Handler: api.patchApp},
		api.at("GET", "", api.getApp),
		{Method: "DELETE", Pattern: oneApp, Handler: api.deleteApp},
		{Method: "GET", Pattern: apps, Handler: api.listApps},
		{Method: "GET", Pattern: subscription + provider + "/containerApps", Handler: api.listApps},
		api.at("POST", "/start", api.setStopped(false)),
		api.at("POST", "/stop", api.setStopped(true)),
		secret(api.at("POST", "/listSecrets", api.listSecrets)),
		secret(api.at("POST", "/getAuthtoken", api.authToken)),

		api.at("GET", "/revisions", api.listRevisions),
		api.at("GET", oneRevision, api.getRevision),
		api.at("POST", oneRevision+"/activate", api.onRevision(api.cfg.Apps.Activate)),
		api.at("POST", oneRevision+"/deactivate", api.onRevision(api.cfg.Apps.Deactivate)),
		api.at("POST", oneRevision+"/restart", api.onRevision(api.cfg.Apps.RestartRevision)),
		api.at("GET", oneRevision+"/replicas", api.listReplicas),
		api.at("GET", oneRevision+"/replicas/{replica}", api.getReplica),

		{Method: "GET", Pattern: subscription + provider + "/locations/{location}/containerappOperationStatuses/{operation}", Action: arm.Open, Handler: api.status},
		{Method: "GET", Pattern: subscription + provider + "/locations/{location}/containerappOperationResults/{operation}", Action: arm.Open, Handler: api.result},
	}
	for _, name := range []string{"authConfigs", "detectors", "sourcecontrols"} {
		ops = append(ops, api.at("GET", "/"+name, func(c *arm.Call, _ containerapp.App) (arm.Reply, error) { return empty(c) }))
	}
	ops = append(ops, api.secretReferenceOperations()...)
	return append(ops, api.environmentOperations()...)
}

// Provider describes the provider to clients that ask before they use it.
func Provider() arm.Provider {
	versions := []string{"2025-07-01", "2025-01-01", "2024-10-02-preview", "2024-08-02-preview", "2024-03-01", "2024-02-02-preview", "2023-11-02-preview",
		"2023-05-01", "2022-10-01", "2022-03-01"}
	p := arm.Provider{Namespace: "Microsoft.App"}
	for _, name := range []string{"managedEnvironments", "containerApps", "containerApps/revisions", "operations",
		"locations", "locations/containerappOperationStatuses", "locations/containerappOperationResults"} {
		p.Types = append(p.Types, arm.ProviderType{Name: name, APIVersions: versions, Capabilities: "SystemAssignedResourceIdentity, SupportsTags, SupportsLocation"})
	}
	return p
}

// appHandler serves a call about an app that exists.
type appHandler func(c *arm.Call, a containerapp.App) (arm.Reply, error)

// at makes an operation about an app, on the path below it.
func (api *API) at(method, below string, h appHandler) arm.Operation {
	return arm.Operation{Method: method, Pattern: oneApp + below, Scope: segments, Handler: func(c *arm.Call) (arm.Reply, error) {
		a, err := api.cfg.Apps.Get(c.Context(), c.Scope)
		if err != nil {
			return arm.Reply{}, missing(err, c.Scope)
		}
		reply, err := h(c, a)
		return reply, fault(err)
	}}
}

func secret(op arm.Operation) arm.Operation {
	op.Secret = true
	return op
}

func empty(c *arm.Call) (arm.Reply, error) { return arm.List(c, []json.RawMessage{}, ""), nil }

// missing gives the platform's words for what is not there.
func missing(err error, id resource.ID) error {
	if !errors.Is(err, problem.NotFound) {
		return err
	}
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		id.Type(), id.Name(), id.Group())
}

// fault gives what is wrong with a body the platform's codes, with all fields that
// are wrong.
func fault(err error) error {
	var wrong containerapp.Faults
	if !errors.As(err, &wrong) || len(wrong) == 0 {
		return err
	}
	f := arm.Fault{Status: http.StatusBadRequest, Code: wrong[0].Code, Target: wrong[0].Field, Message: wrong.Error()}
	if f.Code == containerapp.CodeTemplate {
		f.Message = "The following field(s) are either invalid or missing. " + f.Message
	}
	for _, one := range wrong {
		f.Details = append(f.Details, arm.Detail{Code: one.Code, Message: one.Message, Target: one.Field})
	}
	return f
}
