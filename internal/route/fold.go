package route

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldRune gives the form in which characters that differ in case only are
// equal. A character outside ASCII never becomes one inside: the dotless ı must
// not pass for an i.
func foldRune(c rune) rune {
	if c < utf8.RuneSelf {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	if u := unicode.ToLower(unicode.ToUpper(c)); u >= utf8.RuneSelf {
		return u
	}
	return c
}

func fold(s string) string { return strings.Map(foldRune, s) }

// foldPrefix reports whether s starts with folded text, ignoring case, and how
// many bytes of s that takes.
func foldPrefix(s, folded string) (int, bool) {
	i := 0
	for _, want := range folded {
		c, n := utf8.DecodeRuneInString(s[i:])
		if n == 0 || foldRune(c) != want {
			return 0, false
		}
		i += n
	}
	return i, true
}

// lastFold finds the last place of folded text in s[:limit], ignoring case.
func lastFold(s string, limit int, folded string) (at, end int, ok bool) {
	for at = limit - 1; at >= 0; at-- {
		if !utf8.RuneStart(s[at]) {
			continue
		}
		if n, found := foldPrefix(s[at:limit], folded); found {
			return at, at + n, true
		}
	}
	return 0, 0, false
}
