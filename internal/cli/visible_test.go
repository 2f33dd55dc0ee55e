package cli

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisibleKeepsWhatPrintsAndSpellsOutTheRest(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"two  words, é 漢 C:\\x 'q'": "two  words, é 漢 C:\\x 'q'",
		"\x1b[31mred\x07":           `\u{1b}[31mred\u{7}`,
		"a\r\nb\tc\x7f":             `a\u{d}\u{a}b\u{9}c\u{7f}`,
		"\u009b\u202e\u200b\ufeff":  `\u{9b}\u{202e}\u{200b}\u{feff}`,
		"\U000e0041":                `\u{e0041}`,
		"\xffa\xc0\xae\ufffd":       `\x{ff}a\x{c0}\x{ae}` + "\ufffd",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := sentences("one\ntwo\x1b\n"); got != `one; two\u{1b}` {
		t.Errorf("joined errors are shown as %q", got)
	}
	if got := printable(strings.Repeat("é", 5000)); len(got) > 2100 || !utf8.ValidString(got) {
		t.Errorf("a long name has %d bytes", len(got))
	}
}

// FuzzJSONIsVisible checks that JSON output prints, but for its line ends, and
// means what it did.
func FuzzJSONIsVisible(f *testing.F) {
	for _, s := range []string{"a", "\x1b\n\t\x7f", "\u009b\u202e\u2028", "\U000e0041\\u0041\"", "\xff<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		if err := writeJSON(&out, map[string]string{s: s}); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if r != '\n' && !strconv.IsPrint(r) {
				t.Fatalf("%q in %q", r, out.String())
			}
		}
		want := strings.Map(func(r rune) rune { return r }, s) // each byte that is not UTF-8 becomes U+FFFD
		var got map[string]string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got[want] != want {
			t.Fatalf("%q became %q (%v)", s, got, err)
		}
	})
}
