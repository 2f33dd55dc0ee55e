package containerapps

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// operation is a change whose outcome clients ask for. Its name says all of it, so
// that nothing is kept: whoever asks must be allowed to read the app.
type operation struct {
	ID       string    `json:"i"`
	UID      string    `json:"u,omitempty"` // of the app; "" for an environment
	Revision string    `json:"r,omitempty"` // that must come to be ready; "" for none
	Started  time.Time `json:"t"`
}

func (o operation) name() string {
	text, _ := json.Marshal(o) // it is text and a time
	return base64.RawURLEncoding.EncodeToString(text)
}

// address gives where clients ask about an operation.
func (o operation) address(c *arm.Call, of, location string) string {
	id, _ := resource.Parse(o.ID)
	place := strings.ToLower(strings.ReplaceAll(location, " ", ""))
	return c.BaseURL + "/subscriptions/" + id.Subscription() + "/providers/Microsoft.App/locations/" + place + "/" + of + "/" + o.name() +
		"?api-version=" + c.APIVersion + "&azureAsyncOperation=true"
}

// pause is after how many seconds clients are to ask again.
const pause = "1"

// headers are those by which clients follow a change.
func (o operation) headers(c *arm.Call, location string, patched bool) http.Header {
	h := http.Header{"Azure-Asyncoperation": {o.address(c, "containerappOperationStatuses", location)}, "Retry-After": {pause}}
	if o.UID == "" { // it is done already
		h["Retry-After"] = []string{"0"}
	}
	if patched {
		h["Location"] = []string{o.address(c, "containerappOperationResults", location)}
	}
	return h
}

// changed answers a change of an app. Clients that made one or whose change made a
// revision are told where to ask how it goes on.
func (api *API) changed(c *arm.Call, a containerapp.App, created, patched bool) (arm.Reply, error) {
	latest, err := api.latest(c.Context(), a)
	if err != nil {
		return arm.Reply{}, err
	}
	shown, err := api.show(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	reply := arm.OK(shown).WithETag(a.Resource.ETag())
	state := api.provisioningState(a, latest)
	going := state == "InProgress"
	o := operation{a.ID.String(), a.UID, a.Latest, a.Resource.Changed.UTC()}
	switch {
	case created:
		reply.Status = http.StatusCreated
	case going && patched:
		reply.Status = http.StatusAccepted
	case state == "Failed":
		// The change itself is done. Clients would take what failed before for its
		// outcome if the first answer said so.
		o.Revision = ""
		shown.Properties["provisioningState"] = "InProgress"
	case !going:
		return reply, nil
	}
	reply.Header = o.headers(c, a.Resource.Location, reply.Status == http.StatusAccepted)
	return reply, nil
}

// statusShown is how an operation goes.
type statusShown struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Status string      `json:"status"`
	Start  string      `json:"startTime"`
	Error  *arm.Detail `json:"error,omitempty"`
}

func (api *API) status(c *arm.Call) (arm.Reply, error) {
	o, err := api.asked(c)
	if err != nil {
		return arm.Reply{}, err
	}
	shown := statusShown{ID: c.HTTP.URL.Path, Name: o.name(), Status: "Succeeded", Start: o.Started.Format(time.RFC3339Nano)}
	if o.UID == "" {
		return arm.OK(shown), nil
	}
	_, state, wrong, err := api.outcome(c, o)
	shown.Status, shown.Error = state, wrong
	reply := arm.OK(shown)
	if state == "InProgress" {
		reply.Header = http.Header{"Retry-After": {pause}}
	}
	return reply, err
}

// result answers 202 while a change goes on, then with the app.
func (api *API) result(c *arm.Call) (arm.Reply, error) {
	o, err := api.asked(c)
	if err != nil || o.UID == "" {
		return arm.NoContent(), err
	}
	a, state, wrong, err := api.outcome(c, o)
	switch {
	case err != nil:
		return arm.Reply{}, err
	case wrong != nil:
		return arm.Reply{}, arm.Fault{Status: http.StatusConflict, Code: wrong.Code, Message: wrong.Message}
	case state == "InProgress":
		return arm.Reply{Status: http.StatusAccepted, Header: http.Header{"Location": {o.address(c, "containerappOperationResults", a.Resource.Location)}, "Retry-After": {pause}}}, nil
	}
	return api.getApp(c, a)
}

var errNoOperation = arm.Faultf(http.StatusNotFound, "OperationNotFound", "There is no such operation.")

// asked reads the operation that a call is about, if the caller may know of it.
func (api *API) asked(c *arm.Call) (o operation, err error) {
	text, err := base64.RawURLEncoding.DecodeString(c.Params["operation"])
	if err != nil || json.Unmarshal(text, &o) != nil {
		return o, errNoOperation
	}
	id, err := resource.Parse(o.ID)
	if err != nil || !strings.EqualFold(id.Subscription(), c.Params["sub"]) {
		return o, errNoOperation
	}
	action := readApp
	switch {
	case strings.EqualFold(id.Type(), containerapp.Type) && o.UID != "":
	case strings.EqualFold(id.Type(), containerapp.EnvironmentType) && o.UID == "":
		action = readEnvironment
	default:
		return o, errNoOperation
	}
	allowed, err := api.allows(c, action, id)
	if err == nil && !allowed {
		err = errNoOperation
	}
	return o, err
}

// outcome tells how a change of an app goes: by its revision.
func (api *API) outcome(c *arm.Call, o operation) (a containerapp.App, state string, wrong *arm.Detail, err error) {
	id, err := resource.Parse(o.ID)
	if err != nil {
		return a, "", nil, errNoOperation
	}
	a, err = api.cfg.Apps.Get(c.Context(), id)
	if errors.Is(err, problem.NotFound) || err == nil && a.UID != o.UID {
		return a, "Canceled", &arm.Detail{Code: "OperationCanceled", Message: "The container app was deleted."}, nil
	}
	if err != nil {
		return a, "", nil, err
	}
	if o.Revision == "" {
		return a, "Succeeded", nil, nil
	}
	r, err := api.cfg.Apps.Revision(c.Context(), id, o.Revision)
	switch {
	case errors.Is(err, problem.NotFound):
		return a, "Canceled", &arm.Detail{Code: "OperationCanceled", Message: "The revision was superseded and is gone."}, nil
	case err != nil:
		return a, "", nil, err
	case api.cfg.Runtime != nil && r.Status.Provisioning == containerapp.Failed:
		return a, "Failed", &arm.Detail{Code: or(r.Status.Code, "ContainerAppOperationError"), Message: or(r.Status.Reason, "The revision could not be provisioned.")}, nil
	case api.cfg.Runtime != nil && r.Status.Provisioning == containerapp.InProgress && r.Active && !a.Stopped:
		return a, "InProgress", nil, nil
	case api.cfg.Runtime != nil && r.Status.Provisioning == containerapp.InProgress && !r.Active:
		return a, "Canceled", &arm.Detail{Code: "OperationCanceled", Message: "The revision was superseded before it was ready."}, nil
	}
	return a, "Succeeded", nil, nil
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
