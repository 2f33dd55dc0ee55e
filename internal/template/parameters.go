package template

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template/expression"
)

// declaration is a parameter that the template has.
type declaration struct {
	name     string
	typ      string // in lower case, "secure" left out
	secure   bool
	nullable bool
	def      map[string]any
}

// shownTypes are types as deployments show them.
var shownTypes = map[string]string{
	"string": "String", "int": "Int", "bool": "Bool", "object": "Object", "array": "Array", "float": "Float",
}

func (d declaration) shown() string {
	if d.secure {
		return "Secure" + shownTypes[d.typ]
	}
	return shownTypes[d.typ]
}

// declare reads the parameters of the template.
func (r *run) declare() error {
	all, err := object(r.t.root, "parameters")
	if err != nil {
		return err
	}
	r.params = newSection("parameter")
	for name, v := range all {
		def, ok := v.(map[string]any)
		if !ok {
			return at("parameters."+name, invalid("it must be an object"))
		}
		d, err := r.declaration("parameters."+name, def)
		if err != nil {
			return err
		}
		d.name = name
		r.declared[strings.ToLower(name)] = d
		r.params.add(name, func() (any, error) { return r.parameter(d) })
	}
	return nil
}

// declaration reads type and nullability of a parameter or output.
func (r *run) declaration(path string, def map[string]any) (declaration, error) {
	for range 10 {
		ref, ok := get(def, "$ref").(string)
		if !ok {
			break
		}
		definitions, _ := get(r.t.root, "definitions").(map[string]any)
		target, ok := get(definitions, strings.TrimPrefix(ref, "#/definitions/")).(map[string]any)
		if !ok {
			return declaration{}, at(path, invalid("$ref %q names no definition of the template", clip(ref)))
		}
		merged := maps.Clone(target)
		for name, v := range def {
			if name != "$ref" {
				merged[name] = v
			}
		}
		def = merged
	}
	typ, _ := get(def, "type").(string)
	plain := strings.ToLower(typ)
	kind := strings.TrimPrefix(plain, "secure")
	nullable, _ := get(def, "nullable").(bool)
	if shownTypes[kind] == "" || plain != kind && kind != "string" && kind != "object" {
		return declaration{}, at(path, invalid("type must be string, securestring, int, bool, object, secureObject or array, not %q", clip(typ)))
	}
	return declaration{typ: kind, secure: plain != kind, nullable: nullable, def: def}, nil
}

// checkParameters evaluates all parameters and refuses ones that the template
// does not have.
func (r *run) checkParameters() error {
	for name := range r.in.Parameters {
		if _, ok := r.declared[strings.ToLower(name)]; !ok {
			have := make([]string, 0, len(r.declared))
			for _, d := range r.declared {
				have = append(have, d.name)
			}
			slices.Sort(have)
			return invalid("the template has no parameter %q; it has: %s", clip(name), clip(strings.Join(have, ", ")))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.declared)) {
		if _, err := r.params.get(key); err != nil {
			return err
		}
	}
	return nil
}

// parameter gives the value of a parameter: that of the request, or the default.
func (r *run) parameter(d declaration) (any, error) {
	path := "parameters." + d.name
	v, given, err := r.given(d)
	if err != nil {
		return nil, at(path, err)
	}
	if !given {
		def, has := expression.Get(d.def, "defaultValue")
		if !has && !d.nullable {
			return nil, at(path, invalid("a value is required"))
		}
		before := r.phase
		r.phase = phase{params: true}
		v, err = r.value(path+".defaultValue", def, copies{})
		r.phase = before
		if err != nil {
			return nil, err
		}
	}
	if v == nil && (d.nullable || !given) {
		return nil, nil
	}
	if err := d.check(v); err != nil {
		return nil, at(path, err)
	}
	return v, r.budget.Made(v)
}

// given gives the value that the request has for a parameter.
func (r *run) given(d declaration) (any, bool, error) {
	entry, ok := expression.Get(r.in.Parameters, d.name)
	if !ok || entry == nil {
		return nil, false, nil
	}
	o, ok := entry.(map[string]any)
	if !ok {
		return nil, false, invalid(`it must be given as {"value": …}`)
	}
	if _, ok := expression.Get(o, "reference"); ok {
		return nil, false, problem.New(problem.Unsupported, "references to a key vault are not supported").
			WithNext("read the secret on the client and pass it as the value of a secure parameter")
	}
	v, ok := expression.Get(o, "value")
	if !ok || v == nil {
		return nil, false, nil
	}
	return v, true, nil
}

