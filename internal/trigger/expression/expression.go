// Package expression owns binding expressions: texts such as "orders-{region}"
// whose parts in braces stand for data of an invocation. It does not know what
// the texts are for; settings between percent signs are resolved before.
package expression

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Template is a text with expressions. It does not change after Parse.
type Template struct {
	text  string
	parts []part
}

// part is literal text, or an expression if name is not "".
type part struct {
	literal string
	name    string
	format  string
}

// Parse reads a template. It returns problem.Invalid for braces without a partner,
// empty expressions and formats that cannot be.
func Parse(text string) (Template, error) {
	t := Template{text: text}
	for rest := text; rest != ""; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			t.parts = append(t.parts, part{literal: rest})
			break
		}
		if at > 0 {
			t.parts = append(t.parts, part{literal: rest[:at]})
		}
		end := strings.IndexAny(rest[at+1:], "{}")
		if rest[at] == '}' || end < 0 || rest[at+1+end] == '{' {
			return Template{}, problem.New(problem.Invalid, fmt.Sprintf("%q has a brace without its partner", text)).WithNext("write {name} for data of the trigger")
		}
		p, err := parsePart(rest[at+1 : at+1+end])
		if err != nil {
			return Template{}, err
		}
		t.parts = append(t.parts, p)
		rest = rest[at+end+2:]
	}
	return t, nil
}

func parsePart(inner string) (part, error) {
	name, format, _ := strings.Cut(inner, ":")
	p := part{name: strings.TrimSpace(name), format: format}
	if p.name == "" || slices.Contains(strings.Split(p.name, "."), "") {
		return part{}, problem.New(problem.Invalid, fmt.Sprintf("{%s} is not a binding expression", inner)).
			WithNext("write the name of data of the trigger, such as {queueTrigger} or {order.id}")
	}
	return p, checkFormat(p)
}

// Constant reports whether the template has no expressions.
func (t Template) Constant() bool {
	return !slices.ContainsFunc(t.parts, func(p part) bool { return p.name != "" })
}

// String gives the template as it was written.
func (t Template) String() string { return t.text }

// Expand puts the values in place of the expressions. It returns problem.Invalid,
// naming the expression and no value, for one that stands for nothing, or for
// something that is not a text or a number.
func (t Template) Expand(data *Data) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.name == "" {
			continue
		}
		text, err := data.value(p)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}
