package filter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want []filter.Term
	}{
		{"", nil},
		{"  ", nil},
		{"atScope()", []filter.Term{{"atscope", "()", ""}}},
		{"atScopeAndBelow( )", []filter.Term{{"atscopeandbelow", "()", ""}}},
		{"roleName eq 'Key Vault Secrets User'", []filter.Term{{"rolename", "eq", "Key Vault Secrets User"}}},
		{"roleName EQ 'It''s'", []filter.Term{{"rolename", "eq", "It's"}}},
		{"roleName eq ''", []filter.Term{{"rolename", "eq", ""}}},
		{"atScope() and principalId eq 'x'", []filter.Term{{"atscope", "()", ""}, {"principalid", "eq", "x"}}},
		{"atScope() and assignedTo('{x}')", []filter.Term{{"atscope", "()", ""}, {"assignedto", "()", "{x}"}}},
		{"eventTimestamp ge 2026-01-02T03:04:05.6+00:00 and eventTimestamp le '2026-01-03'",
			[]filter.Term{{"eventtimestamp", "ge", "2026-01-02T03:04:05.6+00:00"}, {"eventtimestamp", "le", "2026-01-03"}}},
		{"a eq 'x and y eq ''z'''", []filter.Term{{"a", "eq", "x and y eq 'z'"}}},
	}
	for _, tt := range tests {
		got, err := filter.Parse(tt.text)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", tt.text, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"a", "a eq", "a eq 'x", "a like 'x'", "eq", "a eq 'x' or b eq 'y'", "a eq 'x' and", "a eq 'x' b eq 'y'",
		"(a eq 'x')", "f('x'", "f(", "f('x','y')", "not f()", "'x' eq a", strings.Repeat("a", 5000), strings.Repeat("f() and ", 30) + "f()",
	} {
		if got, err := filter.Parse(text); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("atScope() and assignedTo('x')")
	f.Add("a eq 'x''y' and b ge 1")
	f.Fuzz(func(t *testing.T, text string) {
		terms, err := filter.Parse(text)
		if err != nil {
			if !errors.Is(err, problem.Invalid) {
				t.Error(err)
			}
			return
		}
		var b strings.Builder // what was understood reads the same again
		for i, term := range terms {
			if i > 0 {
				b.WriteString(" and ")
			}
			value := "'" + strings.ReplaceAll(term.Value, "'", "''") + "'"
			if b.WriteString(term.Name); term.Op == "()" {
				b.WriteString("(" + value + ")")
			} else {
				b.WriteString(" " + term.Op + " " + value)
			}
		}
		again, err := filter.Parse(b.String())
		if diff := cmp.Diff(terms, again); len(b.String()) <= 4096 && (err != nil || diff != "") {
			t.Errorf("%q: %v\n%s", b.String(), err, diff)
		}
	})
}
