package platform

import (
	"context"
	"net/http"
	"slices"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization"
	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/armapi/directory"
	"github.com/latchkey/latchkey/internal/armapi/health"
	"github.com/latchkey/latchkey/internal/armapi/keyvault"
	"github.com/latchkey/latchkey/internal/armapi/managedidentity"
	"github.com/latchkey/latchkey/internal/armapi/monitor"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/armapi/storage"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/resource"
)

// newAPI makes the management API of all providers.
func (n *Node) newAPI() (http.Handler, error) {
	base, err := n.newResources()
	if err != nil {
		return nil, err
	}
	own, err := directory.New(directory.Config{
		Directory: n.directory, Roles: n.roles, Audit: n.audit, Groups: n.groups,
		TenantID: n.install.TenantID, SubscriptionID: n.install.SubscriptionID,
	})
	if err != nil {
		return nil, err
	}
	var api *arm.API // made last, of what calls it
	deploy, err := n.newDeployments(func(ctx context.Context, in arm.Inner) (status int, body []byte, err error) {
		// A deployment can last longer than its caller's place in a group.
		if in.Caller.Groups, err = n.groups.Of(ctx, in.Caller.ObjectID); err != nil {
			return 0, nil, err
		}
		return api.Invoke(ctx, in)
	})
	if err != nil {
		return nil, err
	}
	vaults, err := n.newKeyVault()
	if err != nil {
		return nil, err
	}
	owned, err := managedidentity.New(managedidentity.Config{
		Identities: n.identities, Directory: n.directory, Authorize: n.roles, TenantID: n.install.TenantID, SubscriptionName: "Latchkey",
	})
	if err != nil {
		return nil, err
	}
	contained, err := n.newContainerApps()
	if err != nil {
		return nil, err
	}
	store, err := n.newStorage()
	if err != nil {
		return nil, err
	}
	assignments := authorization.New(n.roles)
	assignments.Groups = n.groups.Of
	api, err = arm.New(arm.Config{
		Authenticate: n.armCaller, Authorize: n.roles, Audit: directory.Recorder(n.audit), Admit: base.Admit,
		SubscriptionID: n.install.SubscriptionID, Log: n.log, Clock: n.cfg.Clock,
		LoginURL: n.loginURL,
	}, slices.Concat(base.Operations(), assignments.Operations(), n.newSites().Operations(), n.newFunctions().Operations(),
		own.Operations(), own.GraphOperations(), n.newInstallation().Operations(), deploy.Operations(), store.Operations(),
		vaults.Operations(), owned.Operations(), contained.Operations(), n.newMonitor().Operations(),
		health.New(health.Config{Concerns: n.concernsNow, Authorize: n.roles}).Operations())...)
	return directory.Graph(api), err
}

// loginURL gives where clients of a host get tokens: where they are, if that is here.
// What a request claims is repeated to nobody else.
func (n *Node) loginURL(host string) string {
	at := n.names.managementURL()
	if n.allowHost(host) {
		at = "https://" + host
	}
	return at + "/" + n.install.TenantID
}

func (n *Node) newResources() (*resources.Service, error) {
	return resources.New(resources.Config{
		Inventory: n.inventory, Authorize: n.roles, TenantID: n.install.TenantID, SubscriptionID: n.install.SubscriptionID,
		Providers: providers(), DeleteTree: n.deleteTree,
		Permissions: func(_ context.Context, c arm.Caller, scope resource.ID) ([]authz.Permission, error) {
			return n.roles.Permissions(c.ObjectID, c.Groups, scope)
		},
	})
}

// deleteTree tears down what lies in a group and is more than a document.
func (n *Node) deleteTree(ctx context.Context, group resource.ID) error {
	for _, delete := range []func(context.Context, resource.ID) error{
		func(ctx context.Context, group resource.ID) error { return n.apps.DeleteWithin(ctx, group, "") },
		func(ctx context.Context, group resource.ID) error {
			return n.containers.apps.DeleteWithin(ctx, group, "")
		},
		func(ctx context.Context, group resource.ID) error { return n.vaults.DeleteWithin(ctx, group, "") },
		n.identities.DeleteWithin,
	} {
		if err := delete(ctx, group); err != nil {
			return err
		}
	}
	return n.roles.UnassignBelow(ctx, group)
}

// providers are the resource providers there are, for clients that ask before
// they use one.
func providers() []arm.Provider {
	own := []arm.Provider{
		sites.Provider(),
		{Namespace: "Microsoft.Resources", Types: versions("2024-03-01", "subscriptions", "resourceGroups", "deployments", "tags")},
		storage.Provider(), keyvault.Provider(), managedidentity.Provider(), containerapps.Provider(),
	}
	return slices.Concat(own, authorization.Providers(), directory.Providers(), monitor.Providers(), health.Providers())
}

func versions(newest string, types ...string) []arm.ProviderType {
	list := make([]arm.ProviderType, len(types))
	for i, t := range types {
		list[i] = arm.ProviderType{Name: t, APIVersions: []string{newest, "2023-12-01", "2021-04-01", "2020-06-01"}}
	}
	return list
}
