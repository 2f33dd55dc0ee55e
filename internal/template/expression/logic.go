package expression

import (
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// ifElse evaluates one of its branches only.
func ifElse(s *Scope, nodes []Node) (any, error) {
	if err := Arity("if", nodes, 3, 3); err != nil {
		return nil, err
	}
	yes, err := s.truth("if", nodes[0])
	if err != nil {
		return nil, err
	}
	if yes {
		return s.Eval(nodes[1])
	}
	return s.Eval(nodes[2])
}

func and(s *Scope, nodes []Node) (any, error) { return s.until("and", false, nodes) }

func or(s *Scope, nodes []Node) (any, error) { return s.until("or", true, nodes) }

// until evaluates arguments up to the first that is stop.
func (s *Scope) until(name string, stop bool, nodes []Node) (any, error) {
	if err := Arity(name, nodes, 2, -1); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		v, err := s.truth(name, n)
		if err != nil || v == stop {
			return v, err
		}
	}
	return !stop, nil
}

func (s *Scope) truth(name string, n Node) (bool, error) {
	v, err := s.Eval(n)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, invalid("%s() asks for a bool, not a value of type %s", name, typeName(v))
	}
	return b, nil
}

func coalesce(s *Scope, nodes []Node) (any, error) {
	for _, n := range nodes {
		if v, err := s.Eval(n); err != nil || v != nil {
			return v, err
		}
	}
	return nil, nil
}

func logic() map[string]function {
	compare := func(holds func(c int) bool) function {
		return function{2, 2, func(a args) (any, error) {
			c, err := order(a[0], a[1])
			return holds(c), err
		}}
	}
	return map[string]function{
		"true":            {0, 0, func(args) (any, error) { return true, nil }},
		"false":           {0, 0, func(args) (any, error) { return false, nil }},
		"null":            {0, 0, func(args) (any, error) { return nil, nil }},
		"not":             {1, 1, not},
		"bool":            {1, 1, toBool},
		"equals":          {2, 2, func(a args) (any, error) { return Equal(a[0], a[1]), nil }},
		"less":            compare(func(c int) bool { return c < 0 }),
		"lessOrEquals":    compare(func(c int) bool { return c <= 0 }),
		"greater":         compare(func(c int) bool { return c > 0 }),
		"greaterOrEquals": compare(func(c int) bool { return c >= 0 }),
		"fail":            {1, 1, fail},
	}
}

func fail(a args) (any, error) {
	why, err := a.text(0)
	if err != nil {
		return nil, err
	}
	return nil, problem.New(problem.Invalid, "the template says: "+why)
}

func not(a args) (any, error) {
	b, ok := a[0].(bool)
	if !ok {
		return nil, invalid("argument 1 must be a bool, not of type %s", typeName(a[0]))
	}
	return !b, nil
}

func toBool(a args) (any, error) {
	switch v := a[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		if b, err := strconv.ParseBool(strings.ToLower(v)); err == nil {
			return b, nil
		}
	}
	return nil, invalid("argument 1 is neither true nor false")
}

// order compares numbers or strings.
func order(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	}
	x, err := number(a)
	if err != nil {
		return 0, err
	}
	y, err := number(b)
	switch {
	case err != nil:
		return 0, err
	case x < y:
		return -1, nil
	case x > y:
		return 1, nil
	}
	return 0, nil
}

func number(v any) (float64, error) {
	switch n := v.(type) {
	case int64:
		return float64(n), nil
	case float64:
		return n, nil
	}
	return 0, invalid("a value of type %s is no number", typeName(v))
}
