package resources

import (
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

func (s *Service) tenants(c *arm.Call) (arm.Reply, error) {
	return arm.List(c, []any{map[string]any{
		"id": "/tenants/" + s.cfg.TenantID, "tenantId": s.cfg.TenantID, "displayName": s.cfg.TenantName,
		"defaultDomain": "localhost", "domains": []string{"localhost"}, "tenantCategory": "Home", "countryCode": "XX", "tenantType": "AAD",
	}}, ""), nil
}

// describe gives the one subscription there is. az selects only what is Enabled.
func (s *Service) describe() map[string]any {
	return map[string]any{
		"id": s.sub.String(), "subscriptionId": s.cfg.SubscriptionID, "tenantId": s.cfg.TenantID, "displayName": s.cfg.SubscriptionName,
		"state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]any{
			"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
		},
	}
}

func (s *Service) subscriptions(c *arm.Call) (arm.Reply, error) {
	return arm.List(c, []any{s.describe()}, ""), nil
}

func (s *Service) subscription(*arm.Call) (arm.Reply, error) { return arm.OK(s.describe()), nil }

func (s *Service) locations(c *arm.Call) (arm.Reply, error) {
	var list []any
	for _, l := range s.cfg.Locations {
		list = append(list, map[string]any{
			"id": s.sub.String() + "/locations/" + l.Name, "name": l.Name, "type": "Region",
			"displayName": l.Display, "regionalDisplayName": l.Display,
			"metadata": map[string]any{
				"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "Local", "geography": "Local",
				"longitude": "0", "latitude": "0", "physicalLocation": "Local", "pairedRegion": []any{},
			},
		})
	}
	return arm.List(c, list, ""), nil
}

func (s *Service) listProviders(c *arm.Call) (arm.Reply, error) {
	list := make([]any, 0, len(s.cfg.Providers))
	for _, p := range s.cfg.Providers {
		list = append(list, s.describeProvider(c, p))
	}
	return arm.List(c, list, ""), nil
}

// getProvider also answers register and unregister: every provider is registered,
// always.
func (s *Service) getProvider(c *arm.Call) (arm.Reply, error) {
	asked := c.Params["namespace"]
	for _, p := range s.cfg.Providers {
		if strings.EqualFold(p.Namespace, asked) {
			return arm.OK(s.describeProvider(c, p)), nil
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is not served.", asked)
}

func (s *Service) describeProvider(c *arm.Call, p arm.Provider) map[string]any {
	var places []string
	for _, l := range s.cfg.Locations {
		places = append(places, l.Display)
	}
	types := make([]any, 0, len(p.Types))
	for _, t := range p.Types {
		entry := map[string]any{
			"resourceType": t.Name, "locations": places, "apiVersions": t.APIVersions,
			"capabilities": t.Capabilities, "zoneMappings": []any{},
		}
		if t.Capabilities == "" {
			entry["capabilities"] = "None"
		}
		if len(t.APIVersions) > 0 {
			entry["defaultApiVersion"] = t.APIVersions[0]
		}
		types = append(types, entry)
	}
	provider := map[string]any{"namespace": p.Namespace, "resourceTypes": types}
	if c.Scope.IsRoot() { // there nothing is registered for anybody
		provider["id"] = "/providers/" + p.Namespace
		return provider
	}
	provider["id"] = s.sub.String() + "/providers/" + p.Namespace
	provider["registrationPolicy"], provider["registrationState"] = "RegistrationRequired", "Registered"
	return provider
}
