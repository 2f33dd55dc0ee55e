package template

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/template/expression"
)

// variables makes the section of variables. Those made in a loop are members of
// variables.copy.
func (r *run) variables() (*section, error) {
	s := newSection("variable")
	all, err := object(r.t.root, "variables")
	if err != nil {
		return nil, err
	}
	for name, v := range all {
		if loops, ok := v.([]any); ok && name == "copy" && areLoops(loops) {
			if err := r.variableCopies(s, loops); err != nil {
				return nil, err
			}
			continue
		}
		s.add(name, func() (any, error) { return r.early("variables."+name, v, copies{}) })
	}
	return s, nil
}

func (r *run) variableCopies(s *section, loops []any) error {
	for i, l := range loops {
		def := l.(map[string]any) //nolint:errcheck // areLoops looked
		path := fmt.Sprintf("variables.copy[%d]", i)
		name, ok := get(def, "name").(string)
		if !ok {
			return at(path, invalid("name must be a string"))
		}
		s.add(name, func() (any, error) {
			out := map[string]any{}
			_, err := r.whileEarly(func() (any, error) {
				return nil, r.propertyCopies(path[:len("variables.copy")], []any{def}, copies{}, out)
			})
			return out[name], err
		})
	}
	return nil
}

// early evaluates a value while no resource may be asked.
func (r *run) early(path string, v any, c copies) (any, error) {
	return r.whileEarly(func() (any, error) {
		out, err := r.value(path, v, c)
		if err != nil {
			return nil, err
		}
		return out, r.budget.Made(out)
	})
}

func (r *run) whileEarly(f func() (any, error)) (any, error) {
	before := r.phase
	defer func() { r.phase = before }()
	r.phase = phase{hide: before.hide}
	return f()
}

// ownFunctions reads the functions that the template defines.
func (r *run) ownFunctions() (expression.Functions, error) {
	list, _ := get(r.t.root, "functions").([]any)
	all := expression.Functions{}
	for i, v := range list {
		space, _ := v.(map[string]any)
		namespace, _ := get(space, "namespace").(string)
		members, err := object(space, "members")
		if err != nil || namespace == "" {
			return nil, at(fmt.Sprintf("functions[%d]", i), invalid("it must have a namespace and members"))
		}
		for name, m := range members {
			def, ok := m.(map[string]any)
			if !ok {
				return nil, at(fmt.Sprintf("functions[%d].members.%s", i, name), invalid("it must be an object"))
			}
			full := namespace + "." + name
			all[strings.ToLower(full)] = r.ownFunction(full, def)
		}
	}
	return all, nil
}

// maxCalls bounds how deep functions of the template call each other.
const maxCalls = 20

// ownFunction makes a function that evaluates its output with its arguments as
// parameters.
func (r *run) ownFunction(name string, def map[string]any) expression.Function {
	params, _ := get(def, "parameters").([]any)
	output, _ := get(def, "output").(map[string]any)
	depth := 0
	return expression.Strict(name, len(params), len(params), func(args []any) (any, error) {
		if depth++; depth > maxCalls {
			return nil, invalid("function %s calls itself too often", name)
		}
		defer func() { depth-- }()
		given := newSection("parameter")
		for i, p := range params {
			def, _ := p.(map[string]any)
			param, _ := get(def, "name").(string)
			given.add(param, func() (any, error) { return args[i], nil })
		}
		params, vars := r.params, r.vars
		defer func() { r.params, r.vars = params, vars }()
		r.params, r.vars = given, newSection("variable")
		return r.value("functions "+name, get(output, "value"), copies{})
	})
}
