package functions

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
)

// envelope is a resource on the wire.
type envelope struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Location   string `json:"location,omitempty"`
	Properties any    `json:"properties"`
}

// functionJSON is what a function consists of, on the wire (arm §5.3).
type functionJSON struct {
	Name        string          `json:"name"`
	AppID       *string         `json:"function_app_id"`
	RootHref    string          `json:"script_root_path_href"`
	ScriptHref  *string         `json:"script_href"`
	ConfigHref  string          `json:"config_href"`
	TestHref    *string         `json:"test_data_href"`
	SecretsHref *string         `json:"secrets_file_href"`
	Href        string          `json:"href"`
	Config      json.RawMessage `json:"config"`
	Files       *struct{}       `json:"files"`
	TestData    string          `json:"test_data"`
	InvokeURL   *string         `json:"invoke_url_template"`
	Language    string          `json:"language"`
	Disabled    bool            `json:"isDisabled"`
}

// active gives the functions of the release that an app runs.
func (p *Provider) active(ctx context.Context, app App) ([]release.Function, error) {
	if app.Release == "" {
		return nil, nil
	}
	rel, err := p.cfg.Releases.Get(ctx, app.Name, app.Release)
	if err != nil || p.cfg.Found == nil {
		return rel.Functions, err
	}
	return p.cfg.Found(ctx, app, rel.Functions)
}

// function finds the function a call is about in the active release.
func (p *Provider) function(c *arm.Call) (App, release.Function, error) {
	app, err := p.app(c)
	if err != nil {
		return app, release.Function{}, err
	}
	list, err := p.active(c.Context(), app)
	if err != nil {
		return app, release.Function{}, err
	}
	for _, f := range list {
		if strings.EqualFold(f.Name, c.Params["function"]) {
			return app, f, nil
		}
	}
	return app, release.Function{}, notFound(app, c.Params["function"])
}

func notFound(app App, function string) error {
	why := "its active package has no function of that name"
	if app.Release == "" {
		why = "nothing was deployed to it yet"
	}
	return arm.Faultf(http.StatusNotFound, "NotFound", "Function '%.100s' was not found in app '%s': %s.", function, app.Name, why)
}

func describe(app App, f release.Function) envelope {
	files := app.URL + "/admin/vfs/site/wwwroot/" + url.PathEscape(f.Name) + "/"
	config := f.Config
	if len(config) == 0 {
		config = json.RawMessage(`{"bindings":[]}`)
	}
	return envelope{
		ID: app.ID.Child("", "functions", f.Name).String(), Name: app.Name + "/" + f.Name,
		Type: siteType + "/functions", Location: app.Location,
		Properties: functionJSON{
			Name: f.Name, RootHref: files, ConfigHref: files + "function.json",
			Href: app.URL + "/admin/functions/" + url.PathEscape(f.Name), Config: config,
			InvokeURL: invokeURL(app, f), Language: f.Language, Disabled: disabled(app, f),
		},
	}
}

// invokeURL gives the address of a function with an HTTP trigger.
func invokeURL(app App, f release.Function) *string {
	if !strings.EqualFold(f.Trigger, "httpTrigger") {
		return nil
	}
	u := app.URL + "/" + strings.TrimPrefix(f.Route, "/")
	return &u
}

func disabledSetting(f release.Function) string { return "AzureWebJobs." + f.Name + ".Disabled" }

// disabled says whether a function is switched off, by its file or by a setting in
// either of its spellings.
func disabled(app App, f release.Function) bool {
	for name, value := range app.Settings {
		if strings.EqualFold(name, disabledSetting(f)) || strings.EqualFold(name, "AzureWebJobs_"+f.Name+"_Disabled") {
			if value = strings.TrimSpace(value); value == "1" || strings.EqualFold(value, "true") {
				return true
			}
		}
	}
	return f.Disabled
}

func (p *Provider) list(c *arm.Call) (arm.Reply, error) {
	app, err := p.app(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, err := p.active(c.Context(), app)
	if err != nil {
		return arm.Reply{}, err
	}
	items := make([]envelope, len(list))
	for i, f := range list {
		items[i] = describe(app, f)
	}
	return arm.List(c, items, ""), nil
}

func (p *Provider) get(c *arm.Call) (arm.Reply, error) {
	app, f, err := p.function(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(describe(app, f)), nil
}

const fixedNext = "deploy a package that has what the app is to have"

func (p *Provider) put(c *arm.Call) (arm.Reply, error) {
	if _, err := p.app(c); err != nil {
		return arm.Reply{}, err
	}
	return arm.Reply{}, problem.New(problem.Unsupported, "functions cannot be created one by one: an app runs from a package, which does not change").WithNext(fixedNext)
}

func (p *Provider) remove(c *arm.Call) (arm.Reply, error) {
	if _, _, err := p.function(c); err != nil {
		return arm.Reply{}, err
	}
	return arm.Reply{}, problem.New(problem.Unsupported, "functions cannot be deleted one by one: an app runs from a package, which does not change").
		WithNext(fixedNext + ", or switch the function off by properties/state")
}

func stateOf(app App, f release.Function, off bool) envelope {
	text := "enabled"
	if off {
		text = "disabled"
	}
	return envelope{
		ID: app.ID.Child("", "functions", f.Name).Child("", "properties", "state").String(), Name: "state",
		Type: siteType + "/functions/properties", Location: app.Location, Properties: text,
	}
}

func (p *Provider) state(c *arm.Call) (arm.Reply, error) {
	app, f, err := p.function(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(stateOf(app, f, disabled(app, f))), nil
}

// setState switches a function on or off by an app setting. What its own file says
// is not changed by switching it on.
func (p *Provider) setState(c *arm.Call) (arm.Reply, error) {
	app, f, err := p.function(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var body struct{ Properties string }
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	off := strings.EqualFold(body.Properties, "disabled")
	if !off && !strings.EqualFold(body.Properties, "enabled") {
		return arm.Reply{}, problem.New(problem.Invalid, `properties must be "enabled" or "disabled"`)
	}
	if !off && f.Disabled {
		return arm.Reply{}, problem.New(problem.Conflict, "the function is switched off by its function.json").WithNext("remove \"disabled\" there and deploy again")
	}
	value := "false"
	if off {
		value = "true"
	}
	if err := p.cfg.Apps.SetSetting(c.Context(), app.ID, c.Caller.ObjectID, disabledSetting(f), &value); err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(stateOf(app, f, off)), nil
}

func (p *Provider) token(c *arm.Call) (arm.Reply, error) {
	app, err := p.app(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if p.cfg.AdminToken == nil {
		return arm.Reply{}, problem.New(problem.Unsupported, "this installation makes no admin tokens").WithNext("use the master key")
	}
	text, err := p.cfg.AdminToken(c.Context(), app)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(text), nil
}

func (p *Provider) hostStatus(c *arm.Call) (arm.Reply, error) {
	app, err := p.app(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var status any = map[string]any{"state": "Unknown"}
	if p.cfg.HostStatus != nil {
		if status, err = p.cfg.HostStatus(c.Context(), app); err != nil {
			return arm.Reply{}, err
		}
	}
	return arm.OK(envelope{
		ID: app.ID.Child("", "host", "default").Child("", "properties", "status").String(), Name: "status",
		Type: siteType + "/host/properties", Location: app.Location, Properties: status,
	}), nil
}
