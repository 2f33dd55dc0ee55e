package expression

import (
	"maps"
	"slices"
	"strings"
)

// lambda is a function that a template passes to another.
type lambda struct {
	params []string
	body   Node
	outer  map[string]any
}

// makeLambda reads lambda('a', 'b', body).
func makeLambda(s *Scope, nodes []Node) (any, error) {
	if err := Arity("lambda", nodes, 1, 4); err != nil {
		return nil, err
	}
	last := len(nodes) - 1
	l := &lambda{body: nodes[last], outer: s.lambda}
	for _, n := range nodes[:last] {
		name, ok := n.(Literal)
		text, isText := name.Value.(string)
		if !ok || !isText {
			return nil, invalid("lambda() takes names in quotes before its body")
		}
		l.params = append(l.params, strings.ToLower(text))
	}
	return l, nil
}

func lambdaVariables(s *Scope, nodes []Node) (any, error) {
	if err := Arity("lambdaVariables", nodes, 1, 1); err != nil {
		return nil, err
	}
	a, err := s.all(nodes)
	if err != nil {
		return nil, err
	}
	name, err := a.text(0)
	if err != nil {
		return nil, err
	}
	v, ok := s.lambda[strings.ToLower(name)]
	if !ok {
		return nil, invalid("there is no lambda variable %q here", clip(name))
	}
	return v, nil
}

// apply calls a lambda with as many of the values as it takes.
func (s *Scope) apply(l *lambda, values ...any) (any, error) {
	before := s.lambda
	defer func() { s.lambda = before }()
	s.lambda = maps.Clone(l.outer)
	if s.lambda == nil {
		s.lambda = map[string]any{}
	}
	if len(l.params) > len(values) {
		return nil, invalid("the lambda takes %d arguments, more than the %d there are", len(l.params), len(values))
	}
	for i, name := range l.params {
		s.lambda[name] = values[i]
	}
	v, err := s.Eval(l.body)
	if err != nil {
		return nil, err
	}
	if _, is := v.(*lambda); is {
		return nil, invalid("a lambda cannot give a lambda")
	}
	return v, s.Budget.Spend(1)
}

// higher reads the arguments of a function of an array and lambdas.
func (s *Scope) higher(name string, nodes []Node, least, most int) ([]any, args, error) {
	if err := Arity(name, nodes, least, most); err != nil {
		return nil, nil, err
	}
	a, err := s.all(nodes)
	if err != nil {
		return nil, nil, err
	}
	list, err := a.array(0)
	if err != nil {
		return nil, nil, invalid("%s(): %s", name, err)
	}
	return list, a, nil
}

func (a args) lambda(i int) (*lambda, error) {
	if i < len(a) {
		if l, ok := a[i].(*lambda); ok {
			return l, nil
		}
	}
	return nil, invalid("argument %d must be a lambda", i+1)
}

func mapArray(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("map", nodes, 2, 2)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(list))
	for i, v := range list {
		if out[i], err = s.apply(l, v, int64(i)); err != nil {
			return nil, err
		}
	}
	return out, s.Budget.Made(out)
}

func filterArray(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("filter", nodes, 2, 2)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for i, v := range list {
		keep, err := s.apply(l, v, int64(i))
		if err != nil {
			return nil, err
		}
		if keep == true {
			out = append(out, v)
		}
	}
	return out, nil
}

func reduceArray(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("reduce", nodes, 3, 3)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(2)
	if err != nil {
		return nil, err
	}
	sum := a[1]
	for i, v := range list {
		if sum, err = s.apply(l, sum, v, int64(i)); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// sortArray sorts by a lambda that says whether its first argument comes first.
func sortArray(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("sort", nodes, 2, 2)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	before := func(x, y any) bool {
		if err != nil {
			return false
		}
		var v any
		v, err = s.apply(l, x, y)
		return v == true
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(x, y any) int {
		switch {
		case before(x, y):
			if before(y, x) {
				return 0
			}
			return -1
		case before(y, x):
			return 1
		}
		return 0
	})
	return out, err
}

// keyed gives the key that a lambda has for a value.
func (s *Scope) keyed(l *lambda, v any, i int) (string, error) {
	key, err := s.apply(l, v, int64(i))
	if err != nil {
		return "", err
	}
	text, ok := key.(string)
	if !ok {
		return "", invalid("a key must be a string, not of type %s", typeName(key))
	}
	return text, nil
}

func toObject(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("toObject", nodes, 2, 3)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for i, v := range list {
		key, err := s.keyed(l, v, i)
		if err != nil {
			return nil, err
		}
		if len(a) == 3 {
			value, err := a.lambda(2)
			if err != nil {
				return nil, err
			}
			if v, err = s.apply(value, v, int64(i)); err != nil {
				return nil, err
			}
		}
		out[key] = v
	}
	return out, s.Budget.Made(out)
}

func groupBy(s *Scope, nodes []Node) (any, error) {
	list, a, err := s.higher("groupBy", nodes, 2, 2)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for i, v := range list {
		key, err := s.keyed(l, v, i)
		if err != nil {
			return nil, err
		}
		group, _ := out[key].([]any)
		out[key] = append(group, v)
	}
	return out, s.Budget.Made(out)
}

func mapValues(s *Scope, nodes []Node) (any, error) {
	if err := Arity("mapValues", nodes, 2, 2); err != nil {
		return nil, err
	}
	a, err := s.all(nodes)
	if err != nil {
		return nil, err
	}
	o, err := a.object(0)
	if err != nil {
		return nil, err
	}
	l, err := a.lambda(1)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any, len(o))
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if out[key], err = s.apply(l, o[key]); err != nil {
			return nil, err
		}
	}
	return out, s.Budget.Made(out)
}
