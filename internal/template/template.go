// Package template owns the templates of deployments: reading them, their
// parameters, variables, loops and outputs, and which resources to deploy in what
// order. It does no I/O: how resources are deployed and read is its caller's
// business (see [Runtime]). The expression language is in package expression.
package template

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template/expression"
)

// Limits of a template.
const (
	MaxText      = 4 << 20 // bytes
	MaxResources = 800
	MaxCopies    = 800
	maxSections  = 256 // parameters, variables and outputs each
	maxLevels    = 64  // of JSON
	steps        = 1_000_000
)

// Template is a template that was read. It does not change and is safe for
// concurrent use.
type Template struct {
	root     map[string]any
	symbolic bool // resources have names by which others refer to them
}

// Parse reads a template in JSON, as leniently as [Relax]. It returns
// problem.Invalid for what is no template.
func Parse(text []byte) (*Template, error) {
	if len(text) > MaxText {
		return nil, problem.New(problem.TooLarge, fmt.Sprintf("a template has at most %d bytes", MaxText))
	}
	strict, err := Relax(text)
	if err != nil {
		return nil, err
	}
	v, err := expression.Decode(strict)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "the template cannot be read", err)
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("a template is an object, not of type %s", expression.TypeName(v))
	}
	return Of(root)
}

// Of makes a template of a decoded one, which must not be changed afterwards.
func Of(root map[string]any) (*Template, error) {
	t := &Template{root: root}
	schema, _ := get(root, "$schema").(string)
	if strings.Contains(schema, "deploymentParameters.json") {
		return nil, invalid("this is a file of parameters, not a template")
	}
	switch get(root, "resources").(type) {
	case nil, []any:
	case map[string]any:
		t.symbolic = true
	default:
		return nil, invalid("resources must be an array or an object")
	}
	for _, section := range []string{"parameters", "variables", "outputs"} {
		v, err := object(root, section)
		if err != nil {
			return nil, err
		}
		if len(v) > maxSections {
			return nil, problem.New(problem.TooLarge, fmt.Sprintf("a template has at most %d %s", maxSections, section))
		}
	}
	return t, nil
}

// target says for which kind of scope a template's schema is.
func (t *Template) target() string {
	schema, _ := get(t.root, "$schema").(string)
	for _, kind := range []string{"subscription", "managementGroup", "tenant"} {
		if strings.Contains(schema, "/"+kind+"DeploymentTemplate.json") {
			return kind
		}
	}
	if strings.Contains(schema, "/deploymentTemplate.json") {
		return "resourceGroup"
	}
	return "" // whichever it is used for
}

// get gives a member whatever case its name is in, nil for none.
func get(of map[string]any, name string) any {
	v, _ := expression.Get(of, name)
	return v
}

// object gives a member that is an object; an empty one if there is none.
func object(of map[string]any, name string) (map[string]any, error) {
	switch v := get(of, name).(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return v, nil
	default:
		return nil, invalid("%s must be an object, not of type %s", name, expression.TypeName(v))
	}
}

func invalid(format string, args ...any) error {
	return problem.New(problem.Invalid, fmt.Sprintf(format, args...))
}

// at says where in the template something is wrong. The kind of the error stays.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return problem.Wrap(problem.KindOf(err), path, err)
}

// Relax makes strict JSON of what clients send: comments, commas before a closing
// bracket, line breaks within strings, and the member name template without
// quotes, which is how az puts a template into its request. It returns
// problem.Invalid if a comment or string has no end.
func Relax(text []byte) ([]byte, error) {
	r := relaxer{in: bytes.TrimPrefix(text, []byte("\ufeff"))}
	for r.at < len(r.in) {
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	return r.out.Bytes(), nil
}

// Object reads a JSON object as templates see it. It returns problem.Invalid for
// what is none.
func Object(text []byte) (map[string]any, error) {
	v, err := expression.Decode(text)
	if err != nil {
		return nil, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("an object is expected, not a value of type %s", expression.TypeName(v))
	}
	return o, nil
}
