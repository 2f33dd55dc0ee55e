package sites

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// webTime is how Microsoft.Web writes times: without a zone.
const webTime = "2006-01-02T15:04:05.9999999"

// siteBody is an app as clients see it.
type siteBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Kind       string            `json:"kind"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Identity   json.RawMessage   `json:"identity,omitempty"`
	Properties map[string]any    `json:"properties"`
}

// show makes the body of an app. plans remembers those read already.
func (api *API) show(ctx context.Context, a app.App, plans *plansRead) (siteBody, error) {
	web, err := api.web(ctx, a)
	if err != nil {
		return siteBody{}, err
	}
	plan, err := api.planOf(ctx, a, plans)
	if err != nil {
		return siteBody{}, err
	}
	properties := app.SiteDefaults()
	properties["reserved"] = plan.Reserved || strings.Contains(strings.ToLower(a.Resource.Kind), "linux")
	if err := overlay(properties, a.Resource.Properties); err != nil {
		return siteBody{}, err
	}
	maps.Copy(properties, api.computed(a, plan))
	if plan.Name != "" { // as the plan is spelled, not as the app was sent
		properties["serverFarmId"] = plan.ID.String()
	}
	properties["siteConfig"] = brief(web)
	identity, err := api.shownIdentity(ctx, a)
	if err != nil {
		return siteBody{}, err
	}
	properties["latchkey"] = api.ours(ctx, a)
	return siteBody{
		ID: a.ID.String(), Name: a.Name, Type: app.SiteType, Kind: a.Resource.Kind, Location: a.Resource.Location,
		Tags: a.Resource.Tags, Identity: identity, Properties: properties,
	}, nil
}

// overlay puts stored members over others.
func overlay(properties map[string]any, stored json.RawMessage) error {
	if len(stored) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(stored, &members); err != nil {
		return problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
	}
	for name, value := range members {
		properties[name] = value
	}
	return nil
}

// hostNameState is an entry of hostNameSslStates.
type hostNameState struct {
	Name     string `json:"name"`
	SSLState string `json:"sslState"`
	HostType string `json:"hostType"`
}

// computed are the members that clients only read.
func (api *API) computed(a app.App, plan app.Plan) map[string]any {
	h := api.Apps.Hosts(a.Name)
	const address = "127.0.0.1"
	return map[string]any{
		"name": a.Name, "state": shownState(a), "hostNames": []string{h.App}, "enabledHostNames": []string{h.App, h.SCM},
		"hostNameSslStates": []hostNameState{{h.App, "Disabled", "Standard"}, {h.SCM, "Disabled", "Repository"}},
		"defaultHostName":   h.App, "repositorySiteName": a.Name, "adminEnabled": true, "availabilityState": "Normal", "usageState": "Normal",
		"siteDisabledReason": 0, "suspendedTill": nil, "inProgressOperationId": nil, "slotSwapStatus": nil, "targetSwapSlot": nil,
		"trafficManagerHostNames": nil, "lastModifiedTimeUtc": a.Resource.Changed.UTC().Format(webTime), "sku": plan.SKU.Tier,
		"resourceGroup": a.ID.Group(), "outboundIpAddresses": address, "possibleOutboundIpAddresses": address,
		"customDomainVerificationId": fmt.Sprintf("%X", sha256.Sum256([]byte("latchkey domain verification "+api.SubscriptionID))),
		"cloningInfo":                nil, "hostingEnvironmentProfile": nil, "maxNumberOfWorkers": nil, "isDefaultContainer": nil,
	}
}

func shownState(a app.App) app.State {
	if !a.Enabled {
		return app.Stopped
	}
	return a.State
}

// plansRead remembers plans while a list is put together.
type plansRead struct{ known sync.Map } // of lower-cased id → app.Plan

// planOf gives the plan of an app; of one that has none, or whose plan is gone, a
// consumption plan.
func (api *API) planOf(ctx context.Context, a app.App, plans *plansRead) (app.Plan, error) {
	key := strings.ToLower(a.Plan)
	if p, ok := plans.known.Load(key); ok {
		return p.(app.Plan), nil
	}
	none := app.Plan{SKU: app.SKU{Name: "Y1", Tier: "Dynamic"}}
	id, err := resource.Parse(a.Plan)
	if err != nil || a.Plan == "" {
		return none, nil
	}
	p, err := api.Apps.Plan(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return none, nil
	}
	if err == nil {
		plans.known.Store(key, p)
	}
	return p, err
}

// brief are the members of the configuration that a site shows by itself. It is
// never null: clients wait for it.
func brief(web map[string]any) map[string]any {
	out := map[string]any{"appSettings": nil, "connectionStrings": nil}
	for _, name := range []string{"numberOfWorkers", "linuxFxVersion", "windowsFxVersion", "alwaysOn", "http20Enabled",
		"functionAppScaleLimit", "minimumElasticInstanceCount", "acrUseManagedIdentityCreds", "acrUserManagedIdentityID",
		"ftpsState", "minTlsVersion", "netFrameworkVersion"} {
		out[name] = web[name]
	}
	return out
}

// own is what Latchkey adds to a site.
type own struct {
	Instances  []InstanceStatus `json:"instances"`
	Release    string           `json:"release"`
	Generation int64            `json:"generation"`
}

func (api *API) ours(ctx context.Context, a app.App) own {
	o := own{Instances: api.instances(ctx, a), Release: a.Release, Generation: a.Generation}
	if o.Instances == nil {
		o.Instances = []InstanceStatus{}
	}
	return o
}

// instances leaves out what cannot be found out: a read of an app must not depend
// on what runs it.
func (api *API) instances(ctx context.Context, a app.App) []InstanceStatus {
	if api.Status == nil {
		return nil
	}
	list, _ := api.Status(ctx, a)
	for i := range list {
		if list[i].Errors == nil {
			list[i].Errors = []string{}
		}
	}
	return list
}
