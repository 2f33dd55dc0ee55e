package accesskey

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// encode writes JSON with characters of HTML as they are, as the codec does.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte("null") // not reached with times of years 0 to 9999; read back, it is no metadata
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendUnknown puts members into an object that has some, in the order of
// their names.
func appendUnknown(object []byte, unknown map[string][]byte) []byte {
	if len(unknown) == 0 {
		return object
	}
	b := bytes.NewBuffer(bytes.TrimSuffix(object, []byte("}")))
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if slices.Contains(storedNames, name) || !json.Valid(unknown[name]) {
			continue
		}
		b.WriteByte(',')
		b.Write(encode(name))
		b.WriteByte(':')
		b.Write(unknown[name])
	}
	b.WriteByte('}')
	return b.Bytes()
}
