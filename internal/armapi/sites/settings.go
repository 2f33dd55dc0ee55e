package sites

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

func (api *API) settingsOperations() []arm.Operation {
	return []arm.Operation{
		secret(api.at("POST", "/config/appsettings/list", api.listSettings)),
		action("sites/config/list/action", api.at("GET", "/config/appsettings/names", api.listNames)),
		secret(api.at("PUT", "/config/appsettings", api.putSettings)),
		secret(api.at("POST", "/config/connectionstrings/list", api.listConnections)),
		secret(api.at("PUT", "/config/connectionstrings", api.putConnections)),
	}
}

func (api *API) listSettings(c *arm.Call, a app.App) (arm.Reply, error) {
	settings, revision, err := api.Apps.Settings(c.Context(), a.ID)
	return tagged(childOf(a, "config", "appsettings", settings), app.Value{Revision: revision}), missing(err, a.ID)
}

// settingName is a setting without its value.
type settingName struct {
	Name      string `json:"name"`
	Reference bool   `json:"reference"` // the value comes from a vault
}

// listNames gives the names of settings and the entity tag of all of them, for those
// who may read values and do not want to: that would be recorded.
func (api *API) listNames(c *arm.Call, a app.App) (arm.Reply, error) {
	settings, revision, err := api.Apps.Settings(c.Context(), a.ID)
	names := []settingName{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		_, is, _ := keyref.Parse(settings[name])
		names = append(names, settingName{name, is})
	}
	v := app.Value{Revision: revision}
	return tagged(map[string]any{"value": names, "etag": v.ETag()}, v), missing(err, a.ID)
}

func (api *API) putSettings(c *arm.Call, a app.App) (arm.Reply, error) {
	properties, err := propertiesOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	settings, err := app.ParseTexts(properties)
	if err != nil {
		return arm.Reply{}, err
	}
	cond, err := api.condition(c, a, app.AppSettings)
	if err != nil {
		return arm.Reply{}, err
	}
	v, err := api.Apps.SetSettings(c.Context(), a.ID, c.Caller.ObjectID, settings, cond)
	return tagged(childOf(a, "config", "appsettings", settings), v), lost(err, cond)
}

func (api *API) listConnections(c *arm.Call, a app.App) (arm.Reply, error) {
	connections, revision, err := api.Apps.Connections(c.Context(), a.ID)
	return tagged(childOf(a, "config", "connectionstrings", connections), app.Value{Revision: revision}), missing(err, a.ID)
}

func (api *API) putConnections(c *arm.Call, a app.App) (arm.Reply, error) {
	properties, err := propertiesOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	connections, err := app.ParseConnections(properties)
	if err != nil {
		return arm.Reply{}, err
	}
	cond, err := api.condition(c, a, app.ConnectionStrings)
	if err != nil {
		return arm.Reply{}, err
	}
	if _, err := api.Apps.SetConnections(c.Context(), a.ID, c.Caller.ObjectID, connections, cond); err != nil {
		return arm.Reply{}, lost(err, cond)
	}
	return api.listConnections(c, a)
}

func tagged(body any, v app.Value) arm.Reply { return arm.OK(body).WithETag(v.ETag()) }

// propertiesOf gives the member "properties" of the body. A body without it would
// empty what it replaces, which nobody means.
func propertiesOf(c *arm.Call) (json.RawMessage, error) {
	var said struct {
		Properties *map[string]json.RawMessage `json:"properties"`
	}
	if err := c.JSON(&said); err != nil {
		return nil, err
	}
	if said.Properties == nil {
		return nil, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: "properties",
			Message: "The request content is invalid: member 'properties' is missing. To remove everything send an empty object."}
	}
	return json.Marshal(said.Properties)
}

// condition gives the revision a section must have for the call to change it.
func (api *API) condition(c *arm.Call, a app.App, s app.Section) (state.Revision, error) {
	if len(c.HTTP.Header.Values("If-Match"))+len(c.HTTP.Header.Values("If-None-Match")) == 0 {
		return state.Any, nil
	}
	v, err := api.Apps.Section(c.Context(), a.ID, s)
	if err != nil {
		return 0, missing(err, a.ID)
	}
	// A section is there as soon as its site is, if only with what it has by default.
	return v.Revision, c.Precondition(v.ETag(), true)
}

// lost tells a condition that was lost to somebody faster from other conflicts.
func lost(err error, cond state.Revision) error {
	if cond != state.Any && errors.Is(err, problem.Conflict) {
		return arm.Faultf(http.StatusPreconditionFailed, "PreconditionFailed", "The resource was changed by somebody else meanwhile.")
	}
	return err
}
