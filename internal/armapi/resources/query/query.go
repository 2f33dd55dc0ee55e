// Package query owns the two small languages in which clients choose resources:
// the $filter of lists, and the part of Resource Graph's language that command
// line tools send. It turns texts into predicates over named fields and says
// which part of a text it does not support. It does not know what a resource is,
// which fields there are beyond their names, or who may see what.
package query

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of a text.
const (
	maxText  = 8 << 10 // bytes
	maxDepth = 32      // parentheses within one another
)

// Fields gives the value of a field of a resource; "" when it has none. Names are
// as the text spells them.
type Fields func(name string) string

// Predicate chooses resources.
type Predicate func(Fields) bool

func everything(Fields) bool { return true }

// parser reads conditions that are joined by and, or and not.
type parser struct {
	tokens  []token
	depth   int
	compare func(*parser) (Predicate, error) // one condition of the language
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// word takes the next token if it is the given word or symbol.
func (p *parser) word(text string) bool {
	if t := p.peek(); t.kind == literal || !strings.EqualFold(t.text, text) || t.kind == end {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(text string) error {
	if !p.word(text) {
		return unsupported(p.peek(), "where '"+text+"' is expected")
	}
	return nil
}

func (p *parser) value() (string, error) {
	t := p.next()
	if t.kind != literal {
		return "", unsupported(t, "where a text in quotes is expected")
	}
	return t.text, nil
}

func (p *parser) or() (Predicate, error) {
	left, err := p.and()
	for err == nil && p.word("or") {
		var right Predicate
		a := left
		right, err = p.and()
		left = func(f Fields) bool { return a(f) || right(f) }
	}
	return left, err
}

func (p *parser) and() (Predicate, error) {
	left, err := p.not()
	for err == nil && p.word("and") {
		var right Predicate
		a := left
		right, err = p.not()
		left = func(f Fields) bool { return a(f) && right(f) }
	}
	return left, err
}

func (p *parser) not() (Predicate, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("the query nests more than %d levels", maxDepth))
	}
	defer func() { p.depth-- }()
	switch {
	case p.word("not"):
		inner, err := p.not()
		return func(f Fields) bool { return !inner(f) }, err
	case p.word("("):
		inner, err := p.or()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	}
	return p.compare(p)
}

// unsupported gives the error for a token that has no meaning where it stands.
func unsupported(t token, where string) error {
	if t.kind == end {
		return problem.New(problem.Invalid, "the query ends "+where)
	}
	return problem.New(problem.Invalid, fmt.Sprintf("'%s' at position %d is not supported %s", clip(t.text), t.at+1, where))
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

func oneOf(name string, known []string) (string, bool) {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k, true
		}
	}
	return "", false
}
