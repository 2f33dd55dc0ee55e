package containerapps

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// pageSize is how many items a page of a list has at most.
const pageSize = 200

// Actions on other resources that a call about an app needs besides its own.
const (
	joinEnvironment = "Microsoft.App/managedEnvironments/join/action"
	assignIdentity  = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
	readApp         = "Microsoft.App/containerApps/read"
)

// bodySent is what clients send of an app or environment. Other members are
// computed and do not count.
type bodySent struct {
	Location   string             `json:"location"`
	Kind       string             `json:"kind"`
	Tags       map[string]*string `json:"tags"`
	Identity   json.RawMessage    `json:"identity"`
	Properties json.RawMessage    `json:"properties"`
}

// read reads a body. In a patch, tags that are null are gone.
func read(c *arm.Call, had map[string]string, patch bool) (containerapp.Spec, error) {
	var b bodySent
	if err := c.JSON(&b); err != nil {
		return containerapp.Spec{}, err
	}
	s := containerapp.Spec{Location: strings.TrimSpace(b.Location), Kind: b.Kind, Properties: b.Properties}
	if !bytes.Equal(b.Identity, []byte("null")) {
		s.Identity = b.Identity
	}
	if b.Tags != nil {
		s.Tags = map[string]string{}
		for name, value := range had {
			if patch {
				s.Tags[name] = value
			}
		}
		for name, value := range b.Tags {
			if delete(s.Tags, name); value != nil {
				s.Tags[name] = *value
			}
		}
	}
	return s, resources.CheckTags(s.Tags)
}

func (api *API) putApp(c *arm.Call) (arm.Reply, error) {
	spec, err := read(c, nil, false)
	if err != nil {
		return arm.Reply{}, err
	}
	return settled(c, func() (arm.Reply, error) {
		old, err := api.cfg.Apps.Get(c.Context(), c.Scope)
		exists := err == nil
		if err != nil && !errors.Is(err, problem.NotFound) {
			return arm.Reply{}, err
		}
		if err := checkLocation(old.Resource.Location, spec.Location, exists); err != nil {
			return arm.Reply{}, err
		}
		decided, err := api.decide(c, old, exists, spec, false)
		if err != nil {
			return arm.Reply{}, err
		}
		a, created, err := api.cfg.Apps.Put(c.Context(), c.Scope, c.Caller.ObjectID, decided)
		if err != nil {
			return arm.Reply{}, err
		}
		return api.written(c, a, created, false)
	})
}

