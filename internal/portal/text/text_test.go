package text

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func load(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var hole = regexp.MustCompile(`\{[a-z]+\}`)

func holes(text string) []string {
	found := hole.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// TestEveryLanguageSaysEverything wants the same texts in all languages, with the
// same values in them.
func TestEveryLanguageSaysEverything(t *testing.T) {
	c := load(t)
	first := c.languages[0]
	for _, l := range c.languages[1:] {
		for key, text := range first.texts {
			theirs, ok := l.texts[key]
			if !ok {
				t.Errorf("%s has no %s", l.Tag, key)
			} else if diff := cmp.Diff(holes(text), holes(theirs)); diff != "" {
				t.Errorf("%s of %s: %s", key, l.Tag, diff)
			}
		}
		for key := range l.texts {
			if !first.Has(key) {
				t.Errorf("%s has %s, which English has not", l.Tag, key)
			}
		}
	}
}

// named finds texts that pages ask for by a whole name, and prefixes of those that
// they put together.
var (
	named  = regexp.MustCompile(`(?:T|A|Plain|HTML|printf) "([a-z]+(?:[.-][a-z0-9-]+)*\.?)(%s)?`)
	quoted = regexp.MustCompile(`"((?:state|level|key|ref|concern|error|tab|done|why|fault|outcome|check|identity|confirm|vault|secret|store)\.[a-z0-9.-]+)"`)
	plain  = regexp.MustCompile(`\.(?:Plain|HTML)\("([a-z.]+)"`)
)

// TestEveryTextThatIsAskedForIsThere reads the templates and the code of the pages.
func TestEveryTextThatIsAskedForIsThere(t *testing.T) {
	first, asked := load(t).languages[0], 0
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".html") && !strings.HasSuffix(path, ".go") {
			return err
		}
		raw, err := os.ReadFile("../" + path)
		if err != nil {
			return err
		}
		for _, m := range append(named.FindAllStringSubmatch(string(raw), -1), append(quoted.FindAllStringSubmatch(string(raw), -1), plain.FindAllStringSubmatch(string(raw), -1)...)...) {
			asked++
			if whole := !strings.HasSuffix(m[1], "."); whole && !first.Has(m[1]) {
				t.Errorf("%s asks for %q", path, m[1])
			}
		}
		return nil
	})
	if err != nil || asked < 100 {
		t.Errorf("%d texts are asked for, %v", asked, err)
	}
}

func TestLanguagesSuitWhoReads(t *testing.T) {
	c := load(t)
	for _, tt := range []struct{ chosen, accept, want string }{
		{"", "", "en"}, {"", "de, fr", "en"}, {"", "zh-TW,zh;q=0.9", "zh-TW"}, {"", "zh-Hant-HK", "zh-TW"}, {"", "zh-CN", "en"},
		{"", "en-GB, zh-TW;q=0.5", "en"}, {"", "en;q=0.1, zh-TW;q=0.5", "zh-TW"}, {"zh-TW", "en", "zh-TW"}, {"<script>", "zh-TW", "zh-TW"},
		{"", "zh-TW;q=0", "en"}, {"", ";;,,q=", "en"}, {"", strings.Repeat("x,", 10000), "en"},
	} {
		if got := c.Pick(tt.chosen, tt.accept).Tag; got != tt.want {
			t.Errorf("Pick(%q, %.40q) = %s, want %s", tt.chosen, tt.accept, got, tt.want)
		}
	}
}

// TestValuesStayValues puts in what would be an element, a value of another text, or
// turn the direction around.
func TestValuesStayValues(t *testing.T) {
	l := Language{Tag: "en", texts: map[string]string{"k": "{a} & {b}"}}
	got := string(l.HTML("k", "a", `<b>{b}</b>`, "b", "\u202eevil"))
	if want := "<bdi>&lt;b&gt;{b}&lt;/b&gt;</bdi> &amp; <bdi>\u202eevil</bdi>"; got != want {
		t.Errorf("HTML gives %q, want %q", got, want)
	}
	if got, want := l.Plain("k", "a", "x", "b", "y"), "\u2068x\u2069 & \u2068y\u2069"; got != want {
		t.Errorf("Plain gives %q, want %q", got, want)
	}
}
