package route

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

const maxRegex = 1024

// regexConstraint compiles an expression with Go's engine, whose time grows
// with the length of the value only. Like the original it ignores case and
// looks anywhere in the value. Constructs the engine lacks are errors that name
// them.
func regexConstraint(expr string) (constraint, error) {
	if expr == "" {
		return constraint{}, errors.New("constraint regex needs an expression")
	}
	if len(expr) > maxRegex {
		return constraint{}, fmt.Errorf("constraint regex is longer than %d characters", maxRegex)
	}
	if what := unsupported(expr); what != "" {
		return constraint{}, fmt.Errorf("constraint regex uses %s, which is not supported", what)
	}
	re, err := regexp.Compile("(?i)(?:" + expr + ")")
	if err != nil {
		return constraint{}, fmt.Errorf("constraint regex: %s", regexFault(err))
	}
	return constraint{match: re.MatchString}, nil
}

func regexFault(err error) string {
	var s *syntax.Error
	if errors.As(err, &s) {
		return fmt.Sprintf("%s: %q", s.Code, s.Expr)
	}
	return err.Error()
}

// lacking are the group forms of .NET that Go's engine does not have; longer
// prefixes first.
var lacking = []struct{ prefix, what string }{
	{"(?<=", "a lookbehind (?<=…)"}, {"(?<!", "a negative lookbehind (?<!…)"},
	{"(?=", "a lookahead (?=…)"}, {"(?!", "a negative lookahead (?!…)"},
	{"(?>", "an atomic group (?>…)"}, {"(?(", "a conditional (?(…)…)"},
	{"(?'", "a quoted group name (?'…')"}, {"(?#", "a comment (?#…)"},
}

// unsupported names the first construct that Go's engine lacks, "" when there
// is none that can be told before compiling.
func unsupported(expr string) string {
	class := false
	for i := 0; i < len(expr); i++ {
		switch c := expr[i]; {
		case c == '\\' && i+1 < len(expr):
			if what := unsupportedEscape(expr[i+1], class); what != "" {
				return what
			}
			i++
		case class:
			if c == '[' && expr[i-1] == '-' {
				return "a character class subtraction [a-z-[…]]"
			}
			class = c != ']'
		case c == '[':
			class = true
			i += len(classOpening(expr[i+1:]))
		case c == '(':
			if what := unsupportedGroup(expr[i:]); what != "" {
				return what
			}
		}
	}
	return ""
}

// classOpening gives what may stand first in a class without ending it.
func classOpening(s string) string {
	for _, opening := range []string{"^]", "]", "^"} {
		if strings.HasPrefix(s, opening) {
			return opening
		}
	}
	return ""
}

func unsupportedEscape(c byte, class bool) string {
	switch {
	case class:
		return ""
	case '1' <= c && c <= '9':
		return "a back reference \\" + string(c)
	case c == 'k':
		return `a back reference \k<…>`
	case c == 'Z' || c == 'G' || c == 'c' || c == 'e':
		return `the escape \` + string(c)
	}
	return ""
}

func unsupportedGroup(s string) string {
	for _, l := range lacking {
		if strings.HasPrefix(s, l.prefix) {
			return l.what
		}
	}
	if name, ok := strings.CutPrefix(s, "(?<"); ok {
		if name, _, _ = strings.Cut(name, ">"); strings.Contains(name, "-") {
			return "a balancing group (?<…-…>…)"
		}
	}
	return ""
}
