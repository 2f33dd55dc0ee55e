package telemetry

import "strings"

// mask stands where a secret was.
const mask = "REDACTED"

// secretParameters are the names whose values never leave, in lower case: code
// carries access keys, sig signs storage links, the others occur in links and
// connection strings of the services that apps use, or are what callers take
// for the name of an access key. [secretName] knows their first letters.
var secretParameters = [...]string{
	"code", "sig", "access_token", "client_secret",
	"accountkey", "sharedaccesskey", "password", "pwd",
	"key", "apikey", "api_key", "api-key", "x-api-key", "x-functions-key", "access_key", "accesskey",
	"subscription-key", "token", "id_token", "refresh_token", "secret",
}

// RedactQuery hides the values of secret parameters (code, sig, …) in a raw
// query string, however their names are spelled: any case, percent-encoded,
// nested in another parameter's value. It hides identifiable access keys under
// any name. Without a secret it returns its argument and allocates nothing.
func RedactQuery(rawQuery string) string {
	return redact(redactor{s: redactKeys(rawQuery), fresh: true})
}

// RedactURL does what [RedactQuery] does for a whole URL, absolute or not, and
// hides user information before the host too.
func RedactURL(url string) string {
	return redact(redactor{s: redactUserInfo(redactKeys(url))})
}

// RedactText does what [RedactURL] does for every URL and connection string
// within a text such as an error message.
func RedactText(text string) string {
	return redact(redactor{s: redactUserInfo(redactKeys(text)), text: true})
}

func redact(r redactor) string {
	keep, hid := r.next()
	if !hid {
		return keep
	}
	var b strings.Builder
	b.Grow(len(r.s))
	for hid {
		b.WriteString(keep)
		b.WriteString(mask)
		keep, hid = r.next()
	}
	b.WriteString(keep)
	return b.String()
}

// redactor walks a string and stops at each secret value. When in doubt it
// hides too much: a value ends where the next parameter certainly begins.
type redactor struct {
	s     string
	pos   int
	fresh bool // a parameter name may begin at pos
	text  bool // values also end at white space and at a closing quote; colours are part of them
}

// next gives the piece up to the next secret value and reports whether there is
// one, or the rest of the string and false.
func (r *redactor) next() (keep string, hid bool) {
	from := r.pos
	if from == 0 && plain(r.s) {
		r.pos = len(r.s)
	}
	for r.pos < len(r.s) {
		if r.fresh {
			if n := secretName(r.s[r.pos:]); n > 0 {
				keep = r.s[from : r.pos+n]
				r.pos = r.valueEnd(r.pos + n)
				r.fresh = false
				return keep, true
			}
		}
		c, n := r.s[r.pos], 1
		if c == '%' || c == '\\' {
			c, n = unit(r.s[r.pos:])
		}
		r.pos += n
		r.fresh = c == '&' || c == '?' || c == ';' || c == '#'
	}
	return r.s[from:], false
}

// plain reports whether s can hold no parameter in any spelling; most paths do
// not, and are not looked at twice.
func plain(s string) bool {
	return strings.IndexByte(s, '=') < 0 && strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '\\') < 0
}

// valueEnd gives where the value that begins at i is over.
func (r *redactor) valueEnd(i int) int {
	for i < len(r.s) {
		switch c := r.s[i]; {
		case c == '&', r.text && (c <= ' ' && c != escape || c == '"'):
			return i
		case r.text && c == escape: // a colour ends nothing: it may stand before the value
			i += colour(r.s[i:]) - 1
		case r.text && c == '\\':
			if d, n := unit(r.s[i:]); n > 1 && d == '&' {
				return i
			}
			i++ // what is escaped, a quote for example, is part of the value
		}
		i++
	}
	return len(r.s)
}

// escape begins what terminals take for commands.
const escape = 0x1b

// colour gives the length of the colour or other command at the start of s, at least 1.
func colour(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 1
	}
	for i := 2; i < len(s) && i < 64; i++ {
		if s[i] >= '@' && s[i] <= '~' {
			return i + 1
		}
		if s[i] < ' ' || s[i] > '?' {
			break
		}
	}
	return 2
}

// secretName gives the length of "name=" at the start of s when the name is one
// of [secretParameters], else 0.
func secretName(s string) int {
	first, _ := unit(s)
	first = lower(first)
	if strings.IndexByte("csapkxtir", first) < 0 {
		return 0
	}
	for _, name := range secretParameters {
		if name[0] != first {
			continue
		}
		if n := spelled(s, name); n > 0 {
			return n
		}
	}
	return 0
}

// spelled gives the length of name followed by "=" at the start of s, in
// whatever spelling, or 0.
func spelled(s, name string) int {
	at := 0
	for i := 0; i <= len(name); i++ {
		if at >= len(s) {
			return 0
		}
		c, n := unit(s[at:])
		at += n
		if i == len(name) {
			if c == '=' {
				return at
			}
			return 0
		}
		if lower(c) != name[i] {
			return 0
		}
	}
	return 0
}

// unit decodes the character at the start of s, seeing through percent-encoding
// of any depth (%3F, %253F, …) and through \u00XX as JSON writes it. It gives
// the character and the bytes it takes.
func unit(s string) (c byte, n int) {
	switch {
	case s[0] == '%':
		i := 1
		for len(s) >= i+4 && s[i] == '2' && s[i+1] == '5' {
			i += 2
		}
		if c, ok := hexPair(s, i); ok {
			return c, i + 2
		}
	case s[0] == '\\' && strings.HasPrefix(s, `\u00`):
		if c, ok := hexPair(s, 4); ok {
			return c, 6
		}
	}
	return s[0], 1
}

func hexPair(s string, i int) (byte, bool) {
	if len(s) < i+2 {
		return 0, false
	}
	hi, ok1 := hexDigit(s[i])
	lo, ok2 := hexDigit(s[i+1])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= lower(c) && lower(c) <= 'f':
		return lower(c) - 'a' + 10, true
	}
	return 0, false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
