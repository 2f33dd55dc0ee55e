package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Release is a package given to an app. Its JSON form is what commands print, a
// contract.
type Release struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"` // Pending, Building, Failed or Ready
	Active    bool      `json:"active"`
	Created   time.Time `json:"created"`
	By        string    `json:"by,omitempty"` // object id of who deployed
	Message   string    `json:"message,omitempty"`
	Size      int64     `json:"size"` // bytes of the zip
	SHA256    string    `json:"sha256,omitempty"`
	Functions []string  `json:"functions"`
	Faults    []string  `json:"faults,omitempty"` // what is wrong with functions, which are left out
	Errors    []string  `json:"errors,omitempty"` // why it failed
}

// release is a release on the wire.
type release struct {
	Name       string `json:"name"`
	Properties struct {
		Release
		Created    time.Time `json:"createdTime"`
		By         string    `json:"createdBy"`
		Activation string    `json:"activationError"`
		Log        []struct {
			Text  string
			Error bool
		} `json:"log"`
	} `json:"properties"`
}

func (r release) release() Release {
	out := r.Properties.Release
	out.ID, out.Created, out.By = r.Name, r.Properties.Created, r.Properties.By
	if out.Functions == nil {
		out.Functions = []string{}
	}
	for _, line := range r.Properties.Log {
		if line.Error {
			out.Errors = append(out.Errors, line.Text)
		}
	}
	if r.Properties.Activation != "" {
		out.Errors = append(out.Errors, r.Properties.Activation)
	}
	return out
}

// Releases lists the releases of an app, newest first.
func (i *Installation) Releases(ctx context.Context, a App) ([]Release, error) {
	items, err := armclient.List[release](ctx, i.client, idPath(a.ID)+"/releases")
	if err != nil {
		return nil, err
	}
	list := make([]Release, len(items))
	for n, item := range items {
		list[n] = item.release()
	}
	sort.SliceStable(list, func(x, y int) bool { return list[x].ID > list[y].ID })
	return list, nil
}

// Release gives one release.
func (i *Installation) Release(ctx context.Context, a App, id string) (Release, error) {
	var r release
	err := i.get(ctx, idPath(a.ID)+"/releases/"+url.PathEscape(id), &r)
	return r.release(), err
}

// Rollback makes an earlier release the active one: that of the id, or for "" the
// newest one that can run and is older than the active one.
func (i *Installation) Rollback(ctx context.Context, a App, id string) (Release, error) {
	if id == "" {
		var err error
		if id, err = i.before(ctx, a); err != nil {
			return Release{}, err
		}
	}
	var r release
	err := i.post(ctx, idPath(a.ID)+"/releases/"+url.PathEscape(id)+"/activate", nil, &r)
	if errors.Is(err, problem.NotFound) {
		err = problem.New(problem.NotFound, fmt.Sprintf("app %s has no release %.60q", a.Name, id)).WithNext("latchkey app releases " + a.Name + " lists those it has")
	}
	return r.release(), err
}

func (i *Installation) before(ctx context.Context, a App) (string, error) {
	list, err := i.Releases(ctx, a)
	if err != nil {
		return "", err
	}
	for _, r := range list {
		if r.Status == "Ready" && a.Release != "" && r.ID < a.Release {
			return r.ID, nil
		}
	}
	return "", problem.New(problem.NotFound, "app "+a.Name+" has no release before the active one").
		WithNext("latchkey app releases " + a.Name + " lists those it has; name one to go forward again")
}

// Upload sends a zip of size bytes and gives the id of the release it becomes,
// as soon as all of it has arrived.
func (i *Installation) Upload(ctx context.Context, a App, zip io.Reader, size int64, message string) (string, error) {
	var body bytes.Buffer
	path := query(idPath(a.ID)+"/extensions/onedeploy", "isasync", "true", "message", message)
	_, err := i.client.Send(ctx, armclient.Request{
		Method: http.MethodPut, Path: path, ContentType: "application/zip", Body: zip, Size: size, Out: &body,
	})
	if err != nil {
		return "", err
	}
	var out struct {
		Properties struct {
			ID string `json:"id"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body.Bytes(), &out); err != nil || out.Properties.ID == "" {
		return "", problem.New(problem.Unavailable, "the management API's answer names no deployment")
	}
	return out.Properties.ID, nil
}

// Stage is how far a deployment has come.
type Stage string

// Stages of a deployment.
const (
	Checking   Stage = "checking"
	Activating Stage = "activating"
	Starting   Stage = "starting"
	Active     Stage = "active"
)

// Waiting for a deployment.
const (
	pollEvery    = 200 * time.Millisecond
	startingMost = 60 * time.Second // an app that takes longer to start is left to it
	takingOver   = 10 * time.Second // for the place of a release before that does not run
)

// Await waits until a release is the one that runs, and tells of every stage once.
// A release that failed is an error with the reasons. An app that does not come to
// run with it within a minute is not: the app that is given has its errors.
func (i *Installation) Await(ctx context.Context, c clock.Clock, a App, id string, tell func(Stage)) (App, error) {
	if err := i.awaitRelease(ctx, c, a, id, tell); err != nil {
		return a, err
	}
	for since, told := c.Now(), false; ; {
		now, err := i.appByID(ctx, a.ID)
		if err != nil {
			return a, err
		}
		if now.settled(id, c.Now().Sub(since)) || c.Now().Sub(since) > startingMost {
			tell(Active)
			return now, nil
		}
		if !told {
			tell(Starting)
			told = true
		}
		if err := clock.Sleep(ctx, c, pollEvery); err != nil {
			return a, err
		}
	}
}

// settled reports whether nothing more happens by itself to a release that was deployed
// so long ago. That the one before does not run says nothing of it yet.
func (a App) settled(id string, ago time.Duration) bool {
	if a.Release != id {
		return true // somebody else deployed after that
	}
	for _, in := range a.Instances {
		switch {
		case in.State == "Running" && (in.Release == "" || in.Release == id):
		case in.State == "Error" && in.Release != "" && in.Release != id && ago < takingOver:
			return false
		case in.State == "Idle" || in.State == "Stopped" || in.State == "Error" || in.State == "Offline":
		default:
			return false
		}
	}
	return true
}

// awaitRelease waits until a release is active or failed.
func (i *Installation) awaitRelease(ctx context.Context, c clock.Clock, a App, id string, tell func(Stage)) error {
	var last Stage
	for {
		stage, err := i.stage(ctx, a, id)
		if err != nil {
			return err
		}
		if stage == Active {
			return nil
		}
		if stage != last {
			tell(stage)
			last = stage
		}
		if err := clock.Sleep(ctx, c, pollEvery); err != nil {
			return err
		}
	}
}

func (i *Installation) stage(ctx context.Context, a App, id string) (Stage, error) {
	var out struct {
		Properties struct {
			Status string `json:"status"`
			Errors []struct {
				Message string `json:"message"`
			} `json:"errors"`
		} `json:"properties"`
	}
	if err := i.get(ctx, idPath(a.ID)+"/deploymentStatus/"+url.PathEscape(id), &out); err != nil {
		return "", err
	}
	switch out.Properties.Status {
	case "RuntimeSuccessful":
		return Active, nil
	case "RuntimeStarting":
		return Activating, nil
	case "BuildFailed", "RuntimeFailed":
		var why []string
		for _, e := range out.Properties.Errors {
			why = append(why, strings.TrimSuffix(e.Message, "."))
		}
		return "", problem.New(problem.Invalid, "the package was refused: "+strings.Join(why, "; ")).
			WithNext("the release before it still runs; correct the package and deploy again")
	}
	return Checking, nil
}
