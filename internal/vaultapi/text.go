package vaultapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// appendText appends a JSON string. It is what most of an answer is made of, and
// most texts need no escapes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return append(b, `""`...) // strings can always be encoded
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// appendMember appends a member that is a string, with a comma unless it is the
// first of its object.
func appendMember(b []byte, name, value string) []byte {
	return appendText(appendName(b, name), value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(b, name), n, 10)
}

func appendName(b []byte, name string) []byte {
	b = comma(b)
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// clip makes a client's text fit to be shown.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return s
}
