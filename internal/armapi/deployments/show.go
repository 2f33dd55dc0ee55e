package deployments

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources/query"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// document is a deployment as clients see it.
type document struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties shown             `json:"properties"`
}

func (s *Service) describe(r inventory.Resource) (document, record, error) {
	rec, err := decode(r)
	if err != nil {
		return document{}, rec, err
	}
	rec = s.settle(rec)
	return document{ID: r.ID, Name: r.ResourceID().Name(), Type: Type, Location: r.Location, Tags: r.Tags, Properties: rec.shown}, rec, nil
}

// load reads the deployment that a call is about.
func (s *Service) load(c *arm.Call) (document, record, error) {
	id := deploymentID(c)
	r, err := s.cfg.Inventory.Get(c.Context(), id)
	if errors.Is(err, problem.NotFound) {
		return document{}, record{}, arm.Faultf(http.StatusNotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
	}
	if err != nil {
		return document{}, record{}, err
	}
	return s.describe(r)
}

func (s *Service) get(c *arm.Call) (arm.Reply, error) {
	doc, _, err := s.load(c)
	return arm.OK(doc), err
}

// maxPage is the most deployments in one page.
const maxPage = 200

// list lists the deployments to a scope, not those to groups within it.
func (s *Service) list(c *arm.Call) (arm.Reply, error) {
	filter, err := query.ParseFilter(c.Query.Get("$filter"), "provisioningState")
	if err != nil {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter: %s.", err)
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	all, _, err := s.cfg.Inventory.List(c.Context(), Type, c.Scope, "", 0)
	if err != nil {
		return arm.Reply{}, err
	}
	var items []document
	for _, r := range all {
		key := string(inventory.Key(r.ResourceID()))
		if key <= after || !r.ResourceID().Parent().Equal(c.Scope) {
			continue
		}
		doc, rec, err := s.describe(r)
		if err != nil {
			return arm.Reply{}, err
		}
		if !filter.Match(func(string) string { return rec.shown.ProvisioningState }, nil) {
			continue
		}
		if len(items) == most {
			return arm.List(c, items, string(inventory.Key(all[0].ResourceID().Parent().Child("Microsoft.Resources", "deployments", items[most-1].Name)))), nil
		}
		items = append(items, doc)
	}
	return arm.List(c, items, ""), nil
}

func (s *Service) delete(c *arm.Call) (arm.Reply, error) {
	_, rec, err := s.load(c)
	var f arm.Fault
	if errors.As(err, &f) && f.Status == http.StatusNotFound {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	if active(rec.shown.ProvisioningState) {
		return arm.Reply{}, activeFault(c.Scope)
	}
	if err := s.cfg.Inventory.Delete(c.Context(), c.Scope); err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	return arm.NoContent(), nil
}

// status tells how the operation that a PUT began is going.
func (s *Service) status(c *arm.Call) (arm.Reply, error) {
	doc, rec, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	name := c.Params["operation"]
	if !strings.EqualFold(name, rec.kept.Attempt) {
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "OperationNotFound", "The deployment has no such operation; it may have been deployed again.")
	}
	body := map[string]any{"id": doc.ID + "/operationStatuses/" + name, "name": name, "status": rec.shown.ProvisioningState, "startTime": rec.kept.Begun}
	if !active(rec.shown.ProvisioningState) {
		body["endTime"] = rec.shown.Timestamp
	}
	if rec.shown.Error != nil {
		body["error"] = rec.shown.Error
	}
	reply := arm.OK(body)
	if active(rec.shown.ProvisioningState) {
		reply.Header = http.Header{"Retry-After": {"1"}}
	}
	return reply, nil
}

// shownOperation gives an operation as clients see it.
func shownOperation(deployment string, op operation) map[string]any {
	props := map[string]any{
		"provisioningOperation": op.Kind, "provisioningState": op.State, "timestamp": op.Time, "duration": isoDuration(op.Took),
		"trackingId": op.ID, "statusCode": strings.ReplaceAll(op.StatusCode, " ", ""), "targetResource": op.Target,
	}
	if op.Error != nil {
		props["statusMessage"] = map[string]any{"status": op.State, "error": op.Error}
	}
	return map[string]any{"id": deployment + "/operations/" + op.ID, "operationId": op.ID, "properties": props}
}

func (s *Service) operations(c *arm.Call) (arm.Reply, error) {
	doc, rec, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var items []map[string]any
	for i := len(rec.kept.Operations) - 1; i >= 0; i-- { // the last comes first
		items = append(items, shownOperation(doc.ID, rec.kept.Operations[i]))
	}
	return arm.List(c, items, ""), nil
}

func (s *Service) operation(c *arm.Call) (arm.Reply, error) {
	doc, rec, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	for _, op := range rec.kept.Operations {
		if strings.EqualFold(op.ID, c.Params["operation"]) {
			return arm.OK(shownOperation(doc.ID, op)), nil
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusNotFound, "DeploymentOperationNotFound", "The deployment has no such operation.")
}

// cancel asks the node that runs a deployment to end it.
func (s *Service) cancel(c *arm.Call) (arm.Reply, error) {
	if _, _, err := s.load(c); err != nil {
		return arm.Reply{}, err
	}
	_, _, err := s.cfg.Inventory.Write(c.Context(), c.Scope, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, state.ErrUnchanged
		}
		rec, err := decode(old)
		if err != nil {
			return old, err
		}
		if !active(s.settle(rec).shown.ProvisioningState) {
			return old, arm.Faultf(http.StatusConflict, "DeploymentCannotBeCancelled", "The deployment '%s' is not running, so it cannot be cancelled.", c.Scope.Name())
		}
		rec.kept.Cancel = true
		return rec.encode(old)
	})
	if err != nil {
		return arm.Reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[c.Scope.Key()]; j != nil {
		j.cancel(errCanceled)
	}
	return arm.NoContent(), nil
}

// export gives the template that was deployed.
func (s *Service) export(c *arm.Call) (arm.Reply, error) {
	_, rec, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if len(rec.kept.Template) == 0 {
		return arm.Reply{}, arm.Faultf(http.StatusConflict, "TemplateNotKept",
			"The template of this deployment was not kept: it has more than %d bytes, or it is nested and has values of the outer template in it.", maxTemplate)
	}
	return arm.OK(map[string]json.RawMessage{"template": rec.kept.Template}), nil
}

// validate plans a deployment without running it.
func (s *Service) validate(c *arm.Call) (arm.Reply, error) {
	r, err := s.read(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(document{ID: r.id.String(), Name: r.id.Name(), Type: Type, Location: r.location, Properties: s.validated(c, r)}), nil
}
