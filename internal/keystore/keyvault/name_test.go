package keyvault

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	for name, want := range map[string]place{
		"host--masterKey--master":                 {"host", accesskey.Master, "master"},
		"HOST--MASTERKEY--MASTER":                 {"host", accesskey.Master, "MASTER"},
		"host--functionKey--default":              {"host", accesskey.Host, "default"},
		"host--systemKey--eventgrid-095extension": {"host", accesskey.System, "eventgrid_extension"},
		"function--Orders--default":               {"orders", accesskey.Function, "default"},
		"function--foo-045-045default--default":   {"foo--default", accesskey.Function, "default"},
		"function---095x---045k":                  {"_x", accesskey.Function, "-k"},
		"function--orders--my-key":                {"orders", accesskey.Function, "my-key"},
		"latchkey--document--orders":              {"orders", accesskey.None, ""},
		"latchkey--document--host":                {"host", accesskey.None, ""},
	} {
		if got, ok := parseName(name); !ok || got != want {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"", "host", "host--", "host--masterKey--other", "host--masterKey", "host--functionKey--", "host--x--y", "function--orders", "function--orders--",
		"function----x", "function--host--x", "function---045x--k", "functions--orders--x", "hostx--masterKey--master", "latchkey--writer--x", "latchkey--document--",
		"function--a_b--c", "function--" + strings.Repeat("a", 130) + "--b",
	} {
		if got, ok := parseName(name); ok {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"orders|default", "a--b|-", "_x|日本", "x|-045"} {
		doc, key, _ := strings.Cut(seed, "|")
		f.Add(doc, key)
	}
	f.Fuzz(func(t *testing.T, function, key string) {
		_, _ = parseName(function)
		doc := keystore.Doc(function)
		if keystore.CheckDoc(doc) != nil || doc.IsHost() || key == "" || !utf8.ValidString(key) {
			return
		}
		name := place{doc, accesskey.Function, key}.secretName()
		got, ok := parseName(name)
		if len(name) <= maxName && (!ok || got.doc != doc) {
			t.Errorf("%q of %q is %q and then %v", key, function, name, got)
		}
		small := !strings.ContainsFunc(key, func(r rune) bool { return r > 999 })
		if len(name) <= maxName && small && got.key != key {
			t.Errorf("%q became %q", key, got.key)
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add("note", "text", 3)
	f.Add("é", " a  b ", 300)
	f.Fuzz(func(t *testing.T, name, text string, n int) {
		_, _ = unpack(map[string]string{dataTag: text, orderTag: name})
		if n < 0 || n > 300 || !utf8.ValidString(name) {
			return
		}
		raw := []byte(`"` + strings.Repeat("x ", n) + `"`)
		extra := map[string][]byte{name: raw, "n": []byte("1")}
		tags, err := labels{write: "w", extra: extra}.pack(map[string]string{"other": "o", "Latchkey-9": "stale"})
		if err != nil {
			return
		}
		got, err := unpack(tags)
		if err != nil || tags["other"] != "o" || tags["Latchkey-9"] != "" || !maps.EqualFunc(extra, got.extra, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("%v: %s", err, cmp.Diff(extra, got.extra))
		}
	})
}
