// Package resources serves Microsoft.Resources and what every client asks for
// before it gets to a provider: the metadata of the cloud, tenants, subscriptions,
// locations, providers, resource groups, lists of resources, and Resource Graph.
// It does not know what any other provider's types mean: what lies in a group is
// torn down by whoever owns it.
package resources

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
)

// Config is what a Service works with.
type Config struct {
	Inventory *inventory.Inventory
	// Authorize decides which resources a caller sees in lists.
	Authorize arm.Authorizer

	TenantID         string
	TenantName       string // for people; "" is "Latchkey"
	SubscriptionID   string
	SubscriptionName string         // for people; "" is "Latchkey"
	Locations        []Location     // nil is "local" alone
	Providers        []arm.Provider // of the same namespace are shown as one

	// Endpoints tells clients where things are, for the base URL ("https://host:port")
	// by which they reached the API; nil is [EndpointsAt].
	Endpoints func(baseURL string) Endpoints

	// DeleteTree tears down everything in a resource group before its documents are
	// removed, the group itself not included; nil does nothing.
	DeleteTree func(ctx context.Context, group resource.ID) error

	// Permissions gives what a caller's roles allow at a scope.
	Permissions func(ctx context.Context, caller arm.Caller, scope resource.ID) ([]authz.Permission, error)
}

// Location is a place where resources can be said to be.
type Location struct{ Name, Display string }

// Service serves the operations. It is safe for concurrent use.
type Service struct {
	cfg Config
	sub resource.ID
}

// New makes a Service. It fails for a Config that leaves out what has no default.
func New(cfg Config) (*Service, error) {
	if cfg.Inventory == nil || cfg.Authorize == nil || cfg.TenantID == "" || cfg.SubscriptionID == "" || cfg.Permissions == nil {
		return nil, errors.New("resources: Inventory, Authorize, TenantID, SubscriptionID and Permissions must be set")
	}
	if cfg.TenantName == "" {
		cfg.TenantName = "Latchkey"
	}
	if cfg.SubscriptionName == "" {
		cfg.SubscriptionName = "Latchkey"
	}
	if cfg.Locations == nil {
		cfg.Locations = []Location{{"local", "Local"}}
	}
	if cfg.Endpoints == nil {
		cfg.Endpoints = EndpointsAt
	}
	if cfg.DeleteTree == nil {
		cfg.DeleteTree = func(context.Context, resource.ID) error { return nil }
	}
	cfg.Providers = merge(append(slices.Clone(cfg.Providers), own()...))
	return &Service{cfg: cfg, sub: resource.Subscription(cfg.SubscriptionID)}, nil
}

// Paths of a resource group and of the list of what it has.
const (
	groupPattern   = "/subscriptions/{subscription}/resourceGroups/{group}"
	groupResources = groupPattern + "/resources"
)

