package template

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template/expression"
)

// run evaluates one template for one input.
type run struct {
	t      *Template
	in     Input
	budget *expression.Budget
	plan   *Plan
	phase  phase

	builtins  expression.Functions
	functions expression.Functions // of the template itself
	params    *section
	vars      *section
	parsed    map[string]expression.Node
	declared  map[string]declaration
	general   expression.Functions // see own
	index     *index               // nil until the resources are known
}

// phase is what expressions may do at a time.
type phase struct {
	ctx     context.Context
	runtime Runtime // nil while resources cannot be asked
	lenient bool    // leave expressions alone that ask resources or secrets
	hide    bool    // secure parameters have no value
	params  bool    // default values of parameters
}

// errLater is for expressions whose value is known only when resources are there.
var errLater = errors.New("its value is known only while resources are deployed")

// errSecret is for previews that come upon a secure parameter.
var errSecret = errors.New("its value is a secret")

func (t *Template) begin(in Input) (*run, error) {
	if target := t.target(); target != "" {
		switch {
		case target != "resourceGroup" && target != "subscription":
			return nil, problem.New(problem.Unsupported, "templates for a "+target+" are not supported").WithNext("deploy to a resource group or subscription")
		case target == "subscription" && in.Scope.Group != nil:
			return nil, invalid("the template is for a subscription, as its $schema says, not for a resource group")
		case target == "resourceGroup" && in.Scope.Group == nil:
			return nil, invalid("the template is for a resource group, as its $schema says, not for a subscription")
		}
	}
	r := &run{
		t: t, in: in, budget: expression.NewBudget(steps), builtins: expression.Builtins(), parsed: map[string]expression.Node{},
		declared: map[string]declaration{},
	}
	var err error
	if r.functions, err = r.ownFunctions(); err != nil {
		return nil, err
	}
	if err := r.declare(); err != nil {
		return nil, err
	}
	r.vars, err = r.variables()
	return r, err
}

// section is a part of the template whose members are evaluated when they are
// needed, once.
type section struct {
	what    string
	eval    map[string]func() (any, error)
	spelled map[string]string
	done    map[string]any
	busy    map[string]bool
}

func newSection(what string) *section {
	return &section{what, map[string]func() (any, error){}, map[string]string{}, map[string]any{}, map[string]bool{}}
}

func (s *section) add(name string, eval func() (any, error)) {
	s.eval[strings.ToLower(name)] = eval
	s.spelled[strings.ToLower(name)] = name
}

func (s *section) get(name string) (any, error) {
	key := strings.ToLower(name)
	if v, ok := s.done[key]; ok {
		return v, nil
	}
	eval := s.eval[key]
	if eval == nil {
		have := slices.Sorted(maps.Values(s.spelled))
		if len(have) > 30 {
			have = append(have[:30], "…")
		}
		return nil, invalid("the template has no %s %q; it has: %s", s.what, name, strings.Join(have, ", "))
	}
	if s.busy[key] {
		return nil, invalid("%s %q refers to itself", s.what, name)
	}
	s.busy[key] = true
	defer delete(s.busy, key)
	v, err := eval()
	if err == nil {
		s.done[key] = v
	}
	return v, err
}

// copies are the loops that something is within: the turn of each by its name in
// lower case, and the one that copyIndex() without a name means.
type copies struct {
	turns   map[string]int64
	current string // "" for none
}

func (c copies) with(name string, turn int, current bool) copies {
	next := copies{turns: maps.Clone(c.turns), current: c.current}
	if next.turns == nil {
		next.turns = map[string]int64{}
	}
	key := strings.ToLower(name)
	next.turns[key] = int64(turn)
	if current || next.current == "" {
		next.current = key
	}
	return next
}

// value evaluates everything within a value of the template.
func (r *run) value(path string, v any, c copies) (any, error) {
	if err := r.budget.Spend(1); err != nil {
		return nil, at(path, err)
	}
	switch v := v.(type) {
	case string:
		return r.text(path, v, c)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			e, err := r.value(fmt.Sprintf("%s[%d]", path, i), v[i], c)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	case map[string]any:
		return r.members(path, v, c)
	}
	return v, nil
}

