// Package sites serves the management API of Microsoft.Web: service plans,
// function apps, their settings and configuration, run state, publishing
// credentials and the status of vault references. Every read is answered from
// the control plane's state, whether or not an app runs. It does not know how
// apps run, where access keys live or how references are resolved; functions and
// keys of an app are served by a package beside it.
package sites

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// InstanceStatus is how a running copy of an app is doing.
type InstanceStatus struct {
	Node   string    `json:"node"`
	State  string    `json:"state"`
	Errors []string  `json:"errors"`
	Since  time.Time `json:"since"`
	// Release is what the copy serves, "" while none does.
	Release string `json:"release,omitempty"`
}

// Identities gives apps their own identities.
type Identities interface {
	// Ensure makes the principals that an identity block asks for and gives the
	// block with their ids; of a block without any it removes what there was. It is
	// called after every write of an app that has a block, and must be idempotent.
	Ensure(ctx context.Context, site resource.ID, identity json.RawMessage) (json.RawMessage, error)
	// Merge makes the block to store from what there was and what a client said, nil
	// if it said nothing. User-assigned identities that an app does not have yet must
	// exist.
	Merge(ctx context.Context, old, said json.RawMessage, patch bool) (json.RawMessage, error)
	// Shown gives a stored block as clients see it now, nil for one without
	// identities.
	Shown(ctx context.Context, stored json.RawMessage, site resource.ID) (json.RawMessage, error)
}

// Config is what the provider needs. What can be nil is said so.
type Config struct {
	Apps           *app.Apps
	TenantID       string
	SubscriptionID string
	Location       string // the only region, as people read it; "" is "Local"
	// Authorize says what callers may do with other resources that a call about an
	// app makes use of.
	Authorize arm.Authorizer

	// Status gives what runs of an app; nil shows no instances. Its errors are not
	// the caller's: the app is then shown without instances.
	Status func(ctx context.Context, a app.App) ([]InstanceStatus, error)
	// Identities is nil as long as apps have no identities of their own: blocks are
	// then kept and shown without principals.
	Identities Identities
	// References is nil as long as nobody resolves references: they are then shown
	// as not attempted yet.
	References References
	// HostRuntime passes a call on to the running host of an app; path begins with
	// a slash. nil answers as the platform does for an app that does not run.
	HostRuntime func(c *arm.Call, a app.App, path string) (arm.Reply, error)
	// SyncTriggers makes the running host read its functions anew; nil does nothing.
	SyncTriggers func(ctx context.Context, a app.App) error
	// MasterKey reads an app's master key for the address that syncs its triggers;
	// nil shows none.
	MasterKey func(ctx context.Context, a app.App) (string, error)
	// Logs are those of apps on this node; its zero value has none.
	Logs Logs
	// StoppedQuirk reproduces a fault of the platform: where it reports true, the
	// configuration of an app's logs cannot be read. nil is for no app.
	StoppedQuirk func(ctx context.Context, a app.App) (bool, error)
}

// API serves the operations. It is safe for concurrent use.
type API struct{ Config }

// New makes the provider.
func New(c Config) *API {
	if c.Location == "" {
		c.Location = "Local"
	}
	return &API{c}
}

// Patterns of what operations are about.
const (
	subscription = "/subscriptions/{sub}"
	group        = subscription + "/resourceGroups/{group}"
	provider     = "/providers/Microsoft.Web"
	site         = group + provider + "/sites/{site}"
	farm         = group + provider + "/serverfarms/{plan}"
	// siteSegments is the number of segments of the site pattern: whatever lies
	// below a site is authorised at the site.
	siteSegments = 8
)

// Operations gives everything the provider serves.
func (api *API) Operations() []arm.Operation {
	var all []arm.Operation
	for _, part := range [][]arm.Operation{
		api.planOperations(), api.siteOperations(), api.settingsOperations(), api.sectionOperations(),
		api.publishingOperations(), api.referenceOperations(), api.hostOperations(), api.listOperations(), api.catalogueOperations(), api.logOperations(),
	} {
		all = append(all, part...)
	}
	return all
}

// Provider describes the provider for the providers operations.
func Provider() arm.Provider {
	versions := []string{"2024-11-01", "2024-04-01", "2023-12-01", "2023-01-01", "2022-09-01", "2022-03-01", "2021-03-01",
		"2020-12-01", "2020-10-01", "2020-09-01", "2019-08-01", "2018-11-01", "2018-02-01", "2016-08-01", "2015-08-01"}
	p := arm.Provider{Namespace: "Microsoft.Web"}
	for _, name := range []string{"sites", "serverFarms", "sites/config", "sites/functions", "sites/host", "sites/hostNameBindings",
		"sites/basicPublishingCredentialsPolicies", "checkNameAvailability", "functionAppStacks", "geoRegions"} {
		p.Types = append(p.Types, arm.ProviderType{Name: name, APIVersions: versions})
	}
	return p
}

// siteHandler serves a call about an app that exists.
type siteHandler func(c *arm.Call, a app.App) (arm.Reply, error)

// at makes an operation about an app, on the path below it.
func (api *API) at(method, below string, h siteHandler) arm.Operation {
	return arm.Operation{Method: method, Pattern: site + below, Scope: siteSegments, Handler: func(c *arm.Call) (arm.Reply, error) {
		a, err := api.Apps.Get(c.Context(), c.Scope)
		if err != nil {
			return arm.Reply{}, missing(err, c.Scope)
		}
		return h(c, a)
	}}
}

// secret marks an operation whose answer has secrets.
func secret(op arm.Operation) arm.Operation {
	op.Secret = true
	return op
}

// action gives an operation an authorisation action of its own.
func action(name string, op arm.Operation) arm.Operation {
	op.Action = "Microsoft.Web/" + name
	return op
}

// missing gives the platform's words for what is not there.
func missing(err error, id resource.ID) error {
	if !errors.Is(err, problem.NotFound) {
		return err
	}
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		id.Type(), id.Name(), id.Group())
}

// body gives the request's body, which must not be empty.
func body(c *arm.Call) ([]byte, error) {
	var raw json.RawMessage
	if err := c.JSON(&raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// child is a part of a site as clients see it.
type child struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Location   string `json:"location"`
	Properties any    `json:"properties"`
}

func childOf(a app.App, typ, name string, properties any) child {
	return child{a.ID.Child("", typ, name).String(), name, app.SiteType + "/" + typ, a.Resource.Location, properties}
}
