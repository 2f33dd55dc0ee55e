package functions

import (
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
)

func (p *Provider) deploymentOperations() []arm.Operation {
	ops := []arm.Operation{
		{Method: "GET", Pattern: sitePath + "/deployments", Handler: p.deployments},
		{Method: "GET", Pattern: sitePath + "/deployments/{id}", Handler: p.deployment},
		{Method: "GET", Pattern: sitePath + "/deploymentStatus", Handler: p.deploymentStatuses},
		{Method: "GET", Pattern: sitePath + "/deploymentStatus/{id}", Handler: p.deploymentStatus},
		{Method: "GET", Pattern: sitePath + "/releases", Handler: p.releases},
		{Method: "GET", Pattern: sitePath + "/releases/{id}", Handler: p.release},
		{Method: "POST", Pattern: sitePath + "/releases/{id}/activate", Handler: p.activate},
	}
	for _, way := range []string{"onedeploy", "zipdeploy", "MSDeploy"} {
		ops = append(ops, arm.Operation{Method: "PUT", Pattern: sitePath + "/extensions/" + way, Action: siteType + "/extensions/write", Handler: p.deploy(way)})
	}
	return ops
}

// history gives an app's releases, newest first, and the one being deployed now,
// which is read first: see [release.Release.Phase].
func (p *Provider) history(c *arm.Call) (app App, list []release.Release, busy string, err error) {
	if app, err = p.app(c); err != nil {
		return app, nil, "", err
	}
	if busy, err = p.cfg.Releases.Deploying(c.Context(), app.Name); err != nil {
		return app, nil, "", err
	}
	list, err = p.cfg.Releases.List(c.Context(), app.Name)
	return app, list, busy, err
}

// one finds the release in the path; "latest" is the newest.
func (p *Provider) one(c *arm.Call) (App, release.Release, string, error) {
	app, list, busy, err := p.history(c)
	if err != nil {
		return app, release.Release{}, "", err
	}
	for i, r := range list {
		if strings.EqualFold(r.ID, c.Params["id"]) || i == 0 && strings.EqualFold(c.Params["id"], "latest") {
			return app, r, busy, nil
		}
	}
	return app, release.Release{}, "", arm.Faultf(http.StatusNotFound, "NotFound", "App '%s' has no deployment '%.60s'.", app.Name, c.Params["id"])
}

// listOf makes a handler of all releases from one that describes one.
func (p *Provider) listOf(c *arm.Call, describe func(App, release.Release, string) envelope) (arm.Reply, error) {
	app, list, busy, err := p.history(c)
	if err != nil {
		return arm.Reply{}, err
	}
	items := make([]envelope, len(list))
	for i, r := range list {
		items[i] = describe(app, r, busy)
	}
	return arm.List(c, items, ""), nil
}

