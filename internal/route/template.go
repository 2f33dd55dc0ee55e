// Package route owns route templates and the table that finds the function for
// a request: the classic ASP.NET Core template language, matched as an ordered
// list in which the first match wins and the method is part of the match. It
// does not know who may call, how functions run or what a request carries
// besides its method and path.
package route

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxTemplate      = 2048 // bytes; templates are configuration, longer ones are mistakes
	maxTemplateParts = 100  // segments
)

// Template is a parsed route template. It does not change after Parse and may
// be used from several goroutines.
type Template struct {
	text     string
	segments []segment
	params   []parameter
	lead     int // leading plain literal segments, which the table's index checks
}

// String gives the template as written, without slashes at either end.
func (t *Template) String() string { return t.text }

// Params gives the names of the parameters in the order of the template.
func (t *Template) Params() []string {
	names := make([]string, len(t.params))
	for i := range t.params {
		names[i] = t.params[i].name
	}
	return names
}

// segment is what stands between two slashes. One part is a literal or a
// parameter; several alternate.
type segment struct{ parts []part }

// part is a literal (param < 0) or a parameter by index.
type part struct {
	literal string // folded
	param   int
}

// parameter is one {…}.
type parameter struct {
	name        string
	optional    bool
	catchAll    bool
	hasDefault  bool
	def         string
	constraints []constraint
}

// literalOnly gives the literal of a segment that is nothing else.
func (s *segment) literalOnly() (string, bool) {
	if len(s.parts) == 1 && s.parts[0].param < 0 {
		return s.parts[0].literal, true
	}
	return "", false
}

// Parse reads a template: literals, {p}, {p?}, {p=default}, {*p} and {**p},
// mixed segments, {{ and }}, and inline constraints. Slashes at either end and
// a leading "~/" are dropped. Errors are problem.Invalid.
func Parse(template string) (*Template, error) {
	text := strings.Trim(strings.TrimPrefix(template, "~/"), "/")
	t := &Template{text: text}
	if err := t.parse(text); err != nil {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("route %s %v", show(template), err))
	}
	for _, s := range t.segments {
		if _, ok := s.literalOnly(); !ok {
			break
		}
		t.lead++
	}
	return t, nil
}

func (t *Template) parse(text string) error {
	switch {
	case len(text) > maxTemplate:
		return fmt.Errorf("is longer than %d characters", maxTemplate)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return fmt.Errorf("holds control characters or broken UTF-8")
	case strings.HasPrefix(text, "~"):
		return fmt.Errorf(`must not start with "~"`)
	case text == "":
		return nil
	}
	p := templateParser{t: t, text: text}
	for p.i <= len(text) {
		if len(t.segments) == maxTemplateParts {
			return fmt.Errorf("has more than %d segments", maxTemplateParts)
		}
		if err := p.segment(); err != nil {
			return err
		}
	}
	return nil
}

// show quotes a template for a message, cut when very long.
func show(s string) string {
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
