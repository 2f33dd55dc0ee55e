package vaultapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// members are those of a JSON object, by name in lower case.
type members map[string]json.RawMessage

// readObject reads the members of a body. what names the object in errors, "" is
// the body itself.
func readObject(text []byte, what string) (members, error) {
	if what == "" {
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		if err := checkText(text); err != nil {
			return nil, err
		}
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil || raw == nil {
		return nil, wrongProperty(what, "an object")
	}
	m := make(members, len(raw))
	for name, value := range raw {
		lower := strings.ToLower(name)
		if _, twice := m[lower]; twice { // which of them counted would be chance
			return nil, badParameter("Property " + clip(lower) + " is there twice, in different spellings.")
		}
		m[lower] = value
	}
	return m, nil
}

// checkText refuses what is no JSON, and what decoding would silently change:
// bytes that are not UTF-8 and halves of surrogate pairs.
func checkText(text []byte) error {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return badParameter("The request body is missing.")
	case !utf8.Valid(text):
		return badParameter("The request body is not UTF-8.")
	case !json.Valid(text):
		return badParameter("The request body is not valid JSON.")
	case loneSurrogate(text):
		return badParameter("The request body has half of a surrogate pair, which is no character.")
	}
	return nil
}

// loneSurrogate finds an escaped surrogate without its other half in valid JSON.
func loneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		if text[i+1] != 'u' {
			text = text[i+2:]
			continue
		}
		unit := codeUnit(text[i:])
		text = text[i+6:]
		switch {
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			if low := codeUnit(text); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			text = text[6:]
		}
	}
}

// codeUnit gives the value of the \uXXXX that text begins with, 0 for none.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return unit
}

// has reports whether a member is there; null is as good as absent, as for the
// cloud.
func (m members) has(name string) (json.RawMessage, bool) {
	raw, ok := m[strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])]
	return raw, ok && string(raw) != "null"
}

// text gives a member that is a string; nil if it is absent. name is the path of
// the property, as errors show it.
func (m members) text(name string) (*string, error) {
	raw, ok := m.has(name)
	if !ok {
		return nil, nil
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return nil, wrongProperty(name, "a string")
	}
	return &s, nil
}

func (m members) flag(name string) (*bool, error) {
	raw, ok := m.has(name)
	if !ok {
		return nil, nil
	}
	b := string(raw) == "true"
	if !b && string(raw) != "false" {
		return nil, wrongProperty(name, "true or false")
	}
	return &b, nil
}

// lastSecond is the end of year 9999, beyond which clients cannot read times.
const lastSecond = 253402300799

// moment gives a member that is a time in seconds since 1970.
func (m members) moment(name string) (*time.Time, error) {
	raw, ok := m.has(name)
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > lastSecond {
		return nil, wrongProperty(name, "a whole number of seconds since 1970")
	}
	t := time.Unix(n, 0).UTC()
	return &t, nil
}

// texts gives a member that is an object of strings; nil if it is absent.
func (m members) texts(name string) (map[string]string, error) {
	raw, ok := m.has(name)
	if !ok {
		return nil, nil
	}
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		return nil, wrongProperty(name, "an object of strings")
	}
	out := make(map[string]string, len(values))
	for key, value := range values {
		var s string
		if value[0] != '"' || json.Unmarshal(value, &s) != nil {
			return nil, wrongProperty(name, "an object of strings")
		}
		out[key] = s
	}
	return out, nil
}

// object gives a member that is an object; nil, of which every member is absent,
// if it is not there.
func (m members) object(name string) (members, error) {
	raw, ok := m.has(name)
	if !ok {
		return nil, nil
	}
	return readObject(raw, name)
}