// Operations gives what the service serves.
func (s *Service) Operations() []arm.Operation {
	const sub = "/subscriptions/{subscription}"
	return []arm.Operation{
		{Method: "GET", Pattern: "/metadata/endpoints", Action: arm.Public, Handler: s.metadata},
		{Method: "GET", Pattern: "/tenants", Action: arm.Open, Handler: s.tenants},
		{Method: "GET", Pattern: "/subscriptions", Action: arm.Open, Handler: s.subscriptions},
		{Method: "GET", Pattern: sub, Action: arm.Open, Handler: s.subscription},
		{Method: "GET", Pattern: sub + "/locations", Action: arm.Open, Handler: s.locations},

		{Method: "GET", Pattern: "/providers", Action: arm.Open, Handler: s.listProviders},
		{Method: "GET", Pattern: "/providers/{namespace}", Action: arm.Open, Handler: s.getProvider},
		{Method: "GET", Pattern: sub + "/providers", Action: arm.Open, Handler: s.listProviders},
		{Method: "GET", Pattern: sub + "/providers/{namespace}", Action: arm.Open, Handler: s.getProvider},
		{Method: "POST", Pattern: sub + "/providers/{namespace}/register", Handler: s.getProvider, Reads: true},
		{Method: "POST", Pattern: sub + "/providers/{namespace}/unregister", Handler: s.getProvider, Reads: true},

		// Lists show each caller what they may read, so a token is enough to ask.
		{Method: "GET", Pattern: sub + "/resourceGroups", Action: arm.Open, Handler: s.listGroups},
		{Method: "GET", Pattern: sub + "/resources", Action: arm.Open, Handler: s.listResources},
		{Method: "GET", Pattern: groupResources, Action: arm.Open, Handler: s.listResources},
		{Method: "POST", Pattern: "/providers/Microsoft.ResourceGraph/resources", Action: arm.Open, Handler: s.graph, Reads: true},

		{Method: "GET", Pattern: groupPattern, Handler: s.getGroup},
		{Method: "PUT", Pattern: groupPattern, Handler: s.putGroup},
		{Method: "PATCH", Pattern: groupPattern, Handler: s.patchGroup},
		{Method: "DELETE", Pattern: groupPattern, Handler: s.deleteGroup},

		// What somebody may do is for them to know: a token is enough to ask.
		{Method: "GET", Pattern: "{scope}/providers/Microsoft.Authorization/permissions", Action: arm.Open, Handler: s.permissions},
		{Method: "GET", Pattern: "{scope}/providers/Microsoft.Authorization/locks", Handler: s.locks},
	}
}

// own are the providers that this package serves itself.
func own() []arm.Provider {
	versions := []string{"2024-03-01", "2023-07-01", "2022-09-01", "2021-04-01", "2020-06-01", "2019-05-01"}
	return []arm.Provider{
		{Namespace: "Microsoft.Resources", Types: []arm.ProviderType{
			{Name: "tenants", APIVersions: versions}, {Name: "subscriptions", APIVersions: versions},
			{Name: "locations", APIVersions: versions}, {Name: "providers", APIVersions: versions},
			{Name: "resources", APIVersions: versions},
			{Name: "resourceGroups", APIVersions: versions}, {Name: "subscriptions/resourceGroups", APIVersions: versions},
		}},
		{Namespace: "Microsoft.ResourceGraph", Types: []arm.ProviderType{
			{Name: "resources", APIVersions: []string{"2022-10-01", "2021-03-01", "2019-04-01"}},
		}},
	}
}

// merge makes one provider of those that have the same namespace: its types are
// served by several packages.
func merge(all []arm.Provider) []arm.Provider {
	var merged []arm.Provider
	for _, p := range all {
		at := slices.IndexFunc(merged, func(m arm.Provider) bool { return strings.EqualFold(m.Namespace, p.Namespace) })
		if at < 0 {
			at = len(merged)
			merged = append(merged, arm.Provider{Namespace: p.Namespace})
		}
		for _, t := range p.Types {
			if !slices.ContainsFunc(merged[at].Types, func(m arm.ProviderType) bool { return strings.EqualFold(m.Name, t.Name) }) {
				merged[at].Types = append(merged[at].Types, t)
			}
		}
	}
	return merged
}

// permissions tells a caller what their roles allow.
func (s *Service) permissions(c *arm.Call) (arm.Reply, error) {
	perms, err := s.cfg.Permissions(c.Context(), c.Caller, c.Scope)
	if err != nil {
		return arm.Reply{}, err
	}
	perms = slices.Clone(perms)
	for i := range perms {
		for _, list := range []*[]string{&perms[i].Actions, &perms[i].NotActions, &perms[i].DataActions, &perms[i].NotDataActions} {
			if *list == nil {
				*list = []string{}
			}
		}
	}
	return arm.List(c, perms, ""), nil
}

// locks tells that nothing is locked: there are no locks.
func (s *Service) locks(c *arm.Call) (arm.Reply, error) { return arm.List(c, []any{}, ""), nil }
