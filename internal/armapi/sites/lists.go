package sites

import (
	"encoding/json"
	"net/http"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
)

func (api *API) listOperations() []arm.Operation {
	ops := []arm.Operation{
		api.at("GET", "/hostNameBindings", api.bindings),
		api.at("GET", "/instances", api.listInstances),
	}
	for _, name := range []string{"siteextensions", "usages", "privateEndpointConnections", "slots",
		"backups", "snapshots", "hybridConnectionRelays", "publicCertificates", "triggeredwebjobs",
		"continuouswebjobs", "webjobs", "processes", "premieraddons", "domainOwnershipIdentifiers"} {
		ops = append(ops, api.at("GET", "/"+name, empty))
	}
	ops = append(ops, api.at("GET", "/virtualNetworkConnections", emptyArray))
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		ops = append(ops, api.at(method, "/slots/{slot}", noSlot))
	}
	return ops
}

func empty(c *arm.Call, _ app.App) (arm.Reply, error) {
	return arm.List(c, []json.RawMessage{}, ""), nil
}

// emptyArray is for lists that clients read without an envelope.
func emptyArray(*arm.Call, app.App) (arm.Reply, error) { return arm.OK([]json.RawMessage{}), nil }

func noSlot(*arm.Call, app.App) (arm.Reply, error) {
	return arm.Reply{}, arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"Deployment slots are not supported. Use a second app instead.")
}

// bindings has the one host name that an app has.
func (api *API) bindings(c *arm.Call, a app.App) (arm.Reply, error) {
	host := api.Apps.Hosts(a.Name).App
	shown := childOf(a, "hostNameBindings", host, map[string]any{
		"siteName": a.Name, "domainId": nil, "hostNameType": "Verified", "azureResourceName": a.Name,
		"azureResourceType": "Website", "customHostNameDnsRecordType": nil, "sslState": nil, "thumbprint": nil,
	})
	shown.Name = a.Name + "/" + host
	return arm.List(c, []child{shown}, ""), nil
}

func (api *API) listInstances(c *arm.Call, a app.App) (arm.Reply, error) {
	shown := []child{}
	for _, i := range api.instances(c.Context(), a) {
		shown = append(shown, childOf(a, "instances", i.Node, map[string]any{
			"state": i.State, "statusUrl": nil, "detectorUrl": nil, "consoleUrl": nil, "healthCheckUrl": nil, "errors": i.Errors,
		}))
	}
	return arm.List(c, shown, ""), nil
}
