package pack

import (
	"strings"
	"testing"
)

func TestPatternsAreThoseOfGit(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		isDir, want   bool
	}{
		{"a", "a", false, true}, {"a", "b/a", false, true}, {"a", "a/b", false, true}, {"a", "ab", false, false},
		{"/a", "a", false, true}, {"/a", "b/a", false, false}, {"a/b", "a/b", false, true}, {"a/b", "x/a/b", false, false},
		{"a/", "a", true, true}, {"a/", "a", false, false}, {"a/", "a/b", false, true},
		{"*.js", "x.js", false, true}, {"*.js", "d/x.js", false, true}, {"d/*.js", "d/e/x.js", false, false},
		{"?.js", "x.js", false, true}, {"?.js", "é.js", false, true}, {"?.js", "xy.js", false, false},
		{"[ab].js", "a.js", false, true}, {"[!ab].js", "a.js", false, false}, {"[!ab].js", "c.js", false, true}, {"[a-c]x", "bx", false, true},
		{"**/x", "x", false, true}, {"**/x", "a/b/x", false, true}, {"a/**", "a/b/c", false, true}, {"a/**", "a", true, false},
		{"a/**/c", "a/c", false, true}, {"a/**/c", "a/b/b/c", false, true}, {"a/**/c", "x/a/c", false, false},
		{"**", "anything/at/all", false, true},
		{`\!x`, "!x", false, true}, {`\*`, "*", false, true}, {`\*`, "a", false, false}, {"x  ", "x", false, true}, {"a.b", "axb", false, false},
		{"[", "[", false, true}, {"[a", "[a", false, true}, {"[z-a]", "z", false, false}, {"x\r", "x", false, true},
	} {
		if got := parse(tt.pattern).match(tt.path, tt.isDir); got != tt.want {
			t.Errorf("%q leaves out %q: %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}

func TestTheLastPatternCounts(t *testing.T) {
	rules := parse("*.txt\n!b.txt\n!c/\nc/*\n!c/keep.txt\nd\n!d/in.txt")
	for path, want := range map[string]bool{"a.txt": true, "b.txt": false, "c/x": true, "c/keep.txt": false, "d/in.txt": true, "e": false} {
		if got := rules.match(path, false); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.go\n!keep.go\n/a/**/b[!x-z]\n\\#\n**", "a/keep.go")
	f.Fuzz(func(t *testing.T, text, path string) {
		rules := parse(text)
		rules.match(path, true)
		if rules.match(path, false) && !rules.match(path, true) {
			t.Errorf("%q leaves out the file %q and not a folder of that name", text, path)
		}
		if len(rules) > strings.Count(text, "\n")+1 {
			t.Errorf("%d rules of %q", len(rules), text)
		}
	})
}
