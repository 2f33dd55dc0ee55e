package telemetry

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// maxField bounds what one field adds to a line, in bytes before escaping.
const maxField = 2048

// maxKey is how long an identifiable key can be, percent-encoded twice.
const maxKey = 512

// RequestEvent is what the request log says about one request. It names the
// key that opened the function, never its value.
type RequestEvent struct {
	Time         time.Time // when the request arrived; the log's clock is asked if zero
	Status       int       // of the answer
	Method       string    // redacted by the log
	Path         string    // as received; redacted by the log
	Query        string    // raw; redacted by the log
	App          string
	Function     string // "" when no route matched
	KeyName      string // "" when no key was accepted
	KeyKind      string // kind of that key: master, host, function or system
	Duration     time.Duration
	InvocationID string
	Bytes        int64 // of the answer's body
	Remote       string
	Reason       string // why the request was refused or failed, for the operator; redacted by the log
}

// appendEventJSON appends e as one line of JSON, valid whatever e holds.
func appendEventJSON(dst []byte, e *RequestEvent, dropped uint64) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTimestamp(dst, e.Time)
	dst = append(dst, `","msg":"request","status":`...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	dst = appendMember(dst, `,"method":`, RedactText(e.Method))
	dst = append(dst, `,"path":"`...)
	dst = appendTarget(dst, e, appendEscaped)
	dst = append(dst, '"')
	dst = appendMember(dst, `,"app":`, e.App)
	dst = appendMember(dst, `,"function":`, e.Function)
	dst = appendMember(dst, `,"keyName":`, e.KeyName)
	dst = appendMember(dst, `,"keyKind":`, e.KeyKind)
	dst = append(dst, `,"ms":`...)
	dst = appendMillis(dst, e.Duration)
	dst = appendMember(dst, `,"invocation":`, e.InvocationID)
	dst = append(dst, `,"bytes":`...)
	dst = strconv.AppendInt(dst, e.Bytes, 10)
	dst = appendMember(dst, `,"remote":`, e.Remote)
	dst = appendMember(dst, `,"reason":`, RedactText(e.Reason))
	dst = appendDropped(dst, `,"dropped":`, dropped)
	return append(dst, '}', '\n')
}

// appendEventText appends e as one short line:
//
//	20:15:04 GET /api/hello 200 1.234ms 12B app=shop function=Hello key=function/default …
func appendEventText(dst []byte, e *RequestEvent, dropped uint64) []byte {
	dst = append(appendTimeOfDay(dst, e.Time), ' ')
	dst = append(appendPrintable(dst, limit(RedactText(e.Method)), true), ' ')
	dst = appendTarget(dst, e, appendPrintableWord)
	dst = strconv.AppendInt(append(dst, ' '), int64(e.Status), 10)
	dst = append(appendMillis(append(dst, ' '), e.Duration), "ms "...)
	dst = append(strconv.AppendInt(dst, e.Bytes, 10), 'B')
	dst = appendField(dst, " app=", e.App)
	dst = appendField(dst, " function=", e.Function)
	if e.KeyKind != "" || e.KeyName != "" {
		dst = appendPrintableWord(append(dst, " key="...), limit(e.KeyKind))
		dst = appendKeyless(append(dst, '/'), e.KeyName, maxField, appendPrintableWord)
	}
	dst = appendField(dst, " invocation=", e.InvocationID)
	dst = appendField(dst, " remote=", e.Remote)
	if e.Reason != "" {
		dst = strconv.AppendQuote(append(dst, " reason="...), limit(RedactText(e.Reason)))
	}
	dst = appendDropped(dst, " dropped=", dropped)
	return append(dst, '\n')
}

// appendLoss appends a line that only says how many lines are missing.
func appendLoss(dst []byte, format Format, now time.Time, dropped uint64) []byte {
	if format != JSON {
		dst = append(appendTimeOfDay(dst, now), " request lines lost"...)
		return append(appendDropped(dst, " dropped=", dropped), '\n')
	}
	dst = appendTimestamp(append(dst, `{"time":"`...), now)
	dst = append(dst, `","msg":"request lines lost"`...)
	return append(appendDropped(dst, `,"dropped":`, dropped), '}', '\n')
}

// appendTarget appends path and query without secrets, each piece by escape.
func appendTarget(dst []byte, e *RequestEvent, escape func([]byte, string) []byte) []byte {
	dst = appendRedacted(dst, redactor{s: e.Path}, escape)
	if e.Query == "" {
		return dst
	}
	return appendRedacted(append(dst, '?'), redactor{s: e.Query, fresh: true}, escape)
}

// appendRedacted appends the first maxField bytes of what r walks, with the
// secrets among them hidden. A key is looked for beyond that end too: its first
// half alone would not be known for one.
func appendRedacted(dst []byte, r redactor, escape func([]byte, string) []byte) []byte {
	r.s = r.s[:min(len(r.s), maxField+maxKey)]
	for {
		at := r.pos
		keep, hid := r.next()
		dst = appendKeyless(dst, keep, maxField-at, escape)
		if !hid || at+len(keep) >= maxField {
			return dst
		}
		dst = append(dst, mask...)
	}
}

// appendKeyless appends the first most bytes of s, with the identifiable keys
// that begin there hidden.
func appendKeyless(dst []byte, s string, most int, escape func([]byte, string) []byte) []byte {
	done := 0
	for {
		start, end, ok := findKey(s, done)
		if !ok || start >= most {
			return escape(dst, s[done:max(done, min(most, len(s)))])
		}
		dst = append(escape(dst, s[done:start]), mask...)
		done = end
	}
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(dst, name...), '"')
	return append(appendKeyless(dst, value, maxField, appendEscaped), '"')
}

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendKeyless(append(dst, name...), value, maxField, appendPrintableWord)
}

func appendDropped(dst []byte, name string, dropped uint64) []byte {
	if dropped == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), dropped, 10)
}

func appendPrintableWord(dst []byte, s string) []byte { return appendPrintable(dst, s, true) }

// limit cuts what is too long for a line. Secrets must be hidden before: what
// is left of a key that is cut would no longer be known for one.
func limit(s string) string {
	if len(s) > maxField {
		return s[:maxField]
	}
	return s
}

// appendEscaped appends s as the inside of a JSON string; bytes that are not
// UTF-8 become U+FFFD, as encoding/json does it.
func appendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			dst = appendEscapedByte(dst, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(append(dst, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029': // line ends to JavaScript and some collectors
			dst = append(append(dst, s[from:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&15])
			from = i + n
		}
		i += n
	}
	return append(dst, s[from:]...)
}

func appendEscapedByte(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendMillis appends d in milliseconds with three decimals.
func appendMillis(dst []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	dst = strconv.AppendInt(dst, us/1000, 10)
	f := int(us % 1000)
	return append(dst, '.', digit(f/100), digit(f/10), digit(f))
}

// appendTimestamp appends t in UTC to the millisecond (RFC 3339). It is written
// by hand because time.AppendFormat takes a fifth of the budget of a line.
func appendTimestamp(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return append(dst, "0000-01-01T00:00:00.000Z"...)
	}
	h, m, s := t.Clock()
	ms := t.Nanosecond() / 1e6
	dst = append(dst, digit(year/1000), digit(year/100), digit(year/10), digit(year), '-',
		digit(int(month)/10), digit(int(month)), '-', digit(day/10), digit(day), 'T',
		digit(h/10), digit(h), ':', digit(m/10), digit(m), ':', digit(s/10), digit(s), '.')
	return append(dst, digit(ms/100), digit(ms/10), digit(ms), 'Z')
}
