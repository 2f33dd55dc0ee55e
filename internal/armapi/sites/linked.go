package sites

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Actions on other resources that a call about an app needs besides its own.
const (
	joinPlan       = "Microsoft.Web/serverfarms/join/action"
	removePlan     = "Microsoft.Web/serverfarms/delete"
	assignIdentity = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
	listConfigs    = "Microsoft.Web/sites/config/list/action"
)

// allows reports whether the caller may do something at another scope than the
// call's, or another thing at its own.
func (api *API) allows(c *arm.Call, action string, scope resource.ID) (bool, error) {
	if api.Authorize == nil {
		return false, problem.New(problem.Internal, "nobody says what callers may do")
	}
	d, err := api.Authorize.Allow(c.Context(), authz.Request{
		Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: action, Scope: scope,
	})
	if err != nil {
		return false, problem.Wrap(problem.KindOf(err), "whether the call is allowed could not be decided", err)
	}
	return d.Allowed, nil
}

// linked refuses the use of another resource that the caller may not make use of.
func (api *API) linked(c *arm.Call, action string, scope resource.ID) error {
	allowed, err := api.allows(c, action, scope)
	if err != nil || allowed {
		return err
	}
	return arm.Faultf(http.StatusForbidden, "LinkedAuthorizationFailed",
		"The client '%s' with object id '%s' has permission to perform the action at the scope of the request, but not '%s' over the linked scope '%s'.",
		c.Caller.AppID, c.Caller.ObjectID, action, scope)
}

// checkLinked refuses a plan and identities that an app is to get and whose use is
// not the caller's to give. What it has already stays.
func (api *API) checkLinked(c *arm.Call, old app.App, spec app.Spec) error {
	var plan string
	if text := spec.Properties["serverFarmId"]; len(text) > 0 && json.Unmarshal(text, &plan) != nil {
		return nil // it is refused for what it is
	}
	if id, err := resource.Parse(plan); plan != "" && err == nil && !strings.EqualFold(id.String(), old.Plan) {
		if err := api.linked(c, joinPlan, id); err != nil {
			return err
		}
	}
	var had, next identityBlock
	if json.Unmarshal(spec.Identity, &next) != nil {
		return nil // none is said
	}
	_ = json.Unmarshal(old.Resource.Identity, &had) // nextIdentity has read it
	for name := range next.Assigned {
		if next.Binds(name, had) {
			continue // had under this id and still the same identity
		}
		id, err := resource.Parse(name)
		if err != nil {
			return err
		}
		if err := api.linked(c, assignIdentity, id); err != nil {
			return err
		}
	}
	return nil
}

// withoutSignatures gives a configuration without the addresses that open storage
// to whoever has them, for those who may read it but not its secrets.
func withoutSignatures(properties map[string]any) (map[string]any, error) {
	text, err := json.Marshal(properties)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	hideSignatures(all)
	return all, nil
}

func hideSignatures(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if strings.EqualFold(name, "sasUrl") {
				v[name] = nil
			}
			hideSignatures(member)
		}
	case []any:
		for _, member := range v {
			hideSignatures(member)
		}
	}
}
