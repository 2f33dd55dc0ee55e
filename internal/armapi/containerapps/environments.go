package containerapps

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

const readEnvironment = "Microsoft.App/managedEnvironments/read"

func (api *API) environmentOperations() []arm.Operation {
	ops := []arm.Operation{
		{Method: "PUT", Pattern: oneEnv, Handler: api.writeEnvironment(false)},
		{Method: "PATCH", Pattern: oneEnv, Handler: api.writeEnvironment(true)},
		{Method: "GET", Pattern: oneEnv, Handler: api.getEnvironment},
		{Method: "DELETE", Pattern: oneEnv, Handler: api.deleteEnvironment},
		{Method: "GET", Pattern: environments, Handler: api.listEnvironments},
		{Method: "GET", Pattern: subscription + provider + "/managedEnvironments", Handler: api.listEnvironments},
		{Method: "POST", Pattern: oneEnv + "/checkNameAvailability", Action: "Microsoft.App/managedEnvironments/checkNameAvailability/action",
			Reads: true, Scope: segments, Handler: api.checkName},
	}
	for _, name := range []string{"workloadProfileStates", "storages", "certificates", "managedCertificates", "daprComponents", "privateEndpointConnections", "usages"} {
		ops = append(ops, arm.Operation{Method: "GET", Pattern: oneEnv + "/" + name, Scope: segments, Handler: func(c *arm.Call) (arm.Reply, error) {
			if _, err := api.cfg.Apps.Environment(c.Context(), c.Scope); err != nil {
				return arm.Reply{}, missing(err, c.Scope)
			}
			return empty(c)
		}})
	}
	return ops
}

func (api *API) writeEnvironment(patch bool) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		old, err := api.cfg.Apps.Environment(c.Context(), c.Scope)
		exists := err == nil
		if err != nil && (patch || !errors.Is(err, problem.NotFound)) {
			return arm.Reply{}, missing(err, c.Scope)
		}
		spec, err := read(c, old.Resource.Tags, patch)
		if err != nil {
			return arm.Reply{}, err
		}
		if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
			return arm.Reply{}, err
		}
		if err := checkLocation(old.Resource.Location, spec.Location, exists); err != nil {
			return arm.Reply{}, err
		}
		if err := noIdentity(spec); err != nil {
			return arm.Reply{}, err
		}
		e, created, err := api.cfg.Apps.PutEnvironment(c.Context(), c.Scope, c.Caller.ObjectID, spec, patch)
		if err != nil {
			return arm.Reply{}, fault(err)
		}
		reply, err := api.answerEnvironment(e)
		if created {
			reply.Status = http.StatusCreated
			reply.Header = operation{ID: e.ID.String(), Started: e.Resource.Created}.headers(c, e.Resource.Location, false)
		}
		return reply, err
	}
}

// noIdentity refuses identities of environments: nothing would use them.
func noIdentity(s containerapp.Spec) error {
	var said struct {
		Type string `json:"type"`
	}
	if s.Identity == nil {
		return nil
	}
	if err := arm.Decode(s.Identity, &said); err != nil {
		return err
	}
	if said.Type == "" || strings.EqualFold(said.Type, "None") {
		return nil
	}
	return arm.Fault{Status: http.StatusBadRequest, Code: "NotSupported", Target: "identity.type",
		Message: "Environments have no identities here. Give the container apps in it identities."}
}

func (api *API) answerEnvironment(e containerapp.Environment) (arm.Reply, error) {
	shown, err := api.showEnvironment(e)
	return arm.OK(shown).WithETag(e.Resource.ETag()), err
}

func (api *API) showEnvironment(e containerapp.Environment) (appShown, error) {
	properties, err := members(e.Resource.Properties)
	if err != nil {
		return appShown{}, err
	}
	if properties["workloadProfiles"] == nil {
		delete(properties, "workloadProfiles")
	}
	for name, value := range map[string]any{
		"provisioningState": "Succeeded", "defaultDomain": e.Domain(api.cfg.Domain), "staticIp": "127.0.0.1", "eventStreamEndpoint": "",
		"customDomainConfiguration": map[string]any{"customDomainVerificationId": ""}, "kedaConfiguration": map[string]any{"version": ""},
		"daprConfiguration": map[string]any{"version": ""},
	} {
		properties[name] = value
	}
	for name, value := range map[string]any{"zoneRedundant": false, "publicNetworkAccess": "Enabled", "vnetConfiguration": nil, "appLogsConfiguration": nil} {
		if _, said := properties[name]; !said {
			properties[name] = value
		}
	}
	return appShown{
		ID: e.ID.String(), Name: e.Name, Type: containerapp.EnvironmentType, Kind: e.Resource.Kind, Location: e.Resource.Location, Tags: e.Resource.Tags,
		SystemData: systemDataOf(e.Resource), Identity: []byte(`{"type":"None"}`), Properties: properties,
	}, nil
}

func (api *API) getEnvironment(c *arm.Call) (arm.Reply, error) {
	e, err := api.cfg.Apps.Environment(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	return api.answerEnvironment(e)
}

func (api *API) deleteEnvironment(c *arm.Call) (arm.Reply, error) {
	e, err := api.cfg.Apps.Environment(c.Context(), c.Scope)
	if err == nil {
		if err = c.Precondition(e.Resource.ETag(), true); err == nil {
			err = api.cfg.Apps.DeleteEnvironment(c.Context(), c.Scope)
		}
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

func (api *API) listEnvironments(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, next, err := api.cfg.Apps.Environments(c.Context(), c.Scope, after, limit)
	if err != nil {
		return arm.Reply{}, err
	}
	shown := make([]appShown, len(list))
	for i, e := range list {
		if shown[i], err = api.showEnvironment(e); err != nil {
			return arm.Reply{}, err
		}
	}
	return arm.List(c, shown, string(next)), nil
}

// checkName tells whether an app of a name could be made in an environment's group.
func (api *API) checkName(c *arm.Call) (arm.Reply, error) {
	var asked struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := c.JSON(&asked); err != nil {
		return arm.Reply{}, err
	}
	if err := containerapp.CheckName(asked.Name); err != nil {
		return arm.OK(map[string]any{"nameAvailable": false, "reason": "Invalid", "message": err.Error()}), nil
	}
	_, err := api.cfg.Apps.Get(c.Context(), c.Scope.Parent().Child("Microsoft.App", "containerApps", asked.Name))
	if errors.Is(err, problem.NotFound) {
		return arm.OK(map[string]any{"nameAvailable": true}), nil
	}
	return arm.OK(map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "There is a container app of this name in the resource group."}), err
}
