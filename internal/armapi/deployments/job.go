package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template"
)

// job is one deployment that runs on this node. Its record is changed by the
// goroutine that runs it only.
type job struct {
	s           *Service
	req         *request
	rec         record
	caller      arm.Caller
	baseURL     string
	remote      string
	correlation string
	done        chan struct{}
	saved       time.Time

	mu   sync.Mutex
	stop context.CancelCauseFunc
	want error // why it is to stop, before it could be told
}

func (j *job) setStop(stop context.CancelCauseFunc) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stop = stop; j.want != nil {
		stop(j.want)
	}
}

func (j *job) cancel(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.want = why; j.stop != nil {
		j.stop(why)
	}
}

// run waits for a slot, deploys, and records how it ended. slots is nil for nested
// deployments, which are part of one that has a slot.
func (j *job) run(ctx context.Context, slots chan struct{}) {
	defer close(j.done)
	ctx, stop := context.WithCancelCause(ctx)
	j.setStop(stop)
	beats, attempt := make(chan struct{}), j.rec.kept.Attempt
	go func() {
		defer close(beats)
		stop(j.live(ctx, attempt))
	}()
	defer func() {
		stop(nil)
		<-beats
	}()
	if slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
		}
	}
	j.rec.shown.ProvisioningState = running
	err := j.save(ctx, true)
	if err == nil {
		err = j.guarded(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	j.end(err)
	if errors.Is(err, errGone) {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = j.s.save(last, j.req.id, j.caller.ObjectID, j.rec)
	if errors.Is(err, problem.TooLarge) {
		j.rec.kept.Template, j.rec.kept.Operations, j.rec.shown.Outputs, j.rec.shown.Dependencies = nil, nil, nil, nil
		j.end(problem.New(problem.TooLarge, "what came of the deployment is too large to be kept"))
		err = j.s.save(last, j.req.id, j.caller.ObjectID, j.rec)
	}
	if err != nil && !errors.Is(err, errGone) {
		j.s.cfg.Log.Error("how a deployment ended could not be recorded", "deployment", j.req.id.String(), "reason", err)
	}
}

// guarded is deploy for templates of strangers: one that makes its reader panic
// fails by itself, and does not end the node.
func (j *job) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			j.s.cfg.Log.Error("a deployment panicked; please report this", "deployment", j.req.id.String(), "panic", p, "stack", string(debug.Stack()))
			err = &deploymentError{Code: "InternalServerError", Message: "An internal error ended the deployment; the server's log has the cause."}
		}
	}()
	return j.deploy(ctx)
}

// live says now and then that the node works on the deployment, until ctx ends or
// there is a reason to stop, which it returns.
func (j *job) live(ctx context.Context, attempt string) error {
	for {
		if err := waitFor(ctx, j, beat); err != nil {
			return err
		}
		if err := j.s.touch(ctx, j.req.id, j.caller.ObjectID, attempt); errors.Is(err, errGone) || errors.Is(err, errCanceled) {
			return err
		}
	}
}

// end sets how the deployment ended.
func (j *job) end(err error) {
	now := j.s.cfg.Clock.Now().UTC()
	j.rec.shown.Timestamp, j.rec.shown.Duration = now, isoDuration(now.Sub(j.rec.kept.Begun))
	j.rec.shown.ProvisioningState, j.rec.shown.Error = succeeded, nil
	if err == nil {
		return
	}
	j.rec.shown.ProvisioningState = failed
	var told *deploymentError
	switch {
	case errors.As(err, &told):
		j.rec.shown.Error = told
	case errors.Is(err, errCanceled):
		j.rec.shown.ProvisioningState = canceled
		j.rec.shown.Error = &deploymentError{Code: "DeploymentCanceled", Message: "The deployment was canceled."}
	case errors.Is(err, errStopped):
		j.rec = interrupted(j.rec)
	case errors.Is(err, context.DeadlineExceeded):
		j.rec.shown.Error = &deploymentError{Code: "DeploymentTimeout", Message: fmt.Sprintf("The deployment took longer than %s.", j.s.cfg.Longest)}
	default:
		e := explain(err)
		j.rec.shown.Error = &e
	}
}

// Error makes a deploymentError an error.
func (e *deploymentError) Error() string { return e.Code + ": " + e.Message }

// explain gives the code and message for an error that no answer had.
func explain(err error) deploymentError {
	var f arm.Fault
	if errors.As(err, &f) {
		text := err.Error()
		return deploymentError{Code: f.Code, Message: clip(text), Target: f.Target}
	}
	switch problem.KindOf(err) {
	case problem.Internal, problem.Undecryptable:
		return deploymentError{Code: "InternalServerError", Message: "The server failed; its log has the reason."}
	}
	return deploymentError{Code: "InvalidTemplate", Message: clip(err.Error())}
}

// save records how far the deployment is, at most once a second unless it must.
func (j *job) save(ctx context.Context, must bool) error {
	now := j.s.cfg.Clock.Now().UTC()
	if !must && now.Sub(j.saved) < time.Second {
		return nil
	}
	j.saved, j.rec.kept.Alive = now, now
	return j.s.save(ctx, j.req.id, j.caller.ObjectID, j.rec)
}