func (p *Provider) oneOf(c *arm.Call, describe func(App, release.Release, string) envelope) (arm.Reply, error) {
	app, r, busy, err := p.one(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(describe(app, r, busy)), nil
}

func (p *Provider) deployments(c *arm.Call) (arm.Reply, error) {
	return p.listOf(c, describeDeployment)
}
func (p *Provider) deployment(c *arm.Call) (arm.Reply, error) { return p.oneOf(c, describeDeployment) }
func (p *Provider) deploymentStatuses(c *arm.Call) (arm.Reply, error) {
	return p.listOf(c, describeStatus)
}
func (p *Provider) deploymentStatus(c *arm.Call) (arm.Reply, error) {
	return p.oneOf(c, describeStatus)
}
func (p *Provider) releases(c *arm.Call) (arm.Reply, error) { return p.listOf(c, describeRelease) }
func (p *Provider) release(c *arm.Call) (arm.Reply, error)  { return p.oneOf(c, describeRelease) }

func child(app App, typ, name string, properties any) envelope {
	return envelope{
		ID: app.ID.Child("", typ, name).String(), Name: name, Type: siteType + "/" + typ,
		Location: app.Location, Properties: properties,
	}
}

// deploymentJSON is a deployment as the management API describes it.
type deploymentJSON struct {
	ID       string     `json:"id"`
	Status   int        `json:"status"`
	Text     string     `json:"status_text"`
	Message  string     `json:"message"`
	Author   string     `json:"author"`
	Deployer string     `json:"deployer"`
	Start    time.Time  `json:"start_time"`
	Received time.Time  `json:"received_time"`
	End      *time.Time `json:"end_time"`
	Active   bool       `json:"active"`
	Complete bool       `json:"complete"`
	State    string     `json:"provisioningState"`
}

func describeDeployment(app App, r release.Release, busy string) envelope {
	phase, text := r.Phase(busy)
	d := deploymentJSON{
		ID: r.ID, Status: int(phase), Text: text, Message: r.Message, Author: r.Author, Deployer: r.Deployer,
		Start: r.Created, Received: r.Created, Active: r.ID == app.Release, Complete: phase.Over(), State: provisioning(phase),
	}
	if d.Complete && !r.Finished.IsZero() {
		d.End = &r.Finished
	}
	e := child(app, "deployments", r.ID, d)
	e.Name = app.Name + "/" + r.ID
	return e
}

func provisioning(phase release.Phase) string {
	switch phase {
	case release.Succeeded:
		return "Succeeded"
	case release.Unfit:
		return "Failed"
	}
	return "InProgress"
}

// statusJSON is what clients that track a deployment poll.
type statusJSON struct {
	ID         string  `json:"deploymentId"`
	Status     string  `json:"status"`
	InProgress int     `json:"numberOfInstancesInProgress"`
	Successful int     `json:"numberOfInstancesSuccessful"`
	Failed     int     `json:"numberOfInstancesFailed"`
	LogURL     *string `json:"failedInstancesLogs"`
	Errors     []any   `json:"errors"`
}

func describeStatus(app App, r release.Release, busy string) envelope {
	phase, text := r.Phase(busy)
	s := statusJSON{ID: r.ID}
	switch phase {
	case release.Waiting:
		s.Status = "BuildRequestReceived"
	case release.Storing:
		s.Status = "BuildInProgress"
	case release.Activating:
		s.Status, s.InProgress = "RuntimeStarting", 1
	case release.Unfit:
		s.Status, s.Failed = "BuildFailed", 1
		s.Errors = []any{map[string]string{"code": "DeploymentFailed", "message": text}}
	default:
		s.Status, s.Successful = "RuntimeSuccessful", 1
	}
	return child(app, "deploymentStatus", r.ID, s)
}

// releaseJSON is our own description of a release.
type releaseJSON struct {
	Status     string          `json:"status"`
	Active     bool            `json:"active"`
	SHA256     string          `json:"sha256,omitempty"`
	Size       int64           `json:"size"`
	Unpacked   int64           `json:"unpackedSize"`
	Files      int             `json:"files"`
	Created    time.Time       `json:"createdTime"`
	Finished   *time.Time      `json:"finishedTime,omitempty"`
	By         string          `json:"createdBy,omitempty"`
	Message    string          `json:"message,omitempty"`
	Deployer   string          `json:"deployer,omitempty"`
	Activation string          `json:"activationError,omitempty"`
	Functions  []string        `json:"functions"`
	Faults     []string        `json:"faults"`
	Log        []release.Entry `json:"log"`
}

func describeRelease(app App, r release.Release, _ string) envelope {
	j := releaseJSON{
		Status: string(r.Status), Active: r.ID == app.Release, SHA256: r.SHA256, Size: r.Size, Unpacked: r.Unpacked, Files: r.Files,
		Created: r.Created, By: r.By, Message: r.Message, Deployer: r.Deployer, Activation: r.Activation,
		Functions: []string{}, Faults: append([]string{}, r.Faults...), Log: append([]release.Entry{}, r.Log...),
	}
	if !r.Finished.IsZero() {
		j.Finished = &r.Finished
	}
	for _, f := range r.Functions {
		j.Functions = append(j.Functions, f.Name)
	}
	return child(app, "releases", r.ID, j)
}

// activate goes back, or forth, to another release.
func (p *Provider) activate(c *arm.Call) (arm.Reply, error) {
	app, r, _, err := p.one(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if r, err = p.cfg.Deployer.Activate(c.Context(), app.Name, r.ID, c.Caller.ObjectID); err != nil {
		return arm.Reply{}, err
	}
	app.Release = r.ID
	return arm.OK(describeRelease(app, r, "")), nil
}

// packageTime is how long a package may take to arrive: a sender who never ends
// must not keep others from deploying.
const packageTime = 15 * time.Minute

// deploy takes a zip as the body. It is not read as other bodies are, which are
// short.
func (p *Provider) deploy(way string) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		app, err := p.app(c)
		if err != nil {
			return arm.Reply{}, err
		}
		kind, _, _ := strings.Cut(c.HTTP.Header.Get("Content-Type"), ";")
		if strings.EqualFold(strings.TrimSpace(kind), "application/json") {
			return arm.Reply{}, refusePackageURI(c)
		}
		meta := release.Meta{By: c.Caller.ObjectID, Message: c.Query.Get("message"), Author: c.Query.Get("author"), Deployer: way}
		take := p.cfg.Deployer.Deploy
		if strings.EqualFold(c.Query.Get("isasync"), "true") {
			take = p.cfg.Deployer.DeployLater
		}
		r, err := take(c.Context(), app.Name, c.Arriving(packageTime), meta)
		if err != nil {
			return arm.Reply{}, err
		}
		busy := ""
		if !r.Finished.IsZero() {
			app.Release = r.ID
		}
		return arm.OK(describeDeployment(app, r, busy)), nil
	}
}

// refusePackageURI answers requests that name a package instead of sending it.
func refusePackageURI(c *arm.Call) error {
	var body struct {
		PackageURI string `json:"packageUri"`
		Properties struct {
			PackageURI string `json:"packageUri"`
		} `json:"properties"`
	}
	if err := c.JSON(&body); err != nil {
		return err
	}
	uri := body.Properties.PackageURI
	if uri == "" {
		uri = body.PackageURI
	}
	switch {
	case uri == "":
		return arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: "properties.packageUri",
			Message: "The body has no packageUri; send the zip itself as the body, with Content-Type application/zip."}
	case !strings.HasPrefix(strings.ToLower(uri), "https://"):
		return arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: "properties.packageUri",
			Message: "The packageUri must begin with https://. Besides, packages are not fetched from elsewhere: send the zip itself as the body."}
	}
	return problem.New(problem.Unsupported, "packages are not fetched from elsewhere").
		WithNext("send the zip itself as the body, with Content-Type application/zip")
}
