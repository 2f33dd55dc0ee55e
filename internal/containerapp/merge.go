package containerapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of what is stored.
const (
	MaxProperties = 256 << 10 // bytes
	maxDepth      = 40
)

// parseProperties reads what a client says about an app.
func parseProperties(text json.RawMessage) (Properties, error) {
	var p Properties
	return p, decode(text, &p)
}

func decode(text json.RawMessage, into any) error {
	if len(text) > MaxProperties {
		return problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(text), MaxProperties))
	}
	if len(text) == 0 {
		return nil
	}
	err := json.Unmarshal(text, into)
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		kind, _, _ := strings.Cut(typed.Value, " ")
		field := strings.TrimSuffix("properties."+typed.Field, ".")
		return Faults{{"InvalidRequestContent", field, fmt.Sprintf("Member '%s' must not be of type %s.", field, kind)}}
	}
	if err != nil {
		return Faults{{"InvalidRequestContent", "properties", "Member 'properties' is not JSON."}}
	}
	return nil
}

// merged gives a document with a JSON merge patch applied: objects are merged,
// lists and everything else are replaced, null removes. Names are compared without
// regard to case, as everywhere in bodies.
func merged(had, patch json.RawMessage) (json.RawMessage, error) {
	if len(patch) > MaxProperties {
		return nil, problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(patch), MaxProperties))
	}
	var base, change any
	if err := json.Unmarshal(had, &base); err != nil {
		return nil, problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
	}
	if len(patch) == 0 {
		return had, nil
	}
	if err := json.Unmarshal(patch, &change); err != nil {
		return nil, Faults{{"InvalidRequestContent", "properties", "Member 'properties' is not JSON."}}
	}
	if change == nil {
		return had, nil
	}
	if _, is := change.(map[string]any); !is {
		return nil, Faults{{"InvalidRequestContent", "properties", "Member 'properties' must be an object."}}
	}
	out, err := mergeValue(base, change, 0)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func mergeValue(base, change any, depth int) (any, error) {
	said, is := change.(map[string]any)
	if !is {
		return change, nil
	}
	if depth > maxDepth {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("the body is nested deeper than %d levels", maxDepth))
	}
	out, is := base.(map[string]any)
	if !is {
		out = map[string]any{}
	}
	for name, value := range said {
		at := spelledIn(out, name)
		if value == nil {
			delete(out, at)
			continue
		}
		next, err := mergeValue(out[at], value, depth+1)
		if err != nil {
			return nil, err
		}
		out[at] = next
	}
	return out, nil
}

func spelledIn(m map[string]any, name string) string {
	if _, there := m[name]; there {
		return name
	}
	for other := range m {
		if strings.EqualFold(other, name) {
			return other
		}
	}
	return name
}