// deploy deploys the resources in order. What does not depend on a resource that
// failed is deployed all the same.
func (j *job) deploy(ctx context.Context) error {
	bad := map[int]bool{}
	var faults []deploymentError
	for _, i := range j.req.plan.Order {
		res := j.req.plan.Resources[i]
		if !res.Deploy {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		for _, before := range res.After {
			bad[i] = bad[i] || bad[before]
		}
		if bad[i] {
			continue
		}
		if fault := j.one(ctx, i); fault != nil {
			bad[i] = true
			faults = append(faults, *fault)
		}
		if err := j.save(ctx, false); err != nil {
			return err
		}
	}
	if len(faults) > 0 {
		return together(j.req.id.String(), faults)
	}
	if err := j.outputs(ctx); err != nil {
		return err
	}
	if j.req.complete {
		return j.removeOthers(ctx)
	}
	return nil
}

// together makes the error of a deployment of those of its resources.
func together(id string, faults []deploymentError) error {
	return &deploymentError{Code: "DeploymentFailed", Target: id, Details: faults[:min(len(faults), maxErrors)],
		Message: "At least one resource deployment operation failed. Please list deployment operations for details."}
}

func (j *job) outputs(ctx context.Context) error {
	out, err := j.req.plan.Outputs(ctx, runtime{j})
	if err != nil {
		fault := explain(err)
		fault.Code = "DeploymentOutputEvaluationFailed"
		return &fault
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if len(text) > maxOutputs {
		return &deploymentError{Code: "DeploymentOutputTooLarge", Message: fmt.Sprintf("The outputs have more than %d bytes.", maxOutputs)}
	}
	if len(out) > 0 {
		j.rec.shown.Outputs = out
	}
	return nil
}

// one deploys a resource and notes the operation.
func (j *job) one(ctx context.Context, i int) *deploymentError {
	begun := j.s.cfg.Clock.Now()
	res := j.req.plan.Resources[i]
	status, fault := j.putResource(ctx, i)
	j.note("Create", targetOf(j.req, i), begun, status, fault)
	if fault == nil {
		j.rec.shown.OutputResources = append(j.rec.shown.OutputResources, idOf{res.ID})
	}
	return fault
}

func (j *job) note(kind string, of target, begun time.Time, status int, fault *deploymentError) {
	now := j.s.cfg.Clock.Now()
	op := operation{
		ID: uuid.NewString(), Kind: kind, State: succeeded, Time: now.UTC(), Took: now.Sub(begun), Target: of, Error: fault,
		StatusCode: http.StatusText(status),
	}
	if fault != nil {
		op.State = failed
		fault.Target = of.ID
	}
	j.rec.kept.Operations = append(j.rec.kept.Operations, op)
}

// putResource makes the call for a resource and waits until it is ready.
func (j *job) putResource(ctx context.Context, i int) (int, *deploymentError) {
	res := j.req.plan.Resources[i]
	body, err := j.req.plan.Body(ctx, i, runtime{j})
	if err != nil {
		fault := explain(err)
		return http.StatusBadRequest, &fault
	}
	text, err := json.Marshal(body)
	if err != nil {
		return http.StatusBadRequest, &deploymentError{Code: "InvalidTemplate", Message: res.Path + " cannot be written as JSON."}
	}
	ctx = context.WithValue(ctx, nestedKey{}, depth(ctx)+1)
	flat, _ := ctx.Value(flatKey{}).(bool) // what is nested in a flat one is flat too
	ctx = context.WithValue(ctx, flatKey{}, flat || j.req.plan.Flattened(i))
	status, answer, err := j.invoke(ctx, http.MethodPut, res.ID, res.APIVersion, text)
	if err == nil {
		answer, err = j.ready(ctx, res, answer)
	}
	if err != nil {
		fault := explain(err)
		return status, &fault
	}
	j.adopt(res, answer)
	return status, nil
}

// resourceState is what tells whether a resource is ready.
type resourceState struct {
	Properties struct {
		ProvisioningState string           `json:"provisioningState"`
		Error             *deploymentError `json:"error"`
		OutputResources   []idOf           `json:"outputResources"`
	} `json:"properties"`
}

// ready waits until a resource says that it is.
func (j *job) ready(ctx context.Context, res template.Resource, answer []byte) ([]byte, error) {
	for {
		var st resourceState
		if json.Unmarshal(answer, &st) != nil {
			return answer, nil // it says nothing of its state
		}
		switch st.Properties.ProvisioningState {
		case failed, canceled:
			fault := arm.Faultf(http.StatusConflict, "ResourceDeploymentFailure", "The resource ended in the state '%s'.", st.Properties.ProvisioningState)
			if e := st.Properties.Error; e != nil {
				fault.Code, fault.Message = e.Code, nestedMessage(e)
			}
			return nil, fault
		case accepted, running, "Creating", "Updating", "InProgress", "Pending", "Provisioning":
		default:
			return answer, nil
		}
		if err := waitFor(ctx, j, time.Second); err != nil {
			return nil, err
		}
		if err := j.save(ctx, false); err != nil {
			return nil, err
		}
		_, text, err := j.invoke(ctx, http.MethodGet, res.ID, res.APIVersion, nil)
		if err != nil {
			return nil, err
		}
		answer = text
	}
}

// nestedMessage gives the message of a nested deployment with what failed in it.
func nestedMessage(e *deploymentError) string {
	text := e.Message
	for _, d := range e.Details {
		text += " " + d.Code + ": " + d.Message
	}
	return clip(text)
}

// adopt takes over the resources that a nested deployment made.
func (j *job) adopt(res template.Resource, answer []byte) {
	var st resourceState
	if res.Type == Type && json.Unmarshal(answer, &st) == nil {
		j.rec.shown.OutputResources = append(j.rec.shown.OutputResources, st.Properties.OutputResources...)
	}
}
