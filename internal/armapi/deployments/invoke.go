package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/template"
)

// anyVersion is asked for where a template names no api-version.
const anyVersion = "2024-03-01"

// invoke makes a call as the caller of the deployment. An answer that is an error
// is returned as an arm.Fault.
func (j *job) invoke(ctx context.Context, method, id, version string, body []byte) (int, []byte, error) {
	if version == "" {
		version = anyVersion
	}
	if j.s.cfg.Active != nil {
		if err := j.s.cfg.Active(ctx, j.caller.ObjectID); err != nil {
			return http.StatusForbidden, nil, arm.Faultf(http.StatusForbidden, "AuthorizationFailed", "The principal that started the deployment may not act any more.")
		}
	}
	status, answer, err := j.s.cfg.Invoke(ctx, arm.Inner{
		Caller: j.caller, Method: method, ID: id, Version: version, Body: body,
		BaseURL: j.baseURL, Remote: j.remote, CorrelationID: j.correlation, Template: true,
	})
	if err == nil && status >= http.StatusBadRequest {
		err = faultIn(status, answer)
	}
	return status, answer, err
}

// faultIn reads the error in an answer.
func faultIn(status int, answer []byte) error {
	var envelope struct {
		Error struct{ Code, Message, Target string }
	}
	_ = json.Unmarshal(answer, &envelope) // what is not there is made up below
	f := arm.Fault{Status: status, Code: envelope.Error.Code, Message: clip(envelope.Error.Message), Target: envelope.Error.Target}
	if f.Code == "" {
		f.Code, f.Message = strings.ReplaceAll(http.StatusText(status), " ", ""), http.StatusText(status)
	}
	return f
}

func waitFor(ctx context.Context, j *job, d time.Duration) error {
	return clock.Sleep(ctx, j.s.cfg.Clock, d)
}

// runtime reads resources for the expressions of a template.
type runtime struct{ j *job }

var _ template.Runtime = runtime{}

// Reference implements template.Runtime.
func (r runtime) Reference(ctx context.Context, id, version string) (map[string]any, error) {
	_, answer, err := r.j.invoke(ctx, http.MethodGet, id, version, nil)
	if err != nil {
		return nil, err
	}
	return template.Object(answer)
}

// List implements template.Runtime.
func (r runtime) List(ctx context.Context, action, id, version string, body any) (any, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, problem.Wrap(problem.Invalid, "argument 3 cannot be written as JSON", err)
		}
	}
	_, answer, err := r.j.invoke(ctx, http.MethodPost, strings.TrimRight(id, "/")+"/"+action, version, text)
	if err != nil {
		return nil, err
	}
	return template.Object(answer)
}

// removeOthers deletes what lies in the resource group and is not in the template,
// for the mode Complete: resources of their own only. Extensions such as role
// assignments, and deployments, stay.
func (j *job) removeOthers(ctx context.Context) error {
	others, err := j.others(ctx)
	if err != nil {
		return err
	}
	var faults []deploymentError
	for progress := true; progress && len(others) > 0; { // what another still uses goes after that
		var left []inventory.Entry
		faults = nil
		for _, e := range others {
			if fault := j.remove(ctx, e); fault != nil {
				left, faults = append(left, e), append(faults, *fault)
			}
		}
		progress = len(left) < len(others)
		others = left
	}
	if len(faults) > 0 {
		return together(j.req.id.String(), faults)
	}
	return nil
}

// remove deletes a resource as the caller of the deployment.
func (j *job) remove(ctx context.Context, e inventory.Entry) *deploymentError {
	begun := j.s.cfg.Clock.Now()
	status, _, err := j.invoke(ctx, http.MethodDelete, e.ID.String(), "", nil)
	var fault *deploymentError
	if f := (arm.Fault{}); err != nil && !(errors.As(err, &f) && f.Status == http.StatusNotFound) {
		told := explain(err)
		fault = &told
	}
	j.note("Delete", target{e.ID.String(), e.Type, e.ID.Name()}, begun, status, fault)
	return fault
}

// others gives the resources of the group that the template does not mention.
func (j *job) others(ctx context.Context) ([]inventory.Entry, error) {
	keep := map[string]bool{}
	for _, out := range j.rec.shown.OutputResources {
		keepWithParents(keep, out.ID)
	}
	for _, res := range j.req.plan.Resources {
		keepWithParents(keep, res.ID)
	}
	below, err := j.s.cfg.Inventory.Below(ctx, j.req.scope)
	return slices.DeleteFunc(below, func(e inventory.Entry) bool { return keep[e.ID.Key()] || !removable(e, j.req.scope) }), err
}

// keepWithParents notes a resource and those it is a child of.
func keepWithParents(keep map[string]bool, text string) {
	id, err := resource.Parse(text)
	for err == nil && id.IsResource() {
		keep[id.Key()] = true
		id = id.Parent()
	}
}

// removable reports whether something is a resource of its own in the group.
func removable(e inventory.Entry, group resource.ID) bool {
	typ := strings.ToLower(e.Type)
	return e.ID.Parent().Equal(group) && strings.Count(typ, "/") == 1 &&
		!strings.HasPrefix(typ, "microsoft.resources/") && !strings.HasPrefix(typ, "microsoft.authorization/")
}
