package query

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestConditionsAreBoundAsTheyAreWritten(t *testing.T) {
	fields := func(name string) string { return map[string]string{"a": "1", "b": "2"}[name] }
	tests := map[string]bool{
		"":                                    true,
		"a eq '1'":                            true,
		"a eq '2'":                            false,
		"A EQ '1' AND b NE '1'":               true,
		"a eq '2' and b eq '2' or a eq '1'":   true,
		"a eq '1' or a eq '2' and b eq '1'":   true,
		"(a eq '1' or a eq '2') and b ne '2'": false,
		"not a eq '1'":                        false,
		"not not a eq '1'":                    true,
		"not a eq '2' and b eq '2'":           true,
		"substringof('1', a)":                 true,
		"startswith(b, '1')":                  false,
		"a ne 'it''s'":                        true,
	}
	for text, want := range tests {
		f, err := ParseFilter(text, "a", "b")
		if err != nil || f.Match(fields, nil) != want {
			t.Errorf("%s: not %v: %v", text, want, err)
		}
	}
}

func TestRefusalsNameWhatIsNotSupported(t *testing.T) {
	tests := map[string]string{
		"c eq '1'":                     "'c' at position 1",
		"a lt '1'":                     "'lt' at position 3",
		"a eq 1":                       "'1' at position 6",
		"a eq":                         "ends",
		"a eq '1' b":                   "'b' at position 10",
		"a eq '1":                      "closing quote",
		"substringof(a, '1')":          "'1'",
		strings.Repeat("(", 40) + "a":  "levels",
		strings.Repeat("not ", 40):     "levels",
		strings.Repeat(" ", maxText+1): "bytes",
		"a eq '\xff'":                  "UTF-8",
	}
	for text, want := range tests {
		if _, err := ParseFilter(text, "a"); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestGraphTextsCanHaveQuotes(t *testing.T) {
	known := func(string) bool { return true }
	for _, text := range []string{`where name == 'it\'s'`, `where name == "it's"`} {
		g, err := ParseGraph(text, known)
		if err != nil || !g.Where(func(string) string { return "it's" }) || g.Where(func(string) string { return "it" }) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzQueries holds that any text is a query or is refused as invalid, and that
// what was parsed can be asked.
func FuzzQueries(f *testing.F) {
	for _, seed := range []string{
		"resourceType eq 'Microsoft.Web/sites' and (name ne 'x' or not substringof('y', name))", "startswith(tagName, 'a')",
		"where type =~ 'a' and name in~ ('b', \"c\") | project id, x = tags.y | limit 1", "Resources | take 5", "'", `"\`, "((((", "name eq ''''",
	} {
		f.Add(seed)
	}
	value := func(string) string { return "x" }
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := ParseFilter(text, "name", "resourceType", TagName, TagValue)
		if err == nil {
			filter.Match(value, map[string]string{"a": "b"})
		} else if !errors.Is(err, problem.Invalid) {
			t.Errorf("filter %q: %v", text, err)
		}
		graph, err := ParseGraph(text, func(string) bool { return true })
		if err == nil {
			graph.Where(value)
		} else if !errors.Is(err, problem.Invalid) {
			t.Errorf("graph %q: %v", text, err)
		}
	})
}
