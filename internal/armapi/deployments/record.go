package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// States of a deployment.
const (
	accepted  = "Accepted"
	running   = "Running"
	succeeded = "Succeeded"
	failed    = "Failed"
	canceled  = "Canceled"
)

// shown are the properties of a deployment as clients see them.
type shown struct {
	TemplateHash      string           `json:"templateHash"`
	Mode              string           `json:"mode"`
	ProvisioningState string           `json:"provisioningState"`
	Timestamp         time.Time        `json:"timestamp"`
	Duration          string           `json:"duration"`
	CorrelationID     string           `json:"correlationId"`
	Providers         []provider       `json:"providers"`
	Dependencies      []dependency     `json:"dependencies"`
	Parameters        map[string]any   `json:"parameters,omitempty"`
	Outputs           map[string]any   `json:"outputs,omitempty"`
	OutputResources   []idOf           `json:"outputResources,omitempty"`
	Validated         []idOf           `json:"validatedResources,omitempty"`
	Error             *deploymentError `json:"error,omitempty"`
}

type idOf struct {
	ID string `json:"id"`
}

type provider struct {
	Namespace string         `json:"namespace"`
	Types     []providerType `json:"resourceTypes"`
}

type providerType struct {
	Type      string   `json:"resourceType"`
	Locations []string `json:"locations"`
}

type dependency struct {
	DependsOn []target `json:"dependsOn"`
	target
}

// target names a resource.
type target struct {
	ID   string `json:"id"`
	Type string `json:"resourceType"`
	Name string `json:"resourceName"`
}

// deploymentError is why a deployment or one of its operations failed.
type deploymentError struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Target  string            `json:"target,omitempty"`
	Details []deploymentError `json:"details,omitempty"`
}

// private is what is kept of a deployment besides.
type private struct {
	Attempt    string          `json:"attempt"` // id of the operation that the PUT began
	Node       string          `json:"node"`
	Begun      time.Time       `json:"begun"`
	Alive      time.Time       `json:"alive"` // when the node last said that it works on it
	Cancel     bool            `json:"cancel,omitempty"`
	Operations []operation     `json:"operations,omitempty"`
	Template   json.RawMessage `json:"template,omitempty"`
}

// operation is the deployment of one resource.
type operation struct {
	ID         string           `json:"id"`
	Kind       string           `json:"kind"` // Create, Delete
	State      string           `json:"state"`
	Time       time.Time        `json:"time"`
	Took       time.Duration    `json:"took"`
	StatusCode string           `json:"code"`
	Error      *deploymentError `json:"error,omitempty"`
	Target     target           `json:"target"`
}

// record is a deployment as it is kept.
type record struct {
	location string
	tags     map[string]string
	shown    shown
	kept     private
}

func active(state string) bool { return state == accepted || state == running }

// Limits of what is kept of a deployment, in bytes, so that it fits into one write.
const (
	maxTemplate   = 128 << 10
	maxParameters = 128 << 10
	maxOutputs    = 128 << 10
	maxErrors     = 50  // details of an error
	maxMessage    = 500 // bytes of a message
)

// stale is after how long without a sign of life a deployment counts as failed,
// and beat how often a node gives one.
const (
	stale = 2 * time.Minute
	beat  = 20 * time.Second
)

func decode(r inventory.Resource) (record, error) {
	rec := record{location: r.Location, tags: r.Tags}
	if err := errors.Join(json.Unmarshal(r.Properties, &rec.shown), json.Unmarshal(r.Private, &rec.kept)); err != nil {
		return rec, problem.Wrap(problem.Undecryptable, "deployment "+r.ID+" cannot be understood", err)
	}
	return rec, nil
}

func (rec record) encode(r inventory.Resource) (inventory.Resource, error) {
	var err error
	r.Location, r.Tags = rec.location, rec.tags
	if r.Properties, err = json.Marshal(rec.shown); err != nil {
		return r, err
	}
	r.Private, err = json.Marshal(rec.kept)
	return r, err
}

// settle gives a record as it is now: one whose node gave no sign of life for long
// has failed.
func (s *Service) settle(rec record) record {
	if active(rec.shown.ProvisioningState) && s.cfg.Clock.Now().Sub(rec.kept.Alive) > stale {
		return interrupted(rec)
	}
	return rec
}

func interrupted(rec record) record {
	rec.shown.ProvisioningState = failed
	rec.shown.Error = &deploymentError{Code: "DeploymentInterrupted",
		Message: "The node that ran the deployment was stopped before it ended. Deploy again to complete it."}
	return rec
}

// Recover ends the deployments that this node was running when it was stopped
// without notice. It is for the node's start.
func (s *Service) Recover(ctx context.Context) error {
	list, _, err := s.cfg.Inventory.List(ctx, Type, resource.Root, "", 0)
	if err != nil {
		return err
	}
	for _, r := range list {
		rec, err := decode(r)
		if err != nil {
			s.cfg.Log.Warn("a deployment cannot be read", "deployment", r.ID, "reason", err)
			continue
		}
		if !active(rec.shown.ProvisioningState) || rec.kept.Node != s.cfg.Node || !rec.kept.Begun.Before(s.started) {
			continue
		}
		if err := s.save(ctx, r.ResourceID(), "", interrupted(rec)); err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	return nil
}

// errGone says that a deployment was deleted or begun anew meanwhile.
var errGone = errors.New("the deployment is gone")

// errCanceled says that somebody cancelled the deployment.
var errCanceled = errors.New("the deployment was canceled")

// save writes the record of a deployment that goes on. It fails with errGone if
// the deployment is another one now.
func (s *Service) save(ctx context.Context, id resource.ID, by string, rec record) error {
	canceled := false
	_, _, err := s.cfg.Inventory.Write(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, errGone
		}
		was, err := decode(old)
		if err != nil {
			return old, err
		}
		if was.kept.Attempt != rec.kept.Attempt {
			return old, errGone
		}
		canceled = was.kept.Cancel
		return rec.encode(old)
	})
	if err == nil && canceled && active(rec.shown.ProvisioningState) {
		return errCanceled
	}
	return err
}

// touch notes that a deployment is worked on. It fails with errGone if it is
// another one now, with errCanceled if somebody cancelled it.
func (s *Service) touch(ctx context.Context, id resource.ID, by, attempt string) error {
	canceled := false
	_, _, err := s.cfg.Inventory.Write(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, errGone
		}
		rec, err := decode(old)
		if err != nil {
			return old, err
		}
		if rec.kept.Attempt != attempt {
			return old, errGone
		}
		if canceled = rec.kept.Cancel; !active(rec.shown.ProvisioningState) {
			return old, state.ErrUnchanged
		}
		rec.kept.Alive = s.cfg.Clock.Now().UTC()
		return rec.encode(old)
	})
	if err == nil && canceled {
		return errCanceled
	}
	return err
}

// create writes the record of a deployment that begins. It is refused while
// another one of that name runs.
func (s *Service) create(ctx context.Context, id resource.ID, by string, rec record) (bool, error) {
	_, created, err := s.cfg.Inventory.Write(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if exists {
			was, err := decode(old)
			if err == nil && active(s.settle(was).shown.ProvisioningState) {
				return old, activeFault(id)
			}
		}
		return rec.encode(old)
	})
	return created, err
}

func clip(s string) string {
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}
