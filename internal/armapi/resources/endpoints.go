package resources

import (
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// Endpoints tells clients where the parts of this cloud are.
type Endpoints struct {
	Name            string   // of the cloud
	ResourceManager string   // ends in a slash
	Login           string   // does not end in a slash: clients append to it
	Graph           string   // ends in a slash
	Portal          string   // ends in a slash
	Audiences       []string // of tokens for the management API
	Host            string   // host and port of the management API
	KeyVaultDNS     string   // what comes after a vault's name and a dot
	Storage         string   // what comes after "blob." in a storage account's address
}

// EndpointsAt gives the endpoints of an installation that has all of them at one
// base URL.
func EndpointsAt(baseURL string) Endpoints {
	_, host, _ := strings.Cut(baseURL, "://")
	return Endpoints{
		Name: "Latchkey", ResourceManager: baseURL + "/", Login: baseURL, Graph: baseURL + "/", Portal: baseURL + "/portal/",
		Audiences: []string{baseURL + "/"}, Host: host, KeyVaultDNS: "vault." + host, Storage: host,
	}
}

// metadata serves the four forms in which clients get to know a cloud; the
// api-version chooses. Terraform reads the newest, az the arrays before it.
func (s *Service) metadata(c *arm.Call) (arm.Reply, error) {
	e := s.cfg.Endpoints(c.BaseURL)
	switch v := c.APIVersion; {
	case v == "" || v >= "2022":
		return arm.OK(e.document()), nil
	case v >= "2019":
		return arm.OK([]any{e.document()}), nil
	case v >= "2018":
		return arm.OK(map[string]any{"cloudEndpoint": map[string]any{
			e.Name: map[string]any{"endpoint": e.Host, "locations": s.locationNames()},
		}}), nil
	}
	return arm.OK(map[string]any{
		"galleryEndpoint": e.ResourceManager, "graphEndpoint": e.Graph, "portalEndpoint": e.Portal,
		"authentication": map[string]any{"loginEndpoint": e.Login, "audiences": e.Audiences},
	}), nil
}

// document gives the form of 2022-09-01. Clients index several members without
// looking whether they are there, so services that do not exist have addresses
// too. Members that make Terraform ask for more tokens are left out.
func (e Endpoints) document() map[string]any {
	return map[string]any{
		"name":                     e.Name,
		"resourceManager":          e.ResourceManager,
		"portal":                   e.Portal,
		"sqlManagement":            e.ResourceManager,
		"batch":                    e.ResourceManager,
		"gallery":                  e.ResourceManager,
		"graph":                    e.Graph,
		"graphAudience":            e.Graph,
		"microsoftGraphResourceId": e.Graph,
		"media":                    e.ResourceManager,
		"vmImageAliasDoc":          e.ResourceManager + "aliases.json",
		"activeDirectoryDataLake":  e.ResourceManager,
		"authentication": map[string]any{
			"loginEndpoint": e.Login, "audiences": e.Audiences,
			"tenant": "common", "identityProvider": "AAD", // anything else reads as Azure Stack
		},
		"suffixes": map[string]any{
			"storage": e.Storage, "keyVaultDns": e.KeyVaultDNS, "sqlServerHostname": "database." + e.Host, "acrLoginServer": "azurecr." + e.Host,
		},
	}
}

func (s *Service) locationNames() []string {
	var names []string
	for _, l := range s.cfg.Locations {
		names = append(names, l.Name)
	}
	return names
}
