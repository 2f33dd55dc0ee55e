package sites

import (
	"encoding/json"
	"maps"
	"net/http"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
)

func (api *API) sectionOperations() []arm.Operation {
	ops := []arm.Operation{
		api.at("GET", "/config", api.listConfig),
		api.at("POST", "/config/backup/list", api.listBackup),
		api.at("DELETE", "/config/backup", api.deleteBackup),
	}
	for _, path := range []string{"/config/web"} {
		ops = append(ops, api.at("GET", path, api.getWeb), api.at("PUT", path, api.putWeb(false)), api.at("PATCH", path, api.putWeb(true)))
	}
	for _, s := range []struct {
		section app.Section
		method  string
		below   string
		secret  bool
	}{
		{app.SlotConfigNames, "GET", "", false}, {app.Logs, "GET", "", true},
		{app.Auth, "POST", "/list", true}, {app.AuthV2, "GET", "/list", true},
		{app.StorageAccounts, "POST", "/list", true}, {app.Metadata, "POST", "/list", true}, {app.PushSettings, "POST", "/list", false},
	} {
		path := "/config/" + string(s.section)
		get := api.getSection(s.section)
		if s.section == app.Logs {
			get = api.unlessStopped(get)
		}
		read := api.at(s.method, path+s.below, get)
		read.Secret = s.secret
		if s.method == "GET" && s.below != "" { // not with the right to read alone
			read.Action = "Microsoft.Web/sites/config/list/action"
		}
		ops = append(ops, read, secret(api.at("PUT", path, api.putSection(s.section))))
	}
	return append(ops, api.at("PUT", "/config/backup", api.putSection(app.Backup)))
}

// sectionDefaults are what sections have that were never set.
func sectionDefaults(s app.Section) map[string]any {
	off := map[string]any{"enabled": false}
	switch s {
	case app.SlotConfigNames: // all of them or none: clients read one when another is there
		return map[string]any{"appSettingNames": nil, "connectionStringNames": nil, "azureStorageConfigNames": nil}
	case app.Logs:
		return map[string]any{
			"applicationLogs": map[string]any{"fileSystem": map[string]any{"level": "Off"}},
			"httpLogs":        map[string]any{"fileSystem": map[string]any{"enabled": false, "retentionInMb": 35, "retentionInDays": nil}},

			"failedRequestsTracing": off, "detailedErrorMessages": off,
		}
	case app.Auth:
		return map[string]any{"enabled": false, "configVersion": nil}
	case app.AuthV2:
		return map[string]any{"platform": off}
	case app.PushSettings:
		return map[string]any{"isPushEnabled": false}
	}
	return map[string]any{}
}

// shownSection gives what clients see of a section.
func shownSection(s app.Section, stored json.RawMessage) (map[string]any, error) {
	properties := sectionDefaults(s)
	if err := overlay(properties, stored); err != nil {
		return nil, err
	}
	if s == app.SlotConfigNames && len(stored) > 0 {
		for name, value := range properties {
			if raw, is := value.(json.RawMessage); value == nil || is && string(raw) == "null" {
				properties[name] = []string{}
			}
		}
	}
	return properties, nil
}

func (api *API) getSection(s app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		v, err := api.Apps.Section(c.Context(), a.ID, s)
		if err != nil {
			return arm.Reply{}, missing(err, a.ID)
		}
		properties, err := shownSection(s, v.JSON)
		if err == nil && s == app.Logs { // what may be read with the right to read alone
			properties, err = api.readableLogs(c, a, properties)
		}
		return tagged(childOf(a, "config", string(s), properties), v), err
	}
}

// readableLogs gives what the caller may see of where an app's logs go.
func (api *API) readableLogs(c *arm.Call, a app.App, properties map[string]any) (map[string]any, error) {
	if full, err := api.allows(c, listConfigs, a.ID); err != nil || full {
		return properties, err
	}
	return withoutSignatures(properties)
}

func (api *API) putSection(s app.Section) siteHandler {
	read := api.getSection(s)
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		properties, err := propertiesOf(c)
		if err != nil {
			return arm.Reply{}, err
		}
		if err := checkSection(s, properties); err != nil {
			return arm.Reply{}, err
		}
		cond, err := api.condition(c, a, s)
		if err != nil {
			return arm.Reply{}, err
		}
		if _, err := api.Apps.SetSection(c.Context(), a.ID, c.Caller.ObjectID, s, properties, cond); err != nil {
			return arm.Reply{}, lost(err, cond)
		}
		return read(c, a)
	}
}

// checkSection decodes the members that others rely on.
func checkSection(s app.Section, properties json.RawMessage) error {
	switch s {
	case app.SlotConfigNames:
		var names struct {
			Settings    []string `json:"appSettingNames"`
			Connections []string `json:"connectionStringNames"`
			Storage     []string `json:"azureStorageConfigNames"`
		}
		return arm.Decode(properties, &names)
	case app.Metadata:
		_, err := app.ParseTexts(properties)
		return err
	case app.StorageAccounts:
		var mounts map[string]map[string]json.RawMessage
		return arm.Decode(properties, &mounts)
	}
	return nil
}

// listBackup answers 404 until a backup is configured, as clients expect.
func (api *API) listBackup(c *arm.Call, a app.App) (arm.Reply, error) {
	v, err := api.Apps.Section(c.Context(), a.ID, app.Backup)
	if err != nil {
		return arm.Reply{}, missing(err, a.ID)
	}
	if v.JSON == nil || string(v.JSON) == "{}" {
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "NotFound", "Cannot find backup configuration for site %s.", a.Name)
	}
	return tagged(childOf(a, "config", "backup", v.JSON), v), nil
}

func (api *API) deleteBackup(c *arm.Call, a app.App) (arm.Reply, error) {
	_, err := api.Apps.UpdateSection(c.Context(), a.ID, c.Caller.ObjectID, app.Backup, -1, func(old json.RawMessage) (json.RawMessage, error) {
		if old == nil {
			return nil, nil
		}
		return json.RawMessage("{}"), nil
	})
	return arm.Status(http.StatusOK), err
}

func (api *API) listConfig(c *arm.Call, a app.App) (arm.Reply, error) {
	web, err := api.web(c.Context(), a)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.List(c, []child{childOf(a, "config", "web", web)}, ""), nil
}

func (api *API) getWeb(c *arm.Call, a app.App) (arm.Reply, error) {
	web, err := api.web(c.Context(), a)
	return arm.OK(childOf(a, "config", "web", web)).WithETag(a.Resource.ETag()), err
}

// putWeb merges for PUT as well as for PATCH; only a patch removes what is null.
func (api *API) putWeb(patch bool) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		if err := c.Precondition(a.Resource.ETag(), true); err != nil {
			return arm.Reply{}, err
		}
		properties, err := propertiesOf(c)
		if err != nil {
			return arm.Reply{}, err
		}
		spec, err := app.ParseWeb(properties)
		if err != nil {
			return arm.Reply{}, err
		}
		if !patch {
			maps.DeleteFunc(spec.Members, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
		}
		if a, err = api.Apps.UpdateWeb(c.Context(), a.ID, c.Caller.ObjectID, spec); err != nil {
			return arm.Reply{}, err
		}
		return api.getWeb(c, a)
	}
}
