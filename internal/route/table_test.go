package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// matched names the function a request reaches.
func matched(table *Table, method, path string) string {
	if e, _ := table.Match(method, path, nil); e != nil {
		return e.Function.Name
	}
	return none
}

func TestTheFirstMatchInNameOrderWins(t *testing.T) {
	table, conflicts := Build("api", []funcapp.Function{
		fn("zoo", "items/special"), fn("Books", "{kind}/{id?}"), fn("apples", "items/red"), fn("c_d", "deep/{x}"), fn("cat", "{*all}"),
	})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	for path, want := range map[string]string{
		"/api/items/red":     "apples", // named before the parameters
		"/api/items/special": "Books",  // parameters named first beat the literal
		"/API/Items":         "Books",
		"/api/deep/1":        "Books",
		"/api/deep/1/2":      "cat",
		"/api":               "cat",
		"/items/red":         none,
		"/apis/x":            none,
	} {
		if got := matched(table, "GET", path); got != want {
			t.Errorf("%s reaches %s, want %s", path, got, want)
		}
	}
}

func TestUnderscoreComesAfterLetters(t *testing.T) {
	table, _ := Build("", []funcapp.Function{fn("a_b", "{x}"), fn("ab", "{y}")})
	if got := matched(table, "GET", "/1"); got != "ab" {
		t.Errorf("got %s, want ab", got)
	}
}

