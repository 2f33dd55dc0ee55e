package containerapps

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
)

// appShown is an app or environment as clients see it.
type appShown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Kind       string            `json:"kind,omitempty"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	SystemData systemData        `json:"systemData"`
	Identity   json.RawMessage   `json:"identity"` // never null: clients look into it
	Properties map[string]any    `json:"properties"`
}

type systemData struct {
	CreatedBy      string    `json:"createdBy"`
	CreatedByType  string    `json:"createdByType"`
	CreatedAt      time.Time `json:"createdAt"`
	ModifiedBy     string    `json:"lastModifiedBy"`
	ModifiedByType string    `json:"lastModifiedByType"`
	ModifiedAt     time.Time `json:"lastModifiedAt"`
}

func systemDataOf(r inventory.Resource) systemData {
	return systemData{r.CreatedBy, "Application", r.Created.UTC(), r.ChangedBy, "Application", r.Changed.UTC()}
}

func (api *API) show(c *arm.Call, a containerapp.App) (appShown, error) {
	properties, err := members(a.Properties)
	if err != nil {
		return appShown{}, err
	}
	latest, err := api.latest(c.Context(), a)
	if err != nil {
		return appShown{}, err
	}
	domain, err := api.domainOf(c.Context(), a)
	if err != nil {
		return appShown{}, err
	}
	running := "Running"
	if a.Stopped {
		running = "Stopped"
	}
	ready := a.LatestReady
	if api.cfg.Runtime == nil {
		ready = a.Latest
	}
	for name, value := range map[string]any{
		"provisioningState": api.provisioningState(a, latest), "runningStatus": running, "latestRevisionName": a.Latest, "latestReadyRevisionName": ready,
		"latestRevisionFqdn": "", "outboundIpAddresses": []string{"127.0.0.1"}, "eventStreamEndpoint": streamsOf(c, a) + "/eventstream", "delegatedIdentities": []string{},
		"customDomainVerificationId": fmt.Sprintf("%X", sha256.Sum256([]byte("latchkey domain verification "+a.ID.Subscription()))),
	} {
		properties[name] = value
	}
	if latest.Status.Code != "" {
		properties["deploymentErrors"] = latest.Status.Reason
	}
	if s, ok := api.scaling(a, latest); ok {
		properties["scaling"] = s
	}
	if g := a.Properties.Configuration.Ingress; g != nil {
		inner := properties["configuration"].(map[string]any)["ingress"].(map[string]any)
		inner["fqdn"] = hostName(a.Name, domain, g.External)
		properties["latestRevisionFqdn"] = hostName(a.Latest, domain, g.External)
	}
	block, err := api.identity(c.Context(), a)
	return appShown{
		ID: a.ID.String(), Name: a.Name, Type: containerapp.Type, Kind: a.Resource.Kind, Location: a.Resource.Location, Tags: a.Resource.Tags,
		SystemData: systemDataOf(a.Resource), Identity: block, Properties: properties,
	}, err
}

// members gives a value's JSON members.
func members(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	return all, json.Unmarshal(text, &all)
}

// latest reads the revision that was made last; the zero value if it is gone.
func (api *API) latest(ctx context.Context, a containerapp.App) (containerapp.Revision, error) {
	r, err := api.cfg.Apps.Revision(ctx, a.ID, a.Latest)
	if errors.Is(err, problem.NotFound) {
		return containerapp.Revision{}, nil
	}
	return r, err
}

// provisioningState gives an app's state by its latest revision. Nothing is awaited
// of an app that is stopped.
func (api *API) provisioningState(a containerapp.App, r containerapp.Revision) string {
	switch {
	case api.cfg.Runtime == nil || a.Stopped || r.Status.Provisioning == containerapp.Provisioned:
		return "Succeeded"
	case r.Status.Provisioning == containerapp.Failed:
		return "Failed"
	}
	return "InProgress"
}

// domainOf gives the domain of an app's environment; that of all if the environment
// is gone.
func (api *API) domainOf(ctx context.Context, a containerapp.App) (string, error) {
	e, err := api.cfg.Apps.Environment(ctx, a.Environment())
	if errors.Is(err, problem.NotFound) {
		return api.cfg.Domain, nil
	}
	return e.Domain(api.cfg.Domain), err
}

// hostName gives the host name of an app or a revision.
func hostName(name, domain string, external bool) string {
	if !external {
		return name + ".internal." + domain
	}
	return name + "." + domain
}

// identity gives an app's identity as clients see it: without identities, a block
// that says so; both kinds with a comma and no blank, as this provider spells it.
func (api *API) identity(ctx context.Context, a containerapp.App) (json.RawMessage, error) {
	shown, err := api.cfg.Identities.Shown(ctx, a.Resource.Identity, a.ID)
	if err != nil || len(shown) == 0 {
		return json.RawMessage(`{"type":"None"}`), err
	}
	var block map[string]json.RawMessage
	if err := json.Unmarshal(shown, &block); err != nil {
		return nil, err
	}
	block["type"] = json.RawMessage(strings.ReplaceAll(string(block["type"]), ", ", ","))
	return json.Marshal(block)
}
