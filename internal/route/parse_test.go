package route

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestParseNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ name, template, want string }{
		{"empty segment", "a//b", `holds "//"`},
		{"empty segment after a parameter", "{a}//b", `holds "//"`},
		{"open brace at the end", "a/{b", `"{" without its "}"`},
		{"lone closing brace", "a}/b", `"}" without its "{"`},
		{"brace inside a parameter", "{a{b}", `"{" inside a parameter`},
		{"question mark in a literal", "a?b", `holds "?"`},
		{"empty parameter", "{}", "proper name"},
		{"bare star", "{*}", "proper name"},
		{"slash in a name", "{a/b}", "proper name"},
		{"star inside a name", "{a*}", "proper name"},
		{"parameter twice", "{a}/{A}", `parameter "A" twice`},
		{"adjacent parameters", "{a}{b}", "nothing between"},
		{"catch-all not last", "{*a}/b", "must end with its catch-all"},
		{"catch-all in a mixed segment", "x{*a}", "not a segment of its own"},
		{"optional catch-all", "{*a?}", "cannot be optional"},
		{"optional with default", "{a=1?}", "cannot have a default"},
		{"optional inside a segment", "{a?}-{b}", "may be optional"},
		{"optional after another literal", "{a}-{b?}", "may be optional"},
		{"tilde", "~a", `start with "~"`},
		{"unknown constraint", "{a:integer}", `"integer" is unknown`},
		{"unsupported constraint", "{a:exists}", `"exists" is unknown`},
		{"empty constraint", "{a:}", "has no name"},
		{"argument for int", "{a:int(3)}", "takes no argument"},
		{"missing argument", "{a:min}", "constraint min"},
		{"too many arguments", "{a:length(1,2,3)}", "wrong number"},
		{"range needs two", "{a:range(1)}", "wrong number"},
		{"text for a number", "{a:max(x)}", "whole numbers"},
		{"negative length", "{a:minlength(-1)}", "whole numbers"},
		{"range upside down", "{a:range(5,1)}", "5 is more than 1"},
		{"argument not closed", "{a:max(3}", "closing parenthesis"},
		{"regex without expression", "{a:regex}", "needs an expression"},
		{"lookahead", "{a:regex(x(?=y))}", "lookahead (?=…)"},
		{"lookbehind", "{a:regex((?<=y)x)}", "lookbehind"},
		{"back reference", `{a:regex((x)\1)}`, `back reference \1`},
		{"atomic group", "{a:regex((?>x))}", "atomic group"},
		{"class subtraction", "{a:regex([a-z-[aeiou]])}", "class subtraction"},
		{"balancing group", "{a:regex((?<a-b>x))}", "balancing group"},
		{"broken regex", "{a:regex([a)}", "missing closing ]"},
		{"control character", "a\nb", "control characters"},
		{"far too long", strings.Repeat("a", maxTemplate+1), "longer than"},
		{"too many segments", strings.Repeat("a/", maxTemplateParts) + "a", "more than 100 segments"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.template)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Parse(%q) = %v, want an error with %q", tt.template, err, tt.want)
			}
			if !errors.Is(err, problem.Invalid) {
				t.Errorf("kind is %v, want invalid", problem.KindOf(err))
			}
		})
	}
}

func TestParametersAreListedInTheOrderOfTheTemplate(t *testing.T) {
	got, err := Parse("/a/{b:int}/x-{c}.{d?}/{*e}/")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b", "c", "d", "e"}, got.Params()); diff != "" {
		t.Error(diff)
	}
	if got.String() != "a/{b:int}/x-{c}.{d?}/{*e}" {
		t.Errorf("text is %q", got)
	}
}

// one makes a table with a single route and no prefix.
func one(t *testing.T, template string) *Table {
	t.Helper()
	table, conflicts := Build("", []funcapp.Function{fn("f", template)})
	if len(conflicts) > 0 {
		t.Fatalf("route %q: %v", template, conflicts)
	}
	return table
}

// fn is a function with an HTTP trigger.
func fn(name, route string, methods ...string) funcapp.Function {
	return funcapp.Function{Name: name, Directory: "/app/" + name, Bindings: []funcapp.Binding{{
		Name: "req", Type: "httpTrigger", HTTP: &funcapp.HTTPTrigger{Route: route, HasRoute: true, Methods: methods},
	}}}
}

