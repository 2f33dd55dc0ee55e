package sites

import (
	"errors"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// pageSize is how many resources a page of a list has.
const pageSize = 200

func (api *API) siteOperations() []arm.Operation {
	return []arm.Operation{
		{Method: "PUT", Pattern: site, Handler: api.putSite},
		api.at("PATCH", "", api.patchSite),
		api.at("GET", "", api.getSite),
		{Method: "DELETE", Pattern: site, Handler: api.deleteSite},
		{Method: "GET", Pattern: group + provider + "/sites", Handler: api.listSites},
		{Method: "GET", Pattern: subscription + provider + "/sites", Handler: api.listSites},
		api.at("POST", "/start", api.setState(app.Running)),
		api.at("POST", "/stop", api.setState(app.Stopped)),
		api.at("POST", "/restart", api.restart),
		{Method: "POST", Pattern: subscription + provider + "/checknameavailability", Action: "Microsoft.Web/checknameavailability/read",
			Reads: true, Handler: api.checkName},
	}
}

// putSite answers 200 also for an app it creates: clients accept nothing else.
func (api *API) putSite(c *arm.Call) (arm.Reply, error) {
	text, err := body(c)
	if err != nil {
		return arm.Reply{}, err
	}
	spec, err := app.ParseSite(text)
	if err != nil {
		return arm.Reply{}, err
	}
	return settled(c, func() (arm.Reply, error) { return api.putOnce(c, spec) })
}

func (api *API) putOnce(c *arm.Call, spec app.Spec) (arm.Reply, error) {
	old, err := api.Apps.Get(c.Context(), c.Scope)
	exists := err == nil
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
		return arm.Reply{}, err
	}
	if err := checkLocation(old.Resource.Location, spec.Location, exists); err != nil {
		return arm.Reply{}, err
	}
	if spec, err = api.decide(c, old, exists, spec, false); err != nil {
		return arm.Reply{}, err
	}
	a, _, err := api.Apps.Put(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if errors.Is(err, problem.Exists) {
		return arm.Reply{}, taken(c.Scope.Name(), err)
	}
	if err != nil {
		return arm.Reply{}, err
	}
	return api.written(c, a)
}

// checkLocation refuses a new resource without a location, and moving one.
func checkLocation(had, said string, exists bool) error {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
	switch {
	case !exists && plain(said) == "":
		return arm.Faultf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	case exists && said != "" && plain(had) != plain(said):
		return arm.Faultf(http.StatusConflict, "InvalidResourceLocation",
			"The resource already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", had, said)
	}
	return nil
}

func taken(name string, err error) error {
	return arm.Faultf(http.StatusConflict, "Conflict", "Website with given name %s already exists. App names are unique in this installation: %s.",
		name, problem.NextOf(err))
}

func (api *API) patchSite(c *arm.Call, old app.App) (arm.Reply, error) {
	if err := c.Precondition(old.Resource.ETag(), true); err != nil {
		return arm.Reply{}, err
	}
	text, err := body(c)
	if err != nil {
		return arm.Reply{}, err
	}
	spec, err := app.ParseSite(text)
	if err != nil {
		return arm.Reply{}, err
	}
	return settled(c, func() (arm.Reply, error) { return api.patchOnce(c, spec) })
}

// patchOnce reads the app anew: much can happen to it while a body arrives.
func (api *API) patchOnce(c *arm.Call, spec app.Spec) (arm.Reply, error) {
	old, err := api.Apps.Get(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	if err := c.Precondition(old.Resource.ETag(), true); err != nil {
		return arm.Reply{}, err
	}
	if spec, err = api.decide(c, old, true, spec, true); err != nil {
		return arm.Reply{}, err
	}
	a, err := api.Apps.Patch(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if err != nil {
		return arm.Reply{}, err
	}
	return api.written(c, a)
}

// decide makes of what a client said what is stored, if the caller may have it so,
// and binds it to the app that this was decided about.
func (api *API) decide(c *arm.Call, old app.App, exists bool, spec app.Spec, patch bool) (app.Spec, error) {
	var err error
	if spec.Identity, err = api.nextIdentity(c, old.Resource.Identity, spec.Identity, patch); err != nil {
		return spec, err
	}
	if err := api.checkLinked(c, old, spec); err != nil {
		return spec, err
	}
	if spec.Identity != nil || spec.Properties["serverFarmId"] != nil {
		spec.Allow = unmoved(old, exists)
	}
	return spec, nil
}

// written answers with an app that was changed, after its identities are made.
// Their ids go to the app as it was when they were: it can have lost an identity
// since, or have made way for another app.
func (api *API) written(c *arm.Call, a app.App) (arm.Reply, error) {
	if api.Identities == nil || a.Resource.Identity == nil {
		return api.getSite(c, a)
	}
	life := a.UID
	return settled(c, func() (arm.Reply, error) {
		now, err := api.Apps.Get(c.Context(), a.ID)
		if err == nil && now.UID != life {
			err = problem.New(problem.NotFound, "the app was deleted")
		}
		if err != nil {
			return arm.Reply{}, missing(err, a.ID)
		}
		block, err := api.Identities.Ensure(c.Context(), a.ID, now.Resource.Identity)
		if err != nil {
			return arm.Reply{}, err
		}
		now, err = api.Apps.Patch(c.Context(), a.ID, c.Caller.ObjectID, app.Spec{Identity: block, Allow: func(had app.App, _ bool) error {
			if had.Resource.Revision != now.Resource.Revision {
				return errMoved
			}
			return nil
		}})
		if err != nil {
			return arm.Reply{}, err
		}
		return api.getSite(c, now)
	})
}

func (api *API) getSite(c *arm.Call, a app.App) (arm.Reply, error) {
	shown, err := api.show(c.Context(), a, &plansRead{})
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(shown).WithETag(a.Resource.ETag()), nil
}

// deleteSite answers 204 for an app that is not there, so that a client can ask
// again after an answer got lost.
func (api *API) deleteSite(c *arm.Call) (arm.Reply, error) {
	a, err := api.Apps.Get(c.Context(), c.Scope)
	if err == nil {
		err = c.Precondition(a.Resource.ETag(), true)
	} else if errors.Is(err, problem.NotFound) {
		err = nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	err = api.Apps.Delete(c.Context(), c.Scope, c.Caller.ObjectID)
	if errors.Is(err, problem.NotFound) && a.Name == "" {
		return arm.NoContent(), nil
	}
	if err != nil && !errors.Is(err, problem.NotFound) { // somebody else was faster
		return arm.Reply{}, err
	}
	if !strings.EqualFold(c.Query.Get("deleteemptyserverfarm"), "false") {
		err = api.deleteEmptyPlan(c, a.Plan)
	} else {
		err = nil
	}
	return arm.Status(http.StatusOK), err
}

// deleteEmptyPlan removes the plan of an app that is gone, unless it has others or
// the caller may not.
func (api *API) deleteEmptyPlan(c *arm.Call, plan string) error {
	id, err := resource.Parse(plan)
	if err != nil || plan == "" {
		return nil // an app without a plan
	}
	if allowed, err := api.allows(c, removePlan, id); err != nil || !allowed {
		return err // it is not the caller's to delete
	}
	err = api.Apps.DeletePlan(c.Context(), id)
	if errors.Is(err, problem.Conflict) || errors.Is(err, problem.NotFound) {
		return nil
	}
	return err
}

func (api *API) listSites(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	apps, next, err := api.Apps.List(c.Context(), c.Scope, after, limit)
	if err != nil {
		return arm.Reply{}, err
	}
	return api.listed(c, apps, string(next))
}

// shownTogether is how many apps of a page are put together at a time: each takes
// reads of the state, which may be far away.
const shownTogether = 8

func (api *API) listed(c *arm.Call, apps []app.App, next string) (arm.Reply, error) {
	shown := make([]siteBody, len(apps))
	group, ctx := errgroup.WithContext(c.Context())
	group.SetLimit(shownTogether)
	var plans plansRead
	for i, a := range apps {
		group.Go(func() (err error) {
			shown[i], err = api.show(ctx, a, &plans)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return arm.Reply{}, err
	}
	return arm.List(c, shown, next), nil
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

func (api *API) setState(s app.State) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		_, err := api.Apps.SetState(c.Context(), a.ID, c.Caller.ObjectID, s)
		return arm.Status(http.StatusOK), err
	}
}

func (api *API) restart(c *arm.Call, a app.App) (arm.Reply, error) {
	_, err := api.Apps.Restart(c.Context(), a.ID, c.Caller.ObjectID)
	return arm.Status(http.StatusOK), err
}

// availability is the answer to a name check. Its texts are never null: clients
// read them without looking.
type availability struct {
	NameAvailable bool   `json:"nameAvailable"`
	Reason        string `json:"reason"`
	Message       string `json:"message"`
}

func (api *API) checkName(c *arm.Call) (arm.Reply, error) {
	var asked struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := c.JSON(&asked); err != nil {
		return arm.Reply{}, err
	}
	if err := app.CheckName(asked.Name); err != nil {
		return arm.OK(availability{false, "Invalid", err.Error()}), nil
	}
	free, err := api.Apps.NameFree(c.Context(), asked.Name)
	if err != nil {
		return arm.Reply{}, err
	}
	if !free {
		return arm.OK(availability{false, "AlreadyExists", "Hostname '" + asked.Name + "' already exists. Please select a different name."}), nil
	}
	return arm.OK(availability{NameAvailable: true}), nil
}
