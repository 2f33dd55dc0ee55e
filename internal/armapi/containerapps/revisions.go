package containerapps

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// below is a part of an app as clients see it.
type below struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties map[string]any `json:"properties"`
}

func (api *API) listRevisions(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	list, err := api.cfg.Apps.Revisions(c.Context(), a.ID)
	if err != nil {
		return arm.Reply{}, err
	}
	domain, err := api.domainOf(c.Context(), a)
	if err != nil {
		return arm.Reply{}, err
	}
	// Inactive ones are shown when they are asked for; so is a filter on them.
	shown := []below{}
	for _, r := range list {
		if one, ok := filtered(c.Query.Get("$filter"), r); ok {
			shown = append(shown, api.revision(a, one, domain))
		}
	}
	return arm.List(c, shown, ""), nil
}

// filtered reads the one filter that clients send.
func filtered(filter string, r containerapp.Revision) (containerapp.Revision, bool) {
	switch plain := strings.ToLower(strings.Join(strings.Fields(filter), " ")); plain {
	case "properties/active eq true":
		return r, r.Active
	case "properties/active eq false":
		return r, !r.Active
	}
	return r, true
}

func (api *API) getRevision(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	r, err := api.find(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	domain, err := api.domainOf(c.Context(), a)
	return arm.OK(api.revision(a, r, domain)), err
}

// find reads the revision that a call is about.
func (api *API) find(c *arm.Call, a containerapp.App) (containerapp.Revision, error) {
	r, err := api.cfg.Apps.Revision(c.Context(), a.ID, c.Params["revision"])
	return r, noRevision(err, c.Params["revision"])
}

func noRevision(err error, name string) error {
	if !errors.Is(err, problem.NotFound) {
		return err
	}
	return arm.Fault{Status: http.StatusNotFound, Code: "RevisionNotFound", Target: "revision", Message: "The container app has no revision '" + clip(name) + "'."}
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (api *API) revision(a containerapp.App, r containerapp.Revision, domain string) below {
	weight, labels := share(a, r.Name)
	running, provisioning, health := r.Status.Running, r.Status.Provisioning, "None"
	if api.cfg.Runtime == nil {
		running, provisioning = containerapp.IsRunning, containerapp.Provisioned
	}
	if a.Stopped || !r.Active {
		running = containerapp.IsStopped
	} else if r.Status.Replicas > 0 {
		if health = "Unhealthy"; r.Status.Healthy {
			health = "Healthy"
		}
	}
	p := map[string]any{
		"createdTime": r.Created.UTC().Format(time.RFC3339), "lastActiveTime": nil, "fqdn": "", "template": r.Template, "active": r.Active,
		"replicas": r.Status.Replicas, "trafficWeight": weight, "labels": labels, "healthState": health,
		"provisioningState": provisioning, "runningState": running,
	}
	if r.Status.Reason != "" {
		p["provisioningError"], p["runningStateDetails"] = r.Status.Reason, r.Status.Reason
	}
	api.showScaling(p, a, r)
	if g := a.Properties.Configuration.Ingress; g != nil {
		p["fqdn"] = hostName(r.Name, domain, g.External)
	}
	return below{a.ID.Child("", "revisions", r.Name).String(), r.Name, containerapp.Type + "/revisions", p}
}

// share gives which part of the requests a revision gets, and its labels.
func share(a containerapp.App, name string) (weight int, labels []string) {
	labels = []string{}
	g := a.Properties.Configuration.Ingress
	if g == nil {
		return 0, labels
	}
	for _, t := range g.Traffic {
		if strings.EqualFold(t.RevisionName, name) || t.LatestRevision && strings.EqualFold(a.Latest, name) {
			weight += t.Weight
			if t.Label != "" {
				labels = append(labels, t.Label)
			}
		}
	}
	return weight, labels
}

// onRevision serves a change of a revision's run state.
func (api *API) onRevision(change func(ctx context.Context, app resource.ID, by, name string) (containerapp.App, error)) appHandler {
	return func(c *arm.Call, a containerapp.App) (arm.Reply, error) {
		_, err := change(c.Context(), a.ID, c.Caller.ObjectID, c.Params["revision"])
		return arm.Status(http.StatusOK), noRevision(err, c.Params["revision"])
	}
}

func (api *API) listReplicas(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	list, err := api.replicas(c, a)
	shown := make([]below, len(list))
	for i, one := range list {
		shown[i] = replica(c, a, one)
	}
	return arm.OK(map[string]any{"value": shown}), err
}

func (api *API) getReplica(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	list, err := api.replicas(c, a)
	for _, one := range list {
		if strings.EqualFold(one.Name, c.Params["replica"]) {
			return arm.OK(replica(c, a, one)), nil
		}
	}
	if err == nil {
		err = arm.Fault{Status: http.StatusNotFound, Code: "ReplicaNotFound", Target: "replica", Message: "The revision has no replica '" + clip(c.Params["replica"]) + "'."}
	}
	return arm.Reply{}, err
}

func (api *API) replicas(c *arm.Call, a containerapp.App) ([]Replica, error) {
	r, err := api.find(c, a)
	if err != nil || api.cfg.Runtime == nil {
		return nil, err
	}
	list, err := api.cfg.Runtime.Replicas(c.Context(), a, r.Name)
	if errors.Is(err, problem.NotFound) {
		return nil, nil // it is not placed
	}
	return list, err
}

func replica(c *arm.Call, a containerapp.App, r Replica) below {
	revision := c.Params["revision"]
	at := streamsOf(c, a) + "/revisions/" + revision + "/replicas/" + r.Name + "/containers/"
	return below{
		a.ID.Child("", "revisions", revision).Child("", "replicas", r.Name).String(), r.Name, containerapp.Type + "/revisions/replicas",
		map[string]any{"createdTime": r.Created.UTC().Format(time.RFC3339), "runningState": r.Running, "runningStateDetails": r.Details,
			"containers": containers(at, r.Main), "initContainers": containers(at, r.Init)},
	}
}

// streamsOf gives where the streams of an app begin: on our own host.
func streamsOf(c *arm.Call, a containerapp.App) string {
	return c.BaseURL + "/subscriptions/" + a.ID.Subscription() + "/resourceGroups/" + a.ID.Group() + "/containerApps/" + a.Name
}

func containers(at string, list []ReplicaContainer) []map[string]any {
	shown := []map[string]any{}
	for _, c := range list {
		shown = append(shown, map[string]any{"name": c.Name, "containerId": c.ID, "ready": c.Ready, "started": c.Started,
			"restartCount": c.Restarts, "runningState": c.Running, "runningStateDetails": c.Details,
			"logStreamEndpoint": at + c.Name + "/logstream", "execEndpoint": at + c.Name + "/exec"})
	}
	return shown
}
