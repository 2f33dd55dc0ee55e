package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

// fields are an object as it is sent.
type fields = map[string]any

const maxAnswer = 64 << 20 // bytes of a list

// ask makes a call and decodes its answer into out, unless that is nil.
func (e *Engine) ask(ctx context.Context, r kubeapi.Request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*kubeapi.Patience)
	defer cancel()
	resp, err := e.api.Send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// apply makes an object what it is to be, with server-side apply, and gives what the
// server made of it. Fields of others stay as they are.
func (e *Engine) apply(ctx context.Context, k kind, object fields) (header, error) {
	object["apiVersion"], object["kind"] = k.group, k.name
	body, err := json.Marshal(object)
	if err != nil {
		return header{}, err
	}
	name, _ := object["metadata"].(fields)["name"].(string)
	var got struct {
		Metadata header `json:"metadata"`
	}
	err = e.ask(ctx, kubeapi.Request{Method: http.MethodPatch, Path: k.path(e.ns, name),
		Query: url.Values{"fieldManager": {Manager}, "force": {"true"}}, Form: "application/apply-patch+yaml", Body: body}, &got)
	return got.Metadata, err
}

// get reads an object. problem.NotFound if there is none.
func (e *Engine) get(ctx context.Context, k kind, name string, out any) error {
	err := e.ask(ctx, kubeapi.Request{Method: http.MethodGet, Path: k.path(e.ns, name)}, out)
	if isStatus(err, http.StatusNotFound) {
		return problem.New(problem.NotFound, "there is no "+k.name+" "+name)
	}
	return err
}

// remove deletes an object, and with it what it owns.
func (e *Engine) remove(ctx context.Context, k kind, name string) error {
	err := e.ask(ctx, kubeapi.Request{Method: http.MethodDelete, Path: k.path(e.ns, name),
		Query: url.Values{"propagationPolicy": {"Background"}}}, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

func isStatus(err error, code int) bool {
	var answer *kubeapi.Status
	return errors.As(err, &answer) && answer.HTTP == code
}

// fault puts an error into the engine's terms, without the texts of the server, which
// may quote what was sent.
func (e *Engine) fault(err error, what string) error {
	var answer *kubeapi.Status
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		return answered(answer, what)
	case problem.KindOf(err) != problem.Internal:
		return engine.Fail(engine.ReasonEngine, problem.Wrap(problem.Unavailable, "cannot "+what, err).WithNext(problem.NextOf(err)))
	}
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	return engine.Fail(engine.ReasonEngine, problem.Wrap(problem.Unavailable, e.String()+" does not answer", err).
		WithNext("see whether the API server can be reached from here"))
}

func answered(s *kubeapi.Status, what string) error {
	fail := func(reason engine.Reason, kind problem.Kind, next string) error {
		return engine.Fail(reason, problem.New(kind, fmt.Sprintf("cannot %s: the API server answers %s", what, s)).WithNext(next))
	}
	switch s.HTTP {
	case http.StatusUnauthorized:
		return fail(engine.ReasonEngine, problem.Denied, "see whether the token of the service account is valid for this cluster")
	case http.StatusForbidden:
		return fail(engine.ReasonOther, problem.Denied, "give Latchkey's service account the Role in docs/container-apps-kubernetes.md; if it has that, see the quota of the namespace and its admission rules")
	case http.StatusNotFound:
		return fail(engine.ReasonOther, problem.Unsupported, "see whether the namespace is there, and whether the cluster has this kind of object")
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		if n := len(s.Details.Causes); n > 0 {
			what += " (it objects to field " + s.Details.Causes[n-1].Field + ")"
		}
		return fail(engine.ReasonOther, problem.Invalid, "see the audit log of the API server for the reason")
	case http.StatusConflict:
		return fail(engine.ReasonOther, problem.Conflict, "it is tried again")
	}
	return fail(engine.ReasonEngine, problem.Unavailable, "it is tried again")
}
