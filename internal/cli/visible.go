package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// visible makes a text from anywhere (files, names, errors) safe to show as one
// line: what could command a terminal, forge a line or turn letters around is
// written as \u{1b}, bytes that are not UTF-8 as \x{ff}. Nothing else changes.
func visible(text string) string {
	return escapeHidden(text, func(b *strings.Builder, r rune, raw string) {
		if r == utf8.RuneError && len(raw) == 1 {
			fmt.Fprintf(b, `\x{%x}`, raw[0])
			return
		}
		fmt.Fprintf(b, `\u{%x}`, r)
	})
}

// sentences is visible for a message that may consist of several lines, as
// errors joined to one do.
func sentences(text string) string {
	return visible(strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
}

// printable is visible for a name, which it cuts off when it is far too long
// for a line.
func printable(text string) string {
	const most = 2048
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return visible(text)
}

// visibleJSON spells what a terminal could take for a command in JSON's own
// way. The value stays the same: such characters stand within strings only.
func visibleJSON(raw string) string {
	return escapeHidden(raw, func(b *strings.Builder, r rune, raw string) {
		switch {
		case r == '\n':
			b.WriteByte('\n') // between values
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	})
}

// escapeHidden calls escape for each character of text that does not print, or
// is not UTF-8, and keeps the others.
func escapeHidden(text string, escape func(b *strings.Builder, r rune, raw string)) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(text[i : i+n])
		} else {
			escape(&b, r, text[i:i+n])
		}
		i += n
	}
	return b.String()
}
