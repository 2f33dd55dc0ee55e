package route

import (
	"path"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// asHandler reads an escaped path the way handlers do before they look at it:
// decoded once, byte by byte, a backslash for a slash, servlet parameters cut
// off, cleaned.
func asHandler(escaped string) string {
	var b strings.Builder
	cut := false
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' && i+2 < len(escaped) && hex(escaped[i+1]) >= 0 && hex(escaped[i+2]) >= 0 {
			c = byte(hex(escaped[i+1])<<4 | hex(escaped[i+2]))
			i += 2
		}
		if c == '\\' {
			c = '/'
		}
		if cut = c == ';' || cut && c != '/'; !cut {
			b.WriteByte(c)
		}
	}
	return path.Clean("/" + b.String())
}

func TestNoPathReachesAnotherFunctionThanTheOneWhoseKeyIsChecked(t *testing.T) {
	table, _ := Build("api", []funcapp.Function{fn("public", "public/{*rest}"), fn("secret", "secret")})
	for _, tt := range []struct{ name, path, want string }{
		{"a file", "/api/public/a/b.txt", "public"},
		{"UTF-8", "/api/public/%C3%A9/\u00e9", "public"},
		{"two dots within a name", "/api/public/a..b/..c/d..", "public"},
		{"servlet parameters", "/api/public/a;v=1/b;..", "public"},
		{"escaped twice", "/api/public/%252e%252e/%252e%252e/secret", "public"},
		{"an escaped slash", "/api/public/a%2Fb", "public"},
		{"dots behind an escaped byte that is not UTF-8", "/api/public/%ff%2f..%2f..%2fsecret", none},
		{"dots after a byte that is not UTF-8", "/api/public/\xff%2f..%2f..%2fsecret", none},
		{"a byte that is not UTF-8 in another segment", "/api/public/%ff/x", none},
		{"overlong dots", "/api/public/%c0%ae%c0%ae/%c0%ae%c0%ae/secret", none},
		{"an overlong slash", "/api/public/..%c0%af..%c0%afsecret", none},
		{"half a surrogate pair", "/api/public/%ed%a0%80", none},
		{"dots with a servlet parameter", "/api/public/..;/..;/secret", none},
		{"dots with a named servlet parameter", "/api/public/..;a=b/..;c/secret", none},
		{"escaped dots and semicolon", "/api/public/%2e%2e%3b/%2e.%3bx/secret", none},
		{"dots between backslashes", `/api/public/x\..\..\secret`, none},
		{"dots between escaped backslashes", "/api/public/x%5c..%5C..%5csecret", none},
		{"dots behind a backslash and a servlet parameter", "/api/public/x;y%5c..;z%2f..", none},
		{"one dot behind an escaped slash", "/api/public/x%2f.", none},
		{"one dot with a servlet parameter", "/api/public/.;/x", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := matched(table, "GET", tt.path)
			if got != tt.want {
				t.Errorf("%s reaches %s, want %s", tt.path, got, tt.want)
			}
			if at := asHandler(tt.path); got == "public" && !strings.HasPrefix(at, "/api/public/") {
				t.Errorf("%s is %s to a handler", tt.path, at)
			}
		})
	}
}

func TestPathsOutOfTheOrdinaryDoNotAllocateForTheirCheck(t *testing.T) {
	for _, path := range []string{"/api/a%20b;c/%C3%A9", "/api/%ff%2f..%2f..%2fsecret", "/api/é/..;/x"} {
		var buf [24]span
		if n := testing.AllocsPerRun(100, func() { split(path, buf[:0]) }); n != 0 {
			t.Errorf("%s allocates %v times", path, n)
		}
	}
}

// FuzzMatchedPathsStayBelowTheirRoute checks that what a handler takes a
// matched path for is still below the literal segments its route begins with.
func FuzzMatchedPathsStayBelowTheirRoute(f *testing.F) {
	for _, s := range []string{"%ff%2f..%2f..%2fsecret", "..;/..;/secret", "%c0%ae%c0%ae/x", `x\..\..\secret`, "a;b/c", "%252e%252e/x", "x%3b%5c..%2fy"} {
		f.Add("api/public/{*rest}", "/api/public/"+s)
		f.Add("a/{x}", "/a/"+s)
	}
	f.Add(`a;b/c\d/{x}`, `/a;b/c\d/y`)
	f.Fuzz(func(t *testing.T, template, path string) {
		tmpl, err := Parse(template)
		if err != nil {
			return
		}
		table := &Table{root: &node{}, entries: []Entry{{Template: tmpl}}}
		table.root.insert(tmpl, 0)
		if e, _ := table.Match("GET", path, nil); e == nil {
			return
		}
		prefix, at := asHandler(literalPrefix(tmpl)), asHandler(path)
		if rest, ok := strings.CutPrefix(fold(at)+"/", strings.TrimSuffix(prefix, "/")+"/"); !ok {
			t.Fatalf("%q on %q is %q to a handler, not below %q (%q)", template, path, at, prefix, rest)
		}
	})
}

// literalPrefix gives the folded literal segments that a template begins with,
// escaped where a handler would decode.
func literalPrefix(t *Template) string {
	prefix := ""
	for i := range t.segments {
		literal, ok := t.segments[i].literalOnly()
		if !ok {
			break
		}
		prefix += "/" + strings.ReplaceAll(literal, "%", "%25")
	}
	return prefix
}
