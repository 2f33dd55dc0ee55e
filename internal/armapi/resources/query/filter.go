package query

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Names of the fields that stand for one tag of a resource.
const (
	TagName  = "tagName"
	TagValue = "tagValue"
)

// Filter is a parsed $filter.
type Filter struct {
	match Predicate
	tags  bool
}

// ParseFilter reads a $filter over the given fields: eq and ne, substringof and
// startswith, joined by and, or, not and parentheses. Values and field names are
// compared without regard to case. An empty text chooses everything. It returns
// problem.Invalid that names what is not supported.
func ParseFilter(text string, fields ...string) (Filter, error) {
	f := Filter{match: everything}
	tokens, err := lex(text, true)
	if err != nil || len(tokens) == 0 {
		return f, err
	}
	p := &parser{tokens: tokens, compare: func(p *parser) (Predicate, error) { return f.condition(p, fields) }}
	if f.match, err = p.or(); err != nil {
		return Filter{}, err
	}
	if t := p.peek(); t.kind != end {
		return Filter{}, unsupported(t, "after a condition")
	}
	return f, nil
}

// Match reports whether a resource is chosen. Conditions on a tag's name and value
// hold when one tag fulfils them together.
func (f Filter) Match(fields Fields, tags map[string]string) bool {
	if !f.tags {
		return f.match(fields)
	}
	for k, v := range tags {
		if f.match(func(field string) string {
			switch field {
			case TagName:
				return k
			case TagValue:
				return v
			}
			return fields(field)
		}) {
			return true
		}
	}
	return len(tags) == 0 && f.match(fields)
}

func (f *Filter) condition(p *parser, fields []string) (Predicate, error) {
	t := p.next()
	if t.kind != name {
		return nil, unsupported(t, "where a condition is expected")
	}
	switch strings.ToLower(t.text) {
	case "substringof":
		return f.function(p, fields, true, strings.Contains)
	case "startswith":
		return f.function(p, fields, false, strings.HasPrefix)
	}
	field, err := f.field(t, fields)
	if err != nil {
		return nil, err
	}
	op := p.next()
	equal := strings.EqualFold(op.text, "eq")
	if op.kind != name || !equal && !strings.EqualFold(op.text, "ne") {
		return nil, unsupported(op, "as an operator; eq and ne are")
	}
	value, err := p.value()
	return func(get Fields) bool { return strings.EqualFold(get(field), value) == equal }, err
}

// function reads the arguments of a function: text and field, in this order when
// textFirst.
func (f *Filter) function(p *parser, fields []string, textFirst bool, test func(s, part string) bool) (Predicate, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	first, comma, second := p.next(), p.expect(","), p.next()
	if comma != nil {
		return nil, comma
	}
	if textFirst {
		first, second = second, first
	}
	field, err := f.field(first, fields)
	if err != nil {
		return nil, err
	}
	if second.kind != literal {
		return nil, unsupported(second, "where a text in quotes is expected")
	}
	part := strings.ToLower(second.text)
	return func(get Fields) bool { return test(strings.ToLower(get(field)), part) }, p.expect(")")
}

func (f *Filter) field(t token, fields []string) (string, error) {
	field, known := oneOf(t.text, fields)
	if t.kind != name || !known {
		return "", problem.New(problem.Invalid, fmt.Sprintf("the filter's '%s' at position %d is not supported; these fields are: %s",
			clip(t.text), t.at+1, strings.Join(fields, ", ")))
	}
	f.tags = f.tags || field == TagName || field == TagValue
	return field, nil
}