// values writes parameters as "name=value" for comparing.
func values(params []Param) string {
	var b strings.Builder
	for i, p := range params {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.Name + "=" + p.Value)
	}
	return b.String()
}

const none = "no match"

func find(table *Table, path string) string {
	e, params := table.Match("GET", path, nil)
	if e == nil {
		return none
	}
	return values(params)
}

func TestTemplatesMatch(t *testing.T) {
	for _, tt := range []struct{ template, path, want string }{
		{"a/b", "/a/b", ""},
		{"a/b", "/A/B", ""},
		{"a/b", "/a/b/", ""},
		{"a/b", "/a/b//", none},
		{"a/b", "//a/b", none},
		{"a/b", "/a//b", none},
		{"a/b", "/a", none},
		{"a/b", "/a/b/c", none},
		{"a/b", "/a%2Fb", none},
		{"a/b", "/%61/b", ""},
		{"straße/ÄÖ", "/STRAßE/%C3%A4%C3%B6", ""},
		{"i/b", "/%C4%B1/b", none}, // dotless i
		{"a b", "/a%20b", ""},
		{"", "/", ""},
		{"", "", ""},
		{"", "//", none},
		{"a/{{x}}", "/a/{x}", ""},
		{"a/{{x}}", "/a/%7Bx%7D", ""},
		{"{a}", "/x", "a=x"},
		{"{a}", "/X%20y+z", "a=X y+z"},
		{"{a}", "/a%2Fb", "a=a/b"},
		{"{a}", "/100%", "a=100%"},
		{"{a}", "/%ff", none},
		{"{a}", "/", none},
		{"{a}/{b}", "/1/2", "a=1 b=2"},
		{"{a?}", "/", ""},
		{"{a?}", "/1", "a=1"},
		{"x/{a?}/{b?}", "/x", ""},
		{"x/{a?}/{b?}", "/x/1", "a=1"},
		{"x/{a?}/y", "/x/y", none},
		{"{a=5}", "/", "a=5"},
		{"{a=5}", "/6", "a=6"},
		{"{a:int=5}", "/x", none},
		{"{a:int=x}", "/", none}, // the default breaks the constraint
		{"{a=b:c}", "/", "a=b:c"},
		{"x/{*r}", "/x", ""},
		{"x/{*r}", "/x/", ""},
		{"x/{*r}", "/x/1/2/", "r=1/2/"},
		{"x/{**r}", "/x/1//2", "r=1//2"},
		{"x/{*r}", "/x//1", none},
		{"x/{*r}", "/x/a%2Fb/c", "r=a/b/c"},
		{"{*r=home}", "/", "r=home"},
		{"{*r:int}", "/", none},
		{"{*r:nonfile}", "/", ""},
		{"{*r:nonfile}", "/a/b.txt", none},
		{"{*r:file}", "/a/b.txt", "r=a/b.txt"},
		{"v{n}", "/v12", "n=12"},
		{"v{n}", "/V12", "n=12"},
		{"v{n}", "/v", none},
		{"v{n}", "/xv1", none},
		{"{n}v", "/12v", "n=12"},
		{"{n}v", "/12vx", none},
		{"{a}-{b}", "/1-2-3", "a=1-2 b=3"},
		{"{a}-{b}", "/-2", none},
		{"{a}-{b}", "/1-", none},
		{"{a}-{b}", "/1--", "a=1 b=-"},
		{"x{a}y{b}z", "/x1y2z", "a=1 b=2"},
		{"x{a}y{b}z", "/xyyyz", "a=y b=y"},
		{"{n}.{e?}", "/a.txt", "n=a e=txt"},
		{"{n}.{e?}", "/a", "n=a"},
		{"{n}.{e?}", "/a.", none},
		{"{n}.{e?}", "/a.b.c", "n=a.b e=c"},
		{"{n}.{e?}", "/.c", "n=.c"},
		{"f-{n}.{e?}", "/f-a", "n=a"},
		{"{n:int}.{e?}", "/a.b", none},
		{"{n}.{e:int?}", "/a.b", none},
		{"{n}.{e:int?}", "/a", "n=a"},
		{"{n}-é", "/x-%C3%89", "n=x"},
		{"{a:int?}", "/", ""},
		{"{a:int?}", "/x", none},
		{"x/{a}", "/x/..", none},
		{"x/{a}", "/x/%2e%2E", none},
		{"x/{*a}", "/x/../y", none},
		{"x/{*a}", "/x/./y", none},
		{"x/{a}", "/x/..%2Fy", none},
		{"x/{a}", "/x/..y", "a=..y"},
		{"~/x", "/x", ""},
	} {
		t.Run(tt.template+" on "+tt.path, func(t *testing.T) {
			if got := find(one(t, tt.template), tt.path); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConstraintsAcceptAndReject(t *testing.T) {
	for _, tt := range []struct {
		constraint string
		yes, no    []string
	}{
		{"int", []string{"0", "-5", "+5", "007", "%205%20", "2147483647"}, []string{"2147483648", "1.0", "x", "1_000", "0x1", "-"}},
		{"long", []string{"9223372036854775807"}, []string{"9223372036854775808"}},
		{"bool", []string{"true", "FALSE"}, []string{"1", "yes"}},
		{"datetime", []string{"2024-02-29", "12-31-2024", "2024-01-02T03:04:05Z", "2024-01-02%2003:04", "10:20"}, []string{"2023-02-29", "x", "20240102"}},
		{"decimal", []string{"1", "-1.5", "1,000.5", "5-", ".5", "79228162514264337593543950335"}, []string{"1e3", "1.2.3", "x", "79228162514264337593543950336000", ".", ",5"}},
		{"double", []string{"1.5e-3", "-1,000", "NaN", "-Infinity", "1e999"}, []string{"1e", "5-", "0x1p3", "1_0"}},
		{"float", []string{"1e3"}, []string{"x"}},
		{"guid", []string{"CD2C1638-1638-72D5-1638-DEADBEEF1638", "cd2c1638163872d51638deadbeef1638",
			"{CD2C1638-1638-72D5-1638-DEADBEEF1638}", "(CD2C1638-1638-72D5-1638-DEADBEEF1638)",
			"{0xCD2C1638,0x1638,0x72d5,{0x16,0x38,0xde,0xad,0xbe,0xef,0x16,0x38}}"},
			[]string{"CD2C1638-1638-72D5-1638DEADBEEF1638", "{CD2C1638-1638-72D5-1638-DEADBEEF1638)", "gd2c1638163872d51638deadbeef1638", "{0x1}"}},
		{"alpha", []string{"abcXYZ"}, []string{"a1", "é", "a-b"}},
		{"minlength(3)", []string{"abc", "é𝄞"}, []string{"ab", "éé"}},
		{"maxlength(3)", []string{"abc"}, []string{"abcd", "𝄞𝄞"}},
		{"length(2)", []string{"ab"}, []string{"a", "abc"}},
		{"length(2, 3)", []string{"ab", "abc"}, []string{"a", "abcd"}},
		{"min(-1)", []string{"-1", "5"}, []string{"-2", "x"}},
		{"max(5)", []string{"5"}, []string{"6", "x"}},
		{"range(1,9)", []string{"1", "9"}, []string{"0", "10"}},
		{"required", []string{"x"}, nil},
		{"file", []string{"a.txt", ".env"}, []string{"a", "a."}},
		{"nonfile", []string{"a"}, []string{"a.txt"}},
		{`regex(^\\d{{3}}-\\w+$)`, nil, []string{"123-a"}},
		{`regex(^\d{{3}}-\w+$)`, []string{"123-a"}, []string{"12-a", "123-"}},
		{"regex(^(a|b)$)", []string{"A", "b"}, []string{"ab"}},
		{"regex(b:c=d)", []string{"xB:C=Dx"}, []string{"b"}},
		{"regex(a/b)", []string{"a%2Fb"}, []string{"ab"}},
		{"INT:Min(5):max(7)", []string{"5", "7"}, []string{"4", "8", "x"}},
	} {
		t.Run(tt.constraint, func(t *testing.T) {
			table := one(t, "x/{v:"+tt.constraint+"}")
			for _, v := range tt.yes {
				if find(table, "/x/"+v) == none {
					t.Errorf("%q does not match", v)
				}
			}
			for _, v := range tt.no {
				if find(table, "/x/"+v) != none {
					t.Errorf("%q matches", v)
				}
			}
		})
	}
}
