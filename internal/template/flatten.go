package template

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/template/expression"
)

// flatten evaluates the template of a nested deployment of outer scope: its
// expressions mean this template's parameters, variables and scope, so that what
// is deployed has values only.
func (r *run) flatten(path string, v any, c copies) (any, error) {
	nested, ok := v.(map[string]any)
	if !ok {
		return nil, at(path, invalid("it must be an object"))
	}
	out := map[string]any{}
	for name, v := range nested {
		var err error
		switch {
		case strings.EqualFold(name, "resources"):
			if v, err = r.flattenResources(path+".resources", v, c); err != nil {
				return nil, err
			}
		case strings.EqualFold(name, "outputs"):
			if v, err = r.flattenValue(path+".outputs", v, c); err != nil {
				return nil, err
			}
		case strings.EqualFold(name, "parameters"), strings.EqualFold(name, "variables"), strings.EqualFold(name, "functions"):
			continue // nothing can refer to them
		}
		out[name] = v
	}
	return out, nil
}

// flattenResources expands the loops of a nested template here, where their
// expressions have a meaning.
func (r *run) flattenResources(path string, v any, c copies) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return r.flattenValue(path, v, c)
	}
	out := []any{}
	for i, v := range list {
		path := fmt.Sprintf("%s[%d]", path, i)
		def, _ := v.(map[string]any)
		loop, ok := get(def, "copy").(map[string]any)
		if !ok {
			flat, err := r.flattenValue(path, v, c)
			if err != nil {
				return nil, err
			}
			out = append(out, flat)
			continue
		}
		name, count, err := r.loop(path+".copy", loop, c)
		if err != nil {
			return nil, err
		}
		turn := map[string]any{}
		for member, v := range def {
			if member != "copy" {
				turn[member] = v
			}
		}
		for n := range count {
			flat, err := r.flattenValue(path, turn, c.with(name, n, true))
			if err != nil {
				return nil, err
			}
			if out = append(out, flat); len(out) > MaxResources {
				return nil, at(path, invalid("there are more than %d resources", MaxResources))
			}
		}
	}
	return out, nil
}

// flattenValue evaluates a value and escapes the texts that came of it, as they
// will be read as a template again.
func (r *run) flattenValue(path string, v any, c copies) (any, error) {
	v, err := r.value(path, v, c)
	if err != nil {
		return nil, err
	}
	return escape(v), nil
}

func escape(v any) any {
	switch v := v.(type) {
	case string:
		return expression.Escape(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = escape(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = escape(e)
		}
		return out
	}
	return v
}