// check checks a value against what the template says about the parameter. Values
// are not shown: they can be secrets.
func (d declaration) check(v any) error {
	got := expression.TypeName(v)
	if f, isFloat := v.(float64); isFloat && d.typ == "int" && f == float64(int64(f)) {
		got = "int"
	}
	if got != d.typ && !(d.typ == "float" && got == "int") {
		return invalid("it must be of type %s, not %s", d.typ, got)
	}
	if allowed, ok := get(d.def, "allowedValues").([]any); ok {
		if err := d.checkAllowed(v, allowed); err != nil {
			return err
		}
	}
	return d.checkBounds(v)
}

func (d declaration) checkAllowed(v any, allowed []any) error {
	in := func(e any) bool {
		return slices.ContainsFunc(allowed, func(a any) bool {
			as, isText := a.(string)
			es, too := e.(string)
			return isText && too && strings.EqualFold(as, es) || expression.Equal(a, e)
		})
	}
	if in(v) {
		return nil
	}
	if list, ok := v.([]any); ok && !slices.ContainsFunc(list, func(e any) bool { return !in(e) }) {
		return nil
	}
	text, _ := expression.Encode(allowed) // it was decoded from JSON
	return invalid("it is none of the allowed values: %s", clip(text))
}

func (d declaration) checkBounds(v any) error {
	var n int64
	least, most, what := "minLength", "maxLength", "its length"
	switch v := v.(type) {
	case int64:
		n, least, most, what = v, "minValue", "maxValue", "it"
	case string:
		n = int64(utf8.RuneCountInString(v))
	case []any:
		n = int64(len(v))
	default:
		return nil
	}
	if bound, ok := get(d.def, least).(int64); ok && n < bound {
		return invalid("%s must be at least %d", what, bound)
	}
	if bound, ok := get(d.def, most).(int64); ok && n > bound {
		return invalid("%s must be at most %d", what, bound)
	}
	return nil
}

func (r *run) shownParameters() map[string]any {
	out := map[string]any{}
	for _, d := range r.declared {
		shown := map[string]any{"type": d.shown()}
		if v, err := r.params.get(d.name); err == nil && !d.secure {
			shown["value"] = v
		}
		out[d.name] = shown
	}
	return out
}

// outputs evaluates the outputs of the template.
func (r *run) outputs() (map[string]any, error) {
	all, err := object(r.t.root, "outputs")
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		shown, err := r.output("outputs."+name, all[name])
		if err != nil {
			return nil, err
		}
		if shown != nil {
			out[name] = shown
		}
	}
	return out, r.budget.Made(out)
}

// output gives an output, nil for one whose condition is false.
func (r *run) output(path string, v any) (map[string]any, error) {
	def, ok := v.(map[string]any)
	if !ok {
		return nil, at(path, invalid("it must be an object"))
	}
	if yes, err := r.condition(path, def, copies{}); err != nil || !yes {
		return nil, err
	}
	d, err := r.declaration(path, def)
	if err != nil {
		return nil, err
	}
	value, err := r.outputValue(path, def)
	if err != nil {
		return nil, err
	}
	if value == nil && d.nullable {
		return nil, nil
	}
	if err := (declaration{typ: d.typ}).check(value); err != nil {
		return nil, at(path, err)
	}
	shown := map[string]any{"type": d.shown()}
	if !d.secure {
		shown["value"] = value
	}
	return shown, nil
}

func (r *run) outputValue(path string, def map[string]any) (any, error) {
	loop, ok := get(def, "copy").(map[string]any)
	if !ok {
		return r.value(path+".value", get(def, "value"), copies{})
	}
	path += ".copy"
	loop = maps.Clone(loop)
	loop["name"] = "output"
	_, count, err := r.loop(path, loop, copies{})
	if err != nil {
		return nil, err
	}
	list := make([]any, count)
	for turn := range list {
		if list[turn], err = r.value(path+".input", get(loop, "input"), copies{}.with("output", turn, true)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// condition evaluates a condition; there being none is true.
func (r *run) condition(path string, def map[string]any, c copies) (bool, error) {
	v, ok := expression.Get(def, "condition")
	if !ok {
		return true, nil
	}
	v, err := r.value(path+".condition", v, c)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") {
			return strings.EqualFold(v, "true"), nil
		}
	}
	return false, at(path+".condition", invalid("it must be true or false"))
}
