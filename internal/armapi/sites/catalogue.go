package sites

import (
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

func (api *API) catalogueOperations() []arm.Operation {
	read := func(pattern string, h arm.Handler) arm.Operation {
		return arm.Operation{Method: "GET", Pattern: pattern, Action: arm.Open, Handler: h}
	}
	return []arm.Operation{
		read(provider+"/functionAppStacks", stacks),
		read(provider+"/locations/{location}/functionAppStacks", stacks),
		{Method: "GET", Pattern: subscription + provider + "/geoRegions", Action: "Microsoft.Web/geoRegions/read", Handler: api.regions},
	}
}

// runtimes are what apps can be written for.
var runtimes = []struct{ name, display, version, image string }{
	{"custom", "Custom Handler", "1.0", ""},
}

// stacks answers with the runtimes there are, on Linux.
func stacks(c *arm.Call) (arm.Reply, error) {
	shown := []map[string]any{}
	if os := c.Query.Get("stackostype"); os != "" && !strings.EqualFold(os, "linux") && !strings.EqualFold(os, "all") {
		return arm.List(c, shown, ""), nil
	}
	for _, r := range runtimes {
		shown = append(shown, map[string]any{
			"id": "/providers/Microsoft.Web/functionAppStacks/" + r.name, "name": r.name, "type": "Microsoft.Web/functionAppStacks",
			"location": nil, "kind": nil,
			"properties": map[string]any{
				"displayText": r.display, "value": r.name, "preferredOs": "linux", "majorVersions": []any{majorVersion(r.name, r.display, r.version, r.image)},
			},
		})
	}
	return arm.List(c, shown, ""), nil
}

func majorVersion(name, display, version, image string) map[string]any {
	settings := map[string]any{
		"runtimeVersion": image, "isDefault": true, "remoteDebuggingSupported": false,
		"appInsightsSettings":                 map[string]any{"isSupported": true},
		"gitHubActionSettings":                map[string]any{"isSupported": false},
		"appSettingsDictionary":               map[string]any{"FUNCTIONS_WORKER_RUNTIME": name},
		"siteConfigPropertiesDictionary":      map[string]any{"use32BitWorkerProcess": false, "linuxFxVersion": image},
		"supportedFunctionsExtensionVersions": []string{"~4"},
	}
	return map[string]any{
		"displayText": display, "value": name, "appSettingsDictionary": map[string]any{}, "siteConfigPropertiesDictionary": map[string]any{},
		"minorVersions": []any{map[string]any{
			"displayText": display, "value": version, "stackSettings": map[string]any{"linuxRuntimeSettings": settings},
		}},
	}
}

// regions answers with the one region there is, whatever is asked of it.
func (api *API) regions(c *arm.Call) (arm.Reply, error) {
	return arm.List(c, []any{map[string]any{
		"id": c.Scope.String() + "/providers/Microsoft.Web/geoRegions/" + api.Location, "name": api.Location, "type": "Microsoft.Web/geoRegions",
		"properties": map[string]any{"name": api.Location, "description": nil, "displayName": api.Location,
			"orgDomain": "PUBLIC;DYNAMIC;LINUX;LINUXDYNAMIC;FUNCTIONS;FLEXCONSUMPTION;ELASTICPREMIUM"},
	}}, ""), nil
}
