package deployments

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// change is what a deployment would do to a resource.
type change struct {
	ID     string         `json:"resourceId"`
	Type   string         `json:"changeType"` // Create, Modify, NoChange, Delete, Unsupported
	Reason string         `json:"unsupportedReason,omitempty"`
	Before map[string]any `json:"before,omitempty"`
	After  map[string]any `json:"after,omitempty"`
	Delta  []difference   `json:"delta,omitempty"`
}

// difference is a member that would change.
type difference struct {
	Path   string `json:"path"`
	Type   string `json:"propertyChangeType"` // Create, Modify
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
}

// whatIf compares what a template says with what there is, as the caller sees it.
func (s *Service) whatIf(c *arm.Call) (arm.Reply, error) {
	r, err := s.read(c)
	if err != nil {
		return arm.Reply{}, err
	}
	j, err := s.newJob(c, r)
	if err != nil {
		return arm.Reply{}, err
	}
	changes := []change{}
	for i, res := range r.plan.Resources {
		if !res.Deploy {
			continue
		}
		ch, err := j.preview(c, i)
		if err != nil {
			return arm.Reply{}, err
		}
		changes = append(changes, ch)
	}
	if r.complete {
		others, err := j.others(c.Context())
		if err != nil {
			return arm.Reply{}, err
		}
		for _, e := range others {
			changes = append(changes, change{ID: e.ID.String(), Type: "Delete"})
		}
	}
	return arm.OK(map[string]any{
		"status": succeeded, "properties": map[string]any{"correlationId": c.CorrelationID, "changes": changes},
	}), nil
}

func (j *job) preview(c *arm.Call, i int) (change, error) {
	res := j.req.plan.Resources[i]
	ch := change{ID: res.ID}
	after, err := j.req.plan.Preview(i)
	if err != nil {
		return ch, invalidTemplate(err)
	}
	after["id"], after["name"], after["type"], after["apiVersion"] = res.ID, lastName(res.Name), res.Type, res.APIVersion
	before, err := runtime{j}.Reference(c.Context(), res.ID, res.APIVersion)
	var f arm.Fault
	switch {
	case errors.As(err, &f) && f.Status == http.StatusNotFound:
		ch.Type, ch.After = "Create", after
	case err != nil: // it may not be read, or has no GET
		ch.Type, ch.Reason, ch.After = "Unsupported", explain(err).Message, after
	case strings.EqualFold(res.Type, Type):
		ch.Type = "NoChange" // what lies within shows when it is deployed by itself
	default:
		ch.Before, ch.After, ch.Delta = before, after, compare("", before, after)
		if ch.Type = "Modify"; len(ch.Delta) == 0 {
			ch.Type = "NoChange"
		}
	}
	return ch, nil
}

func lastName(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// compare gives the members of after that are not so before. Members that a
// template does not mention stay as they are.
func compare(path string, before, after map[string]any) []difference {
	list := []difference{}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		was, had := member(before, name)
		is, at := after[name], strings.TrimPrefix(path+"."+name, ".")
		switch inner, ok := is.(map[string]any); {
		case path == "" && (name == "apiVersion" || name == "id" || name == "name" || name == "type"):
		case unknown(is):
		case ok && had && isObject(was):
			list = append(list, compare(at, was.(map[string]any), inner)...) //nolint:errcheck // isObject looked
		case !had:
			list = append(list, difference{Path: at, Type: "Create", After: is})
		case !same(was, is):
			list = append(list, difference{Path: at, Type: "Modify", Before: was, After: is})
		}
	}
	return list
}

func member(of map[string]any, name string) (any, bool) {
	for have, v := range of {
		if strings.EqualFold(have, name) {
			return v, true
		}
	}
	return nil, false
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// unknown reports whether a value is an expression that could not be evaluated.
func unknown(v any) bool {
	text, ok := v.(string)
	return ok && strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]")
}

// same compares values as they look in JSON; texts without regard to case, in
// which ids and locations come back spelled differently.
func same(a, b any) bool {
	x, xok := a.(string)
	y, yok := b.(string)
	if xok && yok {
		return strings.EqualFold(x, y)
	}
	at, aerr := json.Marshal(a)
	bt, berr := json.Marshal(b)
	return aerr == nil && berr == nil && reflect.DeepEqual(at, bt)
}
