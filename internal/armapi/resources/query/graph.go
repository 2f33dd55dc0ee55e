package query

import (
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Graph is a parsed Resource Graph query.
type Graph struct {
	Where   Predicate
	Columns []Column // nil is all
	Limit   int      // -1 is none
	// CaseMatters has the fields, in lower case, that are compared with regard to
	// case.
	CaseMatters map[string]bool
}

// Column is a column of a result.
type Column struct{ Name, Field string }

// operators compare a field with a text; the bool says what they are to give.
var operators = map[string]struct {
	test func(value, text string) bool
	want bool
}{
	"==":         {func(v, t string) bool { return v == t }, true},
	"!=":         {func(v, t string) bool { return v == t }, false},
	"=~":         {strings.EqualFold, true},
	"!~":         {strings.EqualFold, false},
	"contains":   {foldContains, true},
	"startswith": {func(v, t string) bool { return strings.HasPrefix(strings.ToLower(v), strings.ToLower(t)) }, true},
	"endswith":   {func(v, t string) bool { return strings.HasSuffix(strings.ToLower(v), strings.ToLower(t)) }, true},
}

func foldContains(v, t string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(t)) }

// ParseGraph reads a query: an optional table "Resources", then where, project,
// limit and take, divided by bars. known reports whether there is a field. It
// returns problem.Invalid that names what is not supported.
func ParseGraph(text string, known func(field string) bool) (Graph, error) {
	g := Graph{Where: everything, Limit: -1, CaseMatters: map[string]bool{}}
	tokens, err := lex(text, false)
	if err != nil {
		return g, err
	}
	p := &parser{tokens: tokens, compare: func(p *parser) (Predicate, error) { return g.condition(p, known) }}
	if p.word("resources") {
		if p.peek().kind == end {
			return g, nil
		}
		if err := p.expect("|"); err != nil {
			return g, err
		}
	}
	for {
		if err := g.stage(p, known); err != nil {
			return g, err
		}
		if p.peek().kind == end {
			return g, nil
		}
		if err := p.expect("|"); err != nil {
			return g, err
		}
	}
}

// stage reads one step of the pipeline.
func (g *Graph) stage(p *parser, known func(string) bool) error {
	t := p.next()
	if t.kind == end {
		return unsupported(t, "where a step is expected")
	}
	step := strings.ToLower(t.text)
	if t.kind != name {
		step = ""
	}
	switch step {
	case "where":
		if g.Columns != nil || g.Limit >= 0 {
			return unsupported(t, "after project or limit")
		}
		before := g.Where
		where, err := p.or()
		g.Where = func(f Fields) bool { return before(f) && where(f) }
		return err
	case "project":
		if g.Columns != nil {
			return unsupported(t, "a second time")
		}
		return g.project(p, known)
	case "limit", "take":
		n, err := strconv.Atoi(p.peek().text)
		if p.peek().kind != number || err != nil {
			return problem.New(problem.Invalid, "after '"+clip(t.text)+"' comes a number")
		}
		p.next()
		if g.Limit < 0 || n < g.Limit {
			g.Limit = n
		}
		return nil
	}
	return unsupported(t, "as a step of a query; where, project, limit and take are")
}

func (g *Graph) project(p *parser, known func(string) bool) error {
	for {
		t := p.next()
		c := Column{t.text, t.text}
		if t.kind == name && p.word("=") {
			t = p.next()
			c.Field = t.text
		}
		if t.kind != name || !known(c.Field) {
			return unsupported(t, "as a column")
		}
		g.Columns = append(g.Columns, c)
		if !p.word(",") {
			return nil
		}
	}
}

func (g *Graph) condition(p *parser, known func(string) bool) (Predicate, error) {
	t := p.next()
	if t.kind != name || !known(t.text) {
		return nil, unsupported(t, "as a field")
	}
	op := p.next()
	if op.kind == name && strings.EqualFold(op.text, "in") {
		return g.in(p, t.text)
	}
	o, found := operators[strings.ToLower(op.text)]
	if !found || op.kind == literal {
		return nil, unsupported(op, "as an operator")
	}
	if op.text == "==" || op.text == "!=" {
		g.CaseMatters[strings.ToLower(t.text)] = true
	}
	value, err := p.value()
	return func(f Fields) bool { return o.test(f(t.text), value) == o.want }, err
}

// in reads the list after in, or after in~ which ignores case.
func (g *Graph) in(p *parser, field string) (Predicate, error) {
	same := operators["=="].test
	if p.word("~") {
		same = strings.EqualFold
	} else {
		g.CaseMatters[strings.ToLower(field)] = true
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var values []string
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if values = append(values, v); !p.word(",") {
			break
		}
	}
	return func(f Fields) bool {
		for _, v := range values {
			if same(f(field), v) {
				return true
			}
		}
		return false
	}, p.expect(")")
}
