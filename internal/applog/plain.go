package applog

import (
	"strings"
	"unicode/utf8"
)

// Plain takes from a text what terminals take for commands: escape sequences go, other
// control characters but line ends and tabs become U+FFFD, and so do the characters
// that change the direction of what follows. A text without any is given back as it is.
func Plain(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		if n := escape(s[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\r' && i+1 < len(s) && s[i+1] == '\n': // a line end is one character
		case hostile(r):
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// clean reports whether a text has nothing to take out; most have not.
func clean(s string) bool {
	for _, r := range s {
		if hostile(r) {
			return false
		}
	}
	return true
}

func hostile(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < ' ' || r == utf8.RuneError:
		return true
	case r < 0x7f:
		return false
	}
	return r < 0xa0 || r == 0x200e || r == 0x200f || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// escape gives the length of the escape sequence at the start of s, 0 if there is none.
// One that does not end is as long as its introducer.
func escape(s string) int {
	switch {
	case len(s) < 2 || s[0] != 0x1b:
		return 0
	case s[1] == '[': // parameters, then a final byte
		for i := 2; i < len(s) && i < 64; i++ {
			if s[i] >= '@' && s[i] <= '~' {
				return i + 1
			}
			if s[i] < ' ' || s[i] > '?' {
				break
			}
		}
	case strings.IndexByte("]PX^_", s[1]) >= 0: // a string, up to BEL or ESC \
		for i := 2; i < len(s) && i < 4096; i++ {
			switch {
			case s[i] == 0x07:
				return i + 1
			case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\':
				return i + 2
			case s[i] == '\n':
				return 2
			}
		}
	}
	return 2
}
