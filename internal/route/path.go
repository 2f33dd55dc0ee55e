package route

import (
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
// either end does not count. Not ok: too long, or a segment is "." or ".." in
// any spelling. The stock server resolves such segments before routing; a
// worker that did so after routing would run another function than the one
// whose key was checked, so they match nothing here.
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
	for {
		i := strings.IndexByte(path[start:end], '/')
		s := span{start, start + i}
		if i < 0 {
			s.end = end
		}
		if len(buf) == maxSegments || climbs(path[s.start:s.end]) {
			return nil, false
		}
		buf = append(buf, s)
		if i < 0 {
			return buf, true
		}
		start = s.end + 1
	}
}

// climbs reports whether an escaped segment is, or hides behind escaped
// slashes, a "." or "..".
func climbs(segment string) bool {
	if strings.IndexByte(segment, '%') < 0 {
		return segment == "." || segment == ".."
	}
	text := unescape(segment)
	if text == "." || text == ".." {
		return true
	}
	if !strings.Contains(text, ".") || !strings.ContainsAny(text, `/\`) {
		return false
	}
	for p := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '/' || c == '\\' }) {
		if p == ".." {
			return true
		}
	}
	return false
}

// unescape decodes percent escapes. Escapes that are not two hexadecimal digits
// stay as they are, and so does the whole text when it would not be UTF-8.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	if !utf8.Valid(b) {
		return s
	}
	return string(b)
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