// members evaluates an object, in which "copy" stands for members made in a loop.
func (r *run) members(path string, v map[string]any, c copies) (any, error) {
	out := make(map[string]any, len(v))
	for name, e := range v {
		if loops, ok := e.([]any); ok && name == "copy" && areLoops(loops) {
			if err := r.propertyCopies(path+".copy", loops, c, out); err != nil {
				return nil, err
			}
			continue
		}
		key, err := r.text(path, name, c)
		if err != nil {
			return nil, err
		}
		text, ok := key.(string)
		if !ok {
			return nil, at(path, invalid("the name of a member must be a string"))
		}
		if out[text], err = r.value(path+"."+name, e, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func areLoops(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool {
		o, ok := v.(map[string]any)
		return !ok || get(o, "name") == nil || get(o, "count") == nil
	})
}

// propertyCopies makes members that are arrays, an element for each turn of a loop.
func (r *run) propertyCopies(path string, loops []any, c copies, into map[string]any) error {
	for i, l := range loops {
		def := l.(map[string]any) //nolint:errcheck // areLoops looked
		path := fmt.Sprintf("%s[%d]", path, i)
		name, count, err := r.loop(path, def, c)
		if err != nil {
			return err
		}
		list := make([]any, count)
		for turn := range list {
			if list[turn], err = r.value(path+".input", get(def, "input"), c.with(name, turn, false)); err != nil {
				return err
			}
		}
		into[name] = list
	}
	return nil
}

// loop reads name and count of a loop.
func (r *run) loop(path string, def map[string]any, c copies) (string, int, error) {
	name, err := r.textOf(path+".name", get(def, "name"), c)
	if err != nil {
		return "", 0, err
	}
	v, err := r.value(path+".count", get(def, "count"), c)
	if err != nil {
		return "", 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > MaxCopies {
		return "", 0, at(path+".count", invalid("it must be a number from 0 to %d", MaxCopies))
	}
	return name, int(n), nil
}

// text evaluates a string.
func (r *run) text(path, text string, c copies) (any, error) {
	inner, is := expression.Cut(text)
	if !is {
		return expression.Unescape(text), nil
	}
	v, err := r.evaluate(inner, c)
	if err == nil {
		return v, nil
	}
	if r.phase.lenient && (errors.Is(err, errLater) || errors.Is(err, errSecret)) {
		return text, nil
	}
	return nil, at(fmt.Sprintf("%s: expression %q", path, clip(text)), err)
}

func (r *run) evaluate(inner string, c copies) (any, error) {
	n, err := r.parse(inner)
	if err != nil {
		return nil, err
	}
	v, err := r.scope(c).Eval(n)
	if err == nil && expression.TypeName(v) == "lambda" {
		return nil, invalid("a lambda is no value")
	}
	return v, err
}

// scope gives what expressions of a place are evaluated in.
func (r *run) scope(c copies) *expression.Scope {
	return &expression.Scope{Budget: r.budget, Functions: r.within(c), Other: func(name string) expression.Function {
		if strings.HasPrefix(strings.ToLower(name), "list") && !strings.Contains(name, ".") {
			return r.list(name)
		}
		return nil
	}}
}

func (r *run) parse(inner string) (expression.Node, error) {
	if n := r.parsed[inner]; n != nil {
		return n, nil
	}
	if err := r.budget.Spend(1 + len(inner)/16); err != nil {
		return nil, err
	}
	n, err := expression.Parse(inner)
	if err == nil {
		r.parsed[inner] = n
	}
	return n, err
}

// textOf evaluates what must be a string.
func (r *run) textOf(path string, v any, c copies) (string, error) {
	v, err := r.value(path, v, c)
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok || text == "" {
		return "", at(path, invalid("it must be a string that is not empty"))
	}
	return text, nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
