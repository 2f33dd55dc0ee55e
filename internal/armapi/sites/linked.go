package sites

import (
	"bytes"
	"encoding/json"
	"errors"
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

// errMoved says that what a change was decided about is not there any more.
var errMoved = errors.New("the app was changed by somebody else meanwhile")

// unmoved lets a change happen to nothing but what it was decided about. What an
// app has already it may keep without anybody being asked: a caller who may not
// assign an identity must not bring back one that was taken away since, nor hand
// that of a deleted app on to the next one of its name.
func unmoved(old app.App, exists bool) func(app.App, bool) error {
	return func(had app.App, there bool) error {
		if there == exists && had.UID == old.UID && had.Plan == old.Plan && bytes.Equal(had.Resource.Identity, old.Resource.Identity) {
			return nil
		}
		return errMoved
	}
}

// changeTries bounds how often a change is decided anew because its app was
// changed by others.
const changeTries = 20

// settled decides about a change and makes it until nobody comes between.
func settled(c *arm.Call, once func() (arm.Reply, error)) (arm.Reply, error) {
	for range changeTries {
		reply, err := once()
		if !errors.Is(err, errMoved) {
			return reply, err
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusConflict, "Conflict", "The app '%s' was changed by others all the time. Try again.", c.Scope.Name())
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
