package expression

import (
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// eager is a function of evaluated arguments.
type eager func(a args) (any, error)

// args are the arguments of a call.
type args []any

// Builtins gives the functions whose result depends on their arguments alone.
func Builtins() Functions {
	all := Functions{
		"if": ifElse, "and": and, "or": or, "coalesce": coalesce,
		"lambda": makeLambda, "lambdavariables": lambdaVariables,
		"map": mapArray, "filter": filterArray, "reduce": reduceArray, "sort": sortArray, "toobject": toObject,
		"mapvalues": mapValues, "groupby": groupBy,
	}
	for _, group := range []map[string]function{logic(), numbers(), texts(), encodings(), collections(), objects(), dates()} {
		for name, f := range group {
			all[strings.ToLower(name)] = f.strict(name)
		}
	}
	return all
}

// function is an eager function that takes min to max arguments; max -1 is any
// number.
type function struct {
	min, max int
	f        eager
}

// Strict makes a function of one that takes min to max evaluated arguments; max -1
// is any number.
func Strict(name string, least, most int, f func(args []any) (any, error)) Function {
	return function{least, most, func(a args) (any, error) { return f(a) }}.strict(name)
}

func (f function) strict(name string) Function {
	return func(s *Scope, nodes []Node) (any, error) {
		if err := Arity(name, nodes, f.min, f.max); err != nil {
			return nil, err
		}
		a, err := s.all(nodes)
		if err != nil {
			return nil, err
		}
		if err := s.Budget.Made([]any(a)); err != nil { // what it reads takes time too
			return nil, err
		}
		v, err := f.f(a)
		if err != nil {
			return nil, problem.Wrap(problem.KindOf(err), name+"()", err)
		}
		return v, s.Budget.Made(v)
	}
}

// Arity checks the number of arguments of a call.
func Arity(name string, nodes []Node, least, most int) error {
	switch n := len(nodes); {
	case n < least && least == most || most >= 0 && n > most && least == most:
		return invalid("%s() takes %d arguments, not %d", name, least, n)
	case n < least:
		return invalid("%s() takes at least %d arguments, not %d", name, least, n)
	case most >= 0 && n > most:
		return invalid("%s() takes at most %d arguments, not %d", name, most, n)
	}
	return nil
}

func (s *Scope) all(nodes []Node) (args, error) {
	values := make(args, len(nodes))
	for i, n := range nodes {
		v, err := s.Eval(n)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

func (a args) text(i int) (string, error) {
	if s, ok := a[i].(string); ok {
		return s, nil
	}
	return "", invalid("argument %d must be a string, not of type %s", i+1, typeName(a[i]))
}

func (a args) int(i int) (int64, error) {
	switch n := a[i].(type) {
	case int64:
		return n, nil
	case float64:
		if n == float64(int64(n)) {
			return int64(n), nil
		}
	}
	return 0, invalid("argument %d must be an int, not of type %s", i+1, typeName(a[i]))
}

func (a args) array(i int) ([]any, error) {
	if v, ok := a[i].([]any); ok {
		return v, nil
	}
	return nil, invalid("argument %d must be an array, not of type %s", i+1, typeName(a[i]))
}

func (a args) object(i int) (map[string]any, error) {
	if v, ok := a[i].(map[string]any); ok {
		return v, nil
	}
	return nil, invalid("argument %d must be an object, not of type %s", i+1, typeName(a[i]))
}

// texts gives all arguments as text.
func (a args) texts() ([]string, error) {
	list := make([]string, len(a))
	for i, v := range a {
		t, err := Text(v)
		if err != nil {
			return nil, err
		}
		list[i] = t
	}
	return list, nil
}
