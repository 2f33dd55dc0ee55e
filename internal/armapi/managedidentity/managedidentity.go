// Package managedidentity serves Microsoft.ManagedIdentity: user-assigned
// identities, their federated credentials, which resources they are assigned to,
// and the identities that belong to one resource. It does not assign identities,
// which is done by writing the resource that gets them, and mints no tokens.
package managedidentity

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Config is what a Service works with.
type Config struct {
	Identities *managed.Identities
	Directory  *identity.Directory // has the federated credentials
	// Authorize says which of the resources that have an identity a caller sees.
	Authorize arm.Authorizer
	TenantID  string
	// SubscriptionName is that of the only subscription, for people.
	SubscriptionName string
}

// Service serves the operations. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes a Service. It fails for a Config that leaves something out.
func New(cfg Config) (*Service, error) {
	if cfg.Identities == nil || cfg.Directory == nil || cfg.Authorize == nil || cfg.TenantID == "" {
		return nil, errors.New("managedidentity: Identities, Directory, Authorize and TenantID must be set")
	}
	return &Service{cfg}, nil
}

// Types of resources, as answers name them.
const (
	federatedType = managed.UserType + "/federatedIdentityCredentials"
	systemType    = "Microsoft.ManagedIdentity/identities"
)

// maxPage is the most items in one page of a list.
const maxPage = 200

// Operations gives what the service serves.
func (s *Service) Operations() []arm.Operation {
	const (
		subscription = "/subscriptions/{subscription}"
		namespace    = "/providers/Microsoft.ManagedIdentity"
		list         = subscription + "/resourceGroups/{group}" + namespace + "/userAssignedIdentities"
		one          = list + "/{identity}"
		federated    = one + "/federatedIdentityCredentials"
	)
	return []arm.Operation{
		{Method: "PUT", Pattern: one, Handler: s.put},
		{Method: "PATCH", Pattern: one, Handler: s.patch},
		{Method: "GET", Pattern: one, Handler: s.get},
		{Method: "DELETE", Pattern: one, Handler: s.delete},
		{Method: "GET", Pattern: list, Handler: s.list},
		{Method: "GET", Pattern: subscription + namespace + "/userAssignedIdentities", Handler: s.list},
		{Method: "POST", Pattern: one + "/listAssociatedResources", Handler: s.listAssociated},

		{Method: "PUT", Pattern: federated + "/{credential}", Handler: s.putFederated},
		{Method: "GET", Pattern: federated + "/{credential}", Handler: s.getFederated},
		{Method: "DELETE", Pattern: federated + "/{credential}", Handler: s.deleteFederated},
		{Method: "GET", Pattern: federated, Handler: s.listFederated},

		{Method: "GET", Pattern: "{scope}" + namespace + "/identities/default", Scope: 1, Handler: s.getSystem},
	}
}

// Provider describes the provider to clients that ask before they use it.
func Provider() arm.Provider {
	versions := []string{"2024-11-30", "2023-07-31-preview", "2023-01-31", "2022-01-31-preview", "2021-09-30-preview", "2018-11-30", "2015-08-31-preview"}
	p := arm.Provider{Namespace: "Microsoft.ManagedIdentity"}
	for _, name := range []string{"userAssignedIdentities", "userAssignedIdentities/federatedIdentityCredentials", "identities"} {
		p.Types = append(p.Types, arm.ProviderType{Name: name, APIVersions: versions})
	}
	return p
}

// missing gives the platform's words for what is not there.
func missing(err error, id resource.ID) error {
	if !errors.Is(err, problem.NotFound) {
		return err
	}
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		id.Type(), strings.Join(id.Names(), "/"), id.Group())
}

// sees reports whether the caller may read a resource.
func (s *Service) sees(ctx context.Context, caller arm.Caller, id resource.ID) (bool, error) {
	d, err := s.cfg.Authorize.Allow(ctx, authz.Request{
		Principal: caller.ObjectID, Groups: caller.Groups, Action: id.Type() + "/read", Scope: id,
	})
	if err != nil {
		return false, problem.Wrap(problem.KindOf(err), "whether the caller sees a resource could not be decided", err)
	}
	return d.Allowed, nil
}

// history says who made and changed a resource, and when.
func history(r inventory.Resource) map[string]any {
	return map[string]any{
		"createdBy": r.CreatedBy, "createdByType": "Application", "createdAt": r.Created.Format(time.RFC3339Nano),
		"lastModifiedBy": r.ChangedBy, "lastModifiedByType": "Application", "lastModifiedAt": r.Changed.Format(time.RFC3339Nano),
	}
}

// secretURL is where the platform would keep the certificate of an identity. There
// is none here; clients expect the member.
func secretURL(c *arm.Call, tenant string, p identity.Principal) string {
	return c.BaseURL + "/tenants/" + tenant + "/identities/" + p.AppID + "/credentials"
}

func (s *Service) getSystem(c *arm.Call) (arm.Reply, error) {
	own, err := s.cfg.Identities.System(c.Context(), c.Scope)
	id := c.Scope.Child("Microsoft.ManagedIdentity", "identities", "default")
	if err != nil {
		return arm.Reply{}, missing(err, id)
	}
	return arm.OK(map[string]any{
		"id": id.String(), "name": "default", "type": systemType, "location": own.Resource.Location, "tags": map[string]string{},
		"properties": map[string]any{
			"tenantId": s.cfg.TenantID, "principalId": own.ObjectID, "clientId": own.AppID,
			"clientSecretUrl": secretURL(c, s.cfg.TenantID, own.Principal),
		},
	}), nil
}
