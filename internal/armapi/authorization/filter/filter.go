// Package filter owns reading the $filter texts of the authorisation and activity
// log operations: comparisons and functions, all of which must hold. It does not
// know which fields and functions an operation has, nor or, not and parentheses,
// which no client of these operations sends.
package filter

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of a filter.
const (
	maxText  = 4096 // bytes
	maxTerms = 20
)

// Term is one condition: a comparison, or a function of at most one argument.
type Term struct {
	Name  string // of the field or function, in lower case
	Op    string // "eq", "ne", "ge", "gt", "le", "lt"; "()" for a function
	Value string // what is compared with, or the argument
}

// Parse reads a filter; the empty text has no terms. problem.Invalid says what it
// does not understand.
func Parse(text string) ([]Term, error) {
	if len(text) > maxText {
		return nil, invalid("is longer than %d bytes", maxText)
	}
	r := &reader{rest: strings.TrimSpace(text)}
	var terms []Term
	for r.rest != "" {
		if len(terms) == maxTerms {
			return nil, invalid("has more than %d conditions", maxTerms)
		}
		if len(terms) > 0 && !strings.EqualFold(r.word(), "and") {
			return nil, invalid("can join conditions only by and")
		}
		t, err := r.term()
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return terms, nil
}

func invalid(format string, args ...any) error {
	return problem.New(problem.Invalid, "$filter "+fmt.Sprintf(format, args...))
}

type reader struct{ rest string }

// word takes a name, or nothing.
func (r *reader) word() string {
	r.rest = strings.TrimLeft(r.rest, " \t\r\n")
	end := strings.IndexFunc(r.rest, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '/')
	})
	if end < 0 {
		end = len(r.rest)
	}
	w := r.rest[:end]
	r.rest = strings.TrimLeft(r.rest[end:], " \t\r\n")
	return w
}

func (r *reader) term() (Term, error) {
	name := strings.ToLower(r.word())
	if name == "" {
		return Term{}, invalid("has no name where a condition must begin, at %q", clip(r.rest))
	}
	if rest, call := strings.CutPrefix(r.rest, "("); call {
		r.rest = strings.TrimSpace(rest)
		return r.call(name)
	}
	op := strings.ToLower(r.word())
	switch op {
	case "eq", "ne", "ge", "gt", "le", "lt":
	default:
		return Term{}, invalid("compares %s with %q, which is none of eq, ne, ge, gt, le, lt", clip(name), clip(op))
	}
	value, err := r.value()
	return Term{name, op, value}, err
}

func (r *reader) call(name string) (Term, error) {
	value := ""
	if !strings.HasPrefix(r.rest, ")") {
		var err error
		if value, err = r.value(); err != nil {
			return Term{}, err
		}
	}
	rest, closed := strings.CutPrefix(strings.TrimSpace(r.rest), ")")
	if !closed {
		return Term{}, invalid("does not close the parenthesis after %s", clip(name))
	}
	r.rest = strings.TrimSpace(rest)
	return Term{name, "()", value}, nil
}

// value takes a text in quotes, in which two quotes stand for one, or a word up to
// the next space or parenthesis.
func (r *reader) value() (string, error) {
	rest, quoted := strings.CutPrefix(r.rest, "'")
	if !quoted {
		end := strings.IndexAny(r.rest, " \t\r\n()'")
		if end < 0 {
			end = len(r.rest)
		}
		if end == 0 {
			return "", invalid("lacks a value at %q", clip(r.rest))
		}
		v := r.rest[:end]
		r.rest = strings.TrimSpace(r.rest[end:])
		return v, nil
	}
	var b strings.Builder
	for {
		part, after, closed := strings.Cut(rest, "'")
		if !closed {
			return "", invalid("does not close a quote")
		}
		b.WriteString(part)
		if rest, quoted = strings.CutPrefix(after, "'"); !quoted {
			r.rest = strings.TrimSpace(after)
			return b.String(), nil
		}
		b.WriteByte('\'')
	}
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
