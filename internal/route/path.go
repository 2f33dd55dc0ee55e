package route

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Limits of request paths; beyond them nothing matches.
const (
	maxPath     = 8 << 10
	maxSegments = 1000
)

// span is one segment of a path: text path[start:end], still escaped.
type span struct{ start, end int }

// split cuts an escaped path into segments, appended to buf. One slash at
// either end does not count. Not ok: too long, or a segment strays.
func split(path string, buf []span) ([]span, bool) {
	if len(path) > maxPath {
		return nil, false
	}
	start := 0
	if strings.HasPrefix(path, "/") {
		start = 1
	}
	end := len(path)
	if start >= end {
		return buf, true
	}
	if path[end-1] == '/' {
		end--
	}
	plain := ordinary(path)
	for {
		i := strings.IndexByte(path[start:end], '/')
		s := span{start, start + i}
		if i < 0 {
			s.end = end
		}
		text := path[s.start:s.end]
		if len(buf) == maxSegments || text == "." || text == ".." || !plain && strays(text) {
			return nil, false
		}
		buf = append(buf, s)
		if i < 0 {
			return buf, true
		}
		start = s.end + 1
	}
}

// strays reports whether a handler could take an escaped segment for a place
// elsewhere: it is not UTF-8, or it is "." or "..", alone or between slashes of
// either kind, in any spelling, with or without servlet parameters ("..;a=b").
// The stock server resolves dots before routing; a handler that did so after
// routing would run another function than the one whose key was checked, so
// such segments match nothing here.
func strays(segment string) bool {
	var buf [256]byte
	text := appendUnescaped(buf[:0], segment)
	return !utf8.Valid(text) || climbs(text)
}

// ordinary reports whether a path means the same however it is read, but for
// its dots.
func ordinary(path string) bool {
	for i := range len(path) {
		if c := path[i]; c >= utf8.RuneSelf || peculiar[c] {
			return false
		}
	}
	return true
}

// peculiar are the characters of ASCII that are not always taken for themselves.
var peculiar = [utf8.RuneSelf]bool{'%': true, ';': true, '\\': true}

// climbs reports whether a piece of decoded text between slashes is "." or ".."
// once everything from its first semicolon on is cut off.
func climbs(text []byte) bool {
	for done := false; !done; {
		end := bytes.IndexAny(text, `/\`)
		if done = end < 0; done {
			end = len(text)
		}
		piece, _, _ := bytes.Cut(text[:end], []byte{';'})
		if string(piece) == "." || string(piece) == ".." {
			return true
		}
		text = text[min(end+1, len(text)):]
	}
	return false
}

// unescape decodes the percent escapes of a text that split has let pass, which
// makes the result UTF-8.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return string(appendUnescaped(make([]byte, 0, len(s)), s))
}

// appendUnescaped appends s with its percent escapes decoded. Those that are
// not two hexadecimal digits stay as they are.
func appendUnescaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return b
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