func TestAWrongMethodIsNoMatchAndTheSearchGoesOn(t *testing.T) {
	table, _ := Build("", []funcapp.Function{fn("a", "x", "GET", "POST"), fn("b", "{v}", "DELETE"), fn("c", "y")})
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/x", "a"}, {"get", "/x", "a"}, {"DELETE", "/x", "b"}, {"PUT", "/x", none}, {"HEAD", "/x", none},
		{"PROPFIND", "/y", "c"},
	} {
		if got := matched(table, tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s reaches %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestConflictsFaultTheLaterFunction(t *testing.T) {
	functions := []funcapp.Function{
		fn("a", "x/{id}", "GET"), fn("b", "/X/{ID}/", "POST"), fn("c", "x/{id}", "GET", "PUT"), fn("d", "x/{other}", "GET"),
		fn("e", "admin/x"), fn("f", "Runtime"), fn("g", "administrators"), fn("h", "{x:nope}"), fn("i", "x/{id}"),
	}
	_, conflicts := Build("api", functions)
	var got []string
	for _, c := range conflicts {
		got = append(got, fmt.Sprintf("%s: %s (%s)", functions[c.Index].Name, c.Fault.Message, c.Fault.File))
	}
	want := []string{
		`c: route "api/x/{id}" is taken by function a (c/function.json)`,
		`e: route "admin/x" begins with admin or runtime, which belong to the host (e/function.json)`,
		`f: route "Runtime" begins with admin or runtime, which belong to the host (f/function.json)`,
		`h: route "/api/{x:nope}" parameter "x": constraint "nope" is unknown (h/function.json)`,
		`i: route "api/x/{id}" is taken by function a (i/function.json)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestThePrefixCannotClaimTheHostsOwnPaths(t *testing.T) {
	for _, prefix := range []string{"admin", "Runtime/x"} {
		if _, conflicts := Build(prefix, []funcapp.Function{fn("a", "x")}); len(conflicts) != 1 {
			t.Errorf("prefix %q: %v", prefix, conflicts)
		}
	}
}

func TestOnlyRunnableHTTPFunctionsTakePart(t *testing.T) {
	faulty, excluded, disabled := fn("a", "x"), fn("b", "x"), fn("c", "x")
	faulty.Faults = []funcapp.Fault{{Message: "broken"}}
	excluded.Excluded, disabled.Disabled = true, true
	timer := funcapp.Function{Name: "t", Bindings: []funcapp.Binding{{Name: "t", Type: "timerTrigger"}}}
	table, conflicts := Build("", []funcapp.Function{faulty, excluded, disabled, timer})
	if len(conflicts) > 0 || len(table.Entries()) != 1 || matched(table, "GET", "/x") != "c" {
		t.Errorf("conflicts %v, entries %v", conflicts, table.Entries())
	}
}

func TestURLTemplateShowsTheFullTemplate(t *testing.T) {
	for _, tt := range []struct{ prefix, route, want string }{
		{"api", "x/{id:int}", "/api/x/{id:int}"}, {"", "/x/", "/x"}, {"/a/b/", "x", "/a/b/x"}, {"api", "/", "/api"}, {"", "/", "/"},
	} {
		f := fn("f", tt.route)
		if got := URLTemplate(tt.prefix, &f); got != tt.want {
			t.Errorf("%q + %q gives %q, want %q", tt.prefix, tt.route, got, tt.want)
		}
	}
	if got := URLTemplate("api", &funcapp.Function{Name: "t"}); got != "" {
		t.Errorf("a timer has %q", got)
	}
}

func TestOversizedPathsMatchNothing(t *testing.T) {
	table := one(t, "{*all}")
	for _, path := range []string{"/" + strings.Repeat("a", maxPath), "/" + strings.Repeat("a/", maxSegments+1)} {
		if find(table, path) != none {
			t.Errorf("a path of %d bytes matches", len(path))
		}
	}
	if find(table, "/"+strings.Repeat("a/", maxSegments)) == none {
		t.Error("a path at the limit does not match")
	}
}

func TestDeepLiteralsBeyondTheIndexAreCompared(t *testing.T) {
	table := one(t, "a/b/c/d/e/f/g/h/i")
	if find(table, "/a/b/c/d/e/f/g/h/i") == none || find(table, "/a/b/c/d/e/f/g/h/x") != none {
		t.Error("segments beyond the index are not compared")
	}
}

func TestParametersGoIntoTheCallersBuffer(t *testing.T) {
	table, _ := Build("", []funcapp.Function{fn("a", "{x}/{y:int}"), fn("b", "{x}/{z}")})
	buf := make([]Param, 0, 4)
	_, params := table.Match("GET", "/1/q", append(buf, Param{"kept", "1"}))
	if got := values(params); got != "kept=1 x=1 z=q" {
		t.Errorf("got %q", got)
	}
}

// bigTable has n literal routes and a few with parameters, as large apps do.
func bigTable(n int) *Table {
	var list []funcapp.Function
	for i := range n {
		list = append(list, fn(fmt.Sprintf("f%04d", i), fmt.Sprintf("area%d/thing%d", i%10, i), "GET", "POST"))
	}
	list = append(list, fn("x", "orders/{id:int}", "GET"), fn("y", "files/{name}.{ext?}"), fn("z", "{*rest}"))
	table, _ := Build("api", list)
	return table
}

func TestLiteralRoutesDoNotAllocate(t *testing.T) {
	table := bigTable(100)
	buf := make([]Param, 0, 8)
	for _, path := range []string{"/api/area7/thing77", "/api/Area7/Thing77/", "/api/orders/5", "/elsewhere"} {
		if n := testing.AllocsPerRun(100, func() { table.Match("GET", path, buf) }); n != 0 {
			t.Errorf("%s allocates %v times", path, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	table := bigTable(500)
	for name, path := range map[string]string{"literal": "/api/area7/thing77", "parameter": "/api/orders/5", "mixed": "/api/files/report.pdf", "miss": "/other/x"} {
		b.Run(name, func(b *testing.B) {
			buf := make([]Param, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				table.Match("GET", path, buf)
			}
		})
	}
}

func FuzzParseAndMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"a/{b:int}/{*c}", "/a/1/x/y"}, {"{n}.{e?}", "/a.b"}, {"x{a}y{b}z", "/x1y2z"}, {"{a:regex(^(a|b)*$)}", "/ababab"},
		{"{a:length(1,2)=x}", "/"}, {"{{x}}/é", "/%7Bx%7D/%C3%89"}, {"{a:guid}", "/{0x1,0x1,0x1,{0x1}}"}, {"{a:datetime}", "/2024-01-01"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		tmpl, err := Parse(template)
		if err != nil {
			return
		}
		again, err := Parse(tmpl.String())
		if err != nil || again.String() != tmpl.String() {
			t.Fatalf("%q parses, its text %q gives %v", template, tmpl, err)
		}
		table := &Table{root: &node{}, entries: []Entry{{Template: tmpl}}}
		table.root.insert(tmpl, 0)
		_, params := table.Match("GET", path, nil)
		for _, p := range params {
			if p.Name == "" {
				t.Fatalf("%q on %q gives a parameter without a name", template, path)
			}
		}
	})
}

// FuzzIndex checks that the index changes nothing: each function alone in a
// table matches exactly when the walk without index says so.
func FuzzIndex(f *testing.F) {
	f.Add("a/b", "a/{x}", "{*y}", "/a/b")
	f.Add("A/é", "{x}/b", "a/b/c", "/a/%C3%89")
	f.Fuzz(func(t *testing.T, r1, r2, r3, path string) {
		functions := []funcapp.Function{fn("a", r1), fn("b", r2), fn("c", r3)}
		table, conflicts := Build("", functions)
		got := matched(table, "GET", path)
		if len(conflicts) > 0 {
			return
		}
		want := none
		for _, e := range table.Entries() {
			plain := *e.Template
			plain.lead = 0
			spans, ok := split(path, nil)
			if !ok {
				break
			}
			if _, ok = plain.match(path, spans, nil); ok {
				want = e.Function.Name
				break
			}
		}
		if got != want {
			t.Fatalf("%q %q %q on %q: got %s, want %s", r1, r2, r3, path, got, want)
		}
	})
}