func (api *API) patchApp(c *arm.Call) (arm.Reply, error) {
	old, err := api.cfg.Apps.Get(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	spec, err := read(c, old.Resource.Tags, true)
	if err != nil {
		return arm.Reply{}, err
	}
	return settled(c, func() (arm.Reply, error) {
		old, err := api.cfg.Apps.Get(c.Context(), c.Scope)
		if err != nil {
			return arm.Reply{}, missing(err, c.Scope)
		}
		if err := checkLocation(old.Resource.Location, spec.Location, true); err != nil {
			return arm.Reply{}, err
		}
		decided, err := api.decide(c, old, true, spec, true)
		if err != nil {
			return arm.Reply{}, err
		}
		a, err := api.cfg.Apps.Patch(c.Context(), c.Scope, c.Caller.ObjectID, decided)
		if err != nil {
			return arm.Reply{}, err
		}
		return api.written(c, a, false, true)
	})
}

// checkLocation refuses a new resource without a location, and moving one.
func checkLocation(had, said string, exists bool) error {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
	switch {
	case !exists && plain(said) == "":
		return arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location", Message: "The location property is required for this definition."}
	case exists && said != "" && plain(had) != plain(said):
		return arm.Faultf(http.StatusConflict, "InvalidResourceLocation",
			"The resource already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", had, said)
	}
	return nil
}

// errMoved says that what a change was decided about is not there any more.
var errMoved = errors.New("the app was changed by somebody else meanwhile")

// changeTries bounds how often a change is decided anew because its app was
// changed by others.
const changeTries = 20

// settled decides about a change and makes it until nobody comes between.
func settled(c *arm.Call, once func() (arm.Reply, error)) (arm.Reply, error) {
	for range changeTries {
		reply, err := once()
		if !errors.Is(err, errMoved) {
			return reply, fault(err)
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusConflict, "Conflict", "The app '%s' was changed by others all the time. Try again.", c.Scope.Name())
}

// decide makes of what a client said what is stored, if the caller may have it so,
// and binds it to the app that this was decided about: what an app has already it
// keeps without anybody being asked, and that must not come to mean another app.
func (api *API) decide(c *arm.Call, old containerapp.App, exists bool, spec containerapp.Spec, patch bool) (containerapp.Spec, error) {
	if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
		return spec, err
	}
	var err error
	if spec.Identity, err = api.cfg.Identities.Merge(c.Context(), old.Resource.Identity, spec.Identity, patch); err != nil {
		return spec, err
	}
	if err := api.checkIdentities(c, old, spec.Identity); err != nil {
		return spec, err
	}
	if !exists {
		if err := api.checkEnvironment(c, spec.Properties); err != nil {
			return spec, err
		}
	}
	spec.Allow = func(had containerapp.App, there bool) error {
		if there == exists && had.UID == old.UID && bytes.Equal(had.Resource.Identity, old.Resource.Identity) {
			return c.Precondition(had.Resource.ETag(), there)
		}
		return errMoved
	}
	return spec, nil
}

// checkIdentities refuses identities that an app is to get and that are not the
// caller's to give.
func (api *API) checkIdentities(c *arm.Call, old containerapp.App, said json.RawMessage) error {
	next, err := managed.Parse(said)
	if err != nil || said == nil {
		return err
	}
	had, err := managed.Parse(old.Resource.Identity)
	if err != nil {
		return err
	}
	for name := range next.Assigned {
		if next.Binds(name, had) {
			continue
		}
		id, err := resource.Parse(name)
		if err == nil {
			err = api.linked(c, assignIdentity, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkEnvironment refuses an environment that the caller may not put apps in.
func (api *API) checkEnvironment(c *arm.Call, properties json.RawMessage) error {
	var said struct {
		EnvironmentID        string `json:"environmentId"`
		ManagedEnvironmentID string `json:"managedEnvironmentId"`
	}
	if len(properties) == 0 || json.Unmarshal(properties, &said) != nil {
		return nil // it is refused for what it is
	}
	for _, text := range []string{said.EnvironmentID, said.ManagedEnvironmentID} {
		id, err := resource.Parse(text)
		if text == "" || err != nil || !strings.EqualFold(id.Type(), containerapp.EnvironmentType) {
			continue
		}
		if err := api.linked(c, joinEnvironment, id); err != nil {
			return err
		}
	}
	return nil
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

func (api *API) allows(c *arm.Call, action string, scope resource.ID) (bool, error) {
	d, err := api.cfg.Authorize.Allow(c.Context(), authz.Request{
		Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: action, Scope: scope,
	})
	if err != nil {
		return false, problem.Wrap(problem.KindOf(err), "whether the call is allowed could not be decided", err)
	}
	return d.Allowed, nil
}

// written answers with an app that was changed, after its identities are made.
// Their ids go to the app as it was when they were.
func (api *API) written(c *arm.Call, a containerapp.App, created, patched bool) (arm.Reply, error) {
	if a.Resource.Identity != nil {
		var err error
		if a, err = api.ensured(c, a); err != nil {
			return arm.Reply{}, err
		}
	}
	return api.changed(c, a, created, patched)
}

func (api *API) ensured(c *arm.Call, a containerapp.App) (containerapp.App, error) {
	for range changeTries {
		now, err := api.cfg.Apps.Get(c.Context(), a.ID)
		if err == nil && now.UID != a.UID {
			err = problem.New(problem.NotFound, "the app was deleted")
		}
		if err != nil {
			return a, missing(err, a.ID)
		}
		block, err := api.cfg.Identities.Ensure(c.Context(), a.ID, now.Resource.Identity)
		if err != nil {
			return a, err
		}
		next, err := api.cfg.Apps.Patch(c.Context(), a.ID, c.Caller.ObjectID, containerapp.Spec{Identity: block, Allow: func(had containerapp.App, _ bool) error {
			if had.Resource.Revision != now.Resource.Revision {
				return errMoved
			}
			return nil
		}})
		if !errors.Is(err, errMoved) {
			return next, err
		}
	}
	return a, arm.Faultf(http.StatusConflict, "Conflict", "The app '%s' was changed by others all the time. Try again.", a.Name)
}

func (api *API) getApp(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	shown, err := api.show(c, a)
	return arm.OK(shown).WithETag(a.Resource.ETag()), err
}

// deleteApp answers 204 for an app that is not there, so that a client can ask
// again after an answer got lost.
func (api *API) deleteApp(c *arm.Call) (arm.Reply, error) {
	a, err := api.cfg.Apps.Get(c.Context(), c.Scope)
	if err == nil {
		err = c.Precondition(a.Resource.ETag(), true)
	} else if errors.Is(err, problem.NotFound) {
		err = nil // its deletion may have been interrupted
	}
	if err != nil {
		return arm.Reply{}, err
	}
	err = api.cfg.Apps.Delete(c.Context(), c.Scope, c.Caller.ObjectID)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

func (api *API) listApps(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, next, err := api.cfg.Apps.List(c.Context(), c.Scope, after, limit)
	if err != nil {
		return arm.Reply{}, err
	}
	shown := make([]appShown, len(list))
	for i, a := range list {
		if shown[i], err = api.show(c, a); err != nil {
			return arm.Reply{}, err
		}
	}
	return arm.List(c, shown, string(next)), nil
}

// page gives where a list goes on and how long it may be.
func page(c *arm.Call) (state.Key, int, error) {
	after, err := c.SkipToken()
	if err != nil {
		return "", 0, err
	}
	limit, err := c.Top(pageSize)
	return state.Key(after), limit, err
}

func (api *API) setStopped(stopped bool) appHandler {
	return func(c *arm.Call, a containerapp.App) (arm.Reply, error) {
		a, err := api.cfg.Apps.SetStopped(c.Context(), a.ID, c.Caller.ObjectID, stopped)
		if err != nil {
			return arm.Reply{}, err
		}
		return api.getApp(c, a)
	}
}

// shownSecret is a secret as listSecrets has it.
type shownSecret struct {
	Name        string  `json:"name"`
	Value       *string `json:"value,omitempty"`
	Identity    string  `json:"identity,omitempty"`
	KeyVaultURL string  `json:"keyVaultUrl,omitempty"`
}

func (api *API) listSecrets(_ *arm.Call, a containerapp.App) (arm.Reply, error) {
	list := []shownSecret{}
	for _, s := range a.Properties.Configuration.Secrets {
		shown := shownSecret{Name: s.Name, Identity: s.Identity, KeyVaultURL: s.KeyVaultURL}
		if value, there := a.Secrets[s.Name]; there {
			shown.Value = &value
		}
		list = append(list, shown)
	}
	return arm.OK(map[string]any{"value": list}), nil
}

func (api *API) authToken(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	if api.cfg.AuthToken == nil {
		return arm.Reply{}, problem.New(problem.Unsupported, "apps have no tokens for logs and consoles here").
			WithNext("read logs with the command line tool")
	}
	token, expires, err := api.cfg.AuthToken(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(map[string]any{"id": a.ID.String(), "name": a.Name, "type": containerapp.Type, "location": a.Resource.Location,
		"properties": map[string]any{"token": token, "expires": expires.UTC().Format(time.RFC3339)}}), nil
}
