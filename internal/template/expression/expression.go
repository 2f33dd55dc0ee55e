// Package expression owns the expression language of templates: reading
// "[concat('a', parameters('b'))]", evaluating it, and the functions whose result
// depends on their arguments alone. What parameters, resources and deployments are
// it does not know; a [Scope] brings functions for those.
//
// Values are nil, bool, int64, float64, string, []any and map[string]any, never
// changed once made. Nothing an expression says can take longer or more memory
// than its [Budget].
package expression

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Function evaluates a call. Its arguments are not evaluated yet, so that it can
// leave some of them out.
type Function func(s *Scope, args []Node) (any, error)

// Functions are functions by name in lower case.
type Functions map[string]Function

// Scope is what an expression is evaluated in. It is not safe for concurrent use.
type Scope struct {
	Budget    *Budget
	Functions []Functions // the first that has a function counts
	// Other gives functions that are known by their form, such as listKeys; nil, or
	// a nil function, for there is none.
	Other  func(name string) Function
	lambda map[string]any
	depth  int
}

// Node is a part of an expression.
type Node interface{ node() }

// Literal is a string or number.
type Literal struct{ Value any }

// Call is a call of a function.
type Call struct {
	Name string // as written; with a dot for functions of the template itself
	Args []Node
}

// Member is a value's member or element.
type Member struct {
	Of   Node
	Name Node
}

func (Literal) node() {}
func (Call) node()    {}
func (Member) node()  {}

// Cut gives the expression in a template's string, without its brackets, and
// whether there is one.
func Cut(text string) (string, bool) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' || text[1] == '[' {
		return "", false
	}
	return text[1 : len(text)-1], true
}

// Unescape gives the text that a template's string without an expression stands
// for: a doubled bracket is one.
func Unescape(text string) string {
	if strings.HasPrefix(text, "[[") && strings.HasSuffix(text, "]") {
		return text[1:]
	}
	return text
}

// Escape is the reverse of [Unescape]: the string of a template that stands for
// text.
func Escape(text string) string {
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		return "[" + text
	}
	return text
}

// Eval gives the value of a node. It returns problem.Invalid for what the language
// does not allow, problem.TooLarge when the budget is spent, and what functions of
// the scope fail with.
func (s *Scope) Eval(n Node) (any, error) {
	if err := s.Budget.Spend(1); err != nil {
		return nil, err
	}
	if s.depth++; s.depth > maxDepth {
		return nil, problem.New(problem.TooLarge, "expressions are nested too deeply")
	}
	defer func() { s.depth-- }()
	switch n := n.(type) {
	case Literal:
		return n.Value, nil
	case Call:
		return s.call(n)
	case Member:
		return s.member(n)
	}
	return nil, invalid("there is no expression")
}

func (s *Scope) call(c Call) (any, error) {
	name := strings.ToLower(c.Name)
	for _, f := range s.Functions {
		if f[name] != nil {
			return f[name](s, c.Args)
		}
	}
	if s.Other != nil {
		if f := s.Other(c.Name); f != nil {
			return f(s, c.Args)
		}
	}
	return nil, invalid("there is no function %q", c.Name)
}

func (s *Scope) member(m Member) (any, error) {
	of, err := s.Eval(m.Of)
	if err != nil {
		return nil, err
	}
	name, err := s.Eval(m.Name)
	if err != nil {
		return nil, err
	}
	if o, ok := of.(map[string]any); ok {
		if err := s.Budget.Spend(len(o) / 16); err != nil {
			return nil, err
		}
		if text, ok := m.Name.(Literal); ok { // computed names can be secrets
			if _, has := Get(o, fmt.Sprint(text.Value)); !has {
				return nil, invalid("the object has no member %q; it has: %s", clip(fmt.Sprint(text.Value)), names(o))
			}
		}
	}
	return Index(of, name)
}

// Index gives a member of an object, whose name may have any case, or an element
// of an array.
func Index(of, name any) (any, error) {
	switch of := of.(type) {
	case map[string]any:
		text, ok := name.(string)
		if !ok {
			return nil, invalid("an object's members have names, not %ss", typeName(name))
		}
		if v, ok := Get(of, text); ok {
			return v, nil
		}
		return nil, invalid("the object has no such member; it has: %s", names(of))
	case []any:
		n, ok := name.(int64)
		if !ok {
			return nil, invalid("an array's elements have numbers, not %ss", typeName(name))
		}
		if n < 0 || n >= int64(len(of)) {
			return nil, invalid("the array has %d elements, so there is no element %d", len(of), n)
		}
		return of[n], nil
	}
	return nil, invalid("a value of type %s has no members or elements", typeName(of))
}

// Get gives a member of an object whatever case its name is in.
func Get(of map[string]any, name string) (any, bool) {
	if v, ok := of[name]; ok {
		return v, true
	}
	for key, v := range of {
		if strings.EqualFold(key, name) {
			return v, true
		}
	}
	return nil, false
}

func invalid(format string, args ...any) error {
	return problem.New(problem.Invalid, fmt.Sprintf(format, args...))
}
