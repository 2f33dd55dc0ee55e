package codec

import "encoding/json"

// jsonKind is the kind of a JSON value, as far as versions are told apart by it.
type jsonKind int

const (
	absent jsonKind = iota
	null
	text
	object
	array
	other
)

func kindOf(m members, name string) jsonKind {
	raw := m.get(name)
	if raw == nil {
		return absent
	}
	return kind(raw)
}

// kind looks at the first byte of a valid JSON value; values out of an object
// have no space in front.
func kind(raw json.RawMessage) jsonKind {
	switch raw[0] {
	case 'n':
		return null
	case '"':
		return text
	case '{':
		return object
	case '[':
		return array
	default:
		return other
	}
}
