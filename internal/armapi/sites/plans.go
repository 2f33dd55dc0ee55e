package sites

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

func (api *API) planOperations() []arm.Operation {
	return []arm.Operation{
		{Method: "PUT", Pattern: farm, Handler: api.putPlan},
		{Method: "PATCH", Pattern: farm, Handler: api.patchPlan},
		{Method: "GET", Pattern: farm, Handler: api.getPlan},
		{Method: "DELETE", Pattern: farm, Handler: api.deletePlan},
		{Method: "GET", Pattern: group + provider + "/serverfarms", Handler: api.listPlans},
		{Method: "GET", Pattern: subscription + provider + "/serverfarms", Handler: api.listPlans},
		{Method: "GET", Pattern: farm + "/sites", Handler: api.planSites},
		{Method: "GET", Pattern: farm + "/usages", Handler: api.planEmpty},
		{Method: "GET", Pattern: farm + "/capabilities", Handler: api.planCapabilities},
		{Method: "GET", Pattern: farm + "/skus", Handler: api.planSkus},
		{Method: "POST", Pattern: farm + "/restartSites", Handler: api.restartPlan},
	}
}

// planBody is a plan as clients see it.
type planBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Kind       string            `json:"kind"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	SKU        app.SKU           `json:"sku"`
	Properties map[string]any    `json:"properties"`
}

func (api *API) showPlan(p app.Plan, sites int) (planBody, error) {
	properties := map[string]any{
		"reserved": false, "hyperV": false, "isXenon": false, "isSpot": false, "perSiteScaling": false, "elasticScaleEnabled": false,
		"zoneRedundant": false, "maximumElasticWorkerCount": 1, "targetWorkerCount": 0, "targetWorkerSizeId": 0,
	}
	if err := overlay(properties, p.Resource.Properties); err != nil {
		return planBody{}, err
	}
	for name, value := range map[string]any{
		"provisioningState": "Succeeded", "status": "Ready", "numberOfSites": sites, "numberOfWorkers": p.SKU.Capacity,
		"maximumNumberOfWorkers": 0, "resourceGroup": p.ID.Group(), "subscription": p.ID.Subscription(), "geoRegion": api.Location,
		"planName": "VirtualDedicatedPlan", "name": p.Name,
	} {
		properties[name] = value
	}
	return planBody{p.ID.String(), p.Name, app.PlanType, planKind(p), p.Resource.Location, p.Resource.Tags, p.SKU, properties}, nil
}

// planKind is never empty: clients read it without looking.
func planKind(p app.Plan) string {
	switch {
	case p.Resource.Kind != "":
		return p.Resource.Kind
	case p.SKU.Tier == "Dynamic" || p.SKU.Tier == "FlexConsumption":
		return "functionapp"
	case p.SKU.Tier == "ElasticPremium":
		return "elastic"
	case p.Reserved:
		return "linux"
	}
	return "app"
}

func (api *API) putPlan(c *arm.Call) (arm.Reply, error) {
	old, err := api.Apps.Plan(c.Context(), c.Scope)
	exists := err == nil
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	spec, err := planSpec(c, old, exists)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := checkLocation(old.Resource.Location, spec.Location, exists); err != nil {
		return arm.Reply{}, err
	}
	p, _, err := api.Apps.PutPlan(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if err != nil {
		return arm.Reply{}, err
	}
	return api.answerPlan(c, p)
}

func (api *API) patchPlan(c *arm.Call) (arm.Reply, error) {
	old, err := api.Apps.Plan(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	spec, err := planSpec(c, old, true)
	if err != nil {
		return arm.Reply{}, err
	}
	p, err := api.Apps.PatchPlan(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	return api.answerPlan(c, p)
}

// planSpec reads the body of a request that changes a plan.
func planSpec(c *arm.Call, old app.Plan, exists bool) (app.Spec, error) {
	if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
		return app.Spec{}, err
	}
	text, err := body(c)
	if err != nil {
		return app.Spec{}, err
	}
	return app.ParsePlan(text)
}

func (api *API) getPlan(c *arm.Call) (arm.Reply, error) {
	p, err := api.Apps.Plan(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	return api.answerPlan(c, p)
}

func (api *API) answerPlan(c *arm.Call, p app.Plan) (arm.Reply, error) {
	sites, err := api.Apps.SitesOf(c.Context(), p.ID)
	if err != nil {
		return arm.Reply{}, err
	}
	shown, err := api.showPlan(p, len(sites))
	return arm.OK(shown).WithETag(p.Resource.ETag()), err
}

func (api *API) deletePlan(c *arm.Call) (arm.Reply, error) {
	p, err := api.Apps.Plan(c.Context(), c.Scope)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err == nil {
		err = c.Precondition(p.Resource.ETag(), true)
	}
	if err == nil {
		err = api.Apps.DeletePlan(c.Context(), c.Scope)
	}
	if errors.Is(err, problem.NotFound) { // somebody else was faster
		err = nil
	}
	return arm.Status(http.StatusOK), err
}

func (api *API) listPlans(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	plans, next, err := api.Apps.Plans(c.Context(), c.Scope, after, limit)
	if err != nil {
		return arm.Reply{}, err
	}
	counts, err := api.sitesByPlan(c)
	if err != nil {
		return arm.Reply{}, err
	}
	shown := make([]planBody, 0, len(plans))
	for _, p := range plans {
		s, err := api.showPlan(p, counts[p.ID.Key()])
		if err != nil {
			return arm.Reply{}, err
		}
		shown = append(shown, s)
	}
	return arm.List(c, shown, string(next)), nil
}

func (api *API) sitesByPlan(c *arm.Call) (map[string]int, error) {
	all, _, err := api.Apps.List(c.Context(), resource.Root, state.Key(""), 0)
	counts := map[string]int{}
	for _, a := range all {
		counts[strings.ToLower(a.Plan)]++
	}
	return counts, err
}

// ofPlan gives the apps of the plan of a call.
func (api *API) ofPlan(c *arm.Call) ([]app.App, error) {
	p, err := api.Apps.Plan(c.Context(), c.Scope)
	if err != nil {
		return nil, missing(err, c.Scope)
	}
	return api.Apps.SitesOf(c.Context(), p.ID)
}

func (api *API) planSites(c *arm.Call) (arm.Reply, error) {
	apps, err := api.ofPlan(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return api.listed(c, apps, "")
}

func (api *API) planEmpty(c *arm.Call) (arm.Reply, error) {
	_, err := api.ofPlan(c)
	return arm.List(c, []json.RawMessage{}, ""), err
}

func (api *API) planCapabilities(c *arm.Call) (arm.Reply, error) {
	_, err := api.ofPlan(c)
	return arm.OK([]json.RawMessage{}), err
}

func (api *API) planSkus(c *arm.Call) (arm.Reply, error) {
	p, err := api.Apps.Plan(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	return arm.OK(map[string]any{"resourceType": app.PlanType, "skus": []app.SKU{p.SKU}}), nil
}

func (api *API) restartPlan(c *arm.Call) (arm.Reply, error) {
	apps, err := api.ofPlan(c)
	if err != nil {
		return arm.Reply{}, err
	}
	for _, a := range apps {
		if _, err := api.Apps.Restart(c.Context(), a.ID, c.Caller.ObjectID); err != nil && !errors.Is(err, problem.NotFound) {
			return arm.Reply{}, err
		}
	}
	return arm.NoContent(), nil
}
