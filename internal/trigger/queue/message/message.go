// Package message owns what is in a storage queue's messages: how their text
// stands for a trigger's value, what a function learns about a message, and which
// messages an output's value makes. It does not know the service they are kept in.
package message

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// MaxText is the most bytes of a message's text, encoded, that the service takes.
const MaxText = 64 << 10

// Received is a message as the service gave it.
type Received struct {
	ID           string
	Text         string // as it is kept, encoded
	PopReceipt   string // the right to change it, until it is given to others
	DequeueCount int64  // how often it has been given out, this time included
	Inserted     time.Time
	Expires      time.Time
	NextVisible  time.Time
}

// Value gives what a function gets of a message: text, or bytes if binary is set
// or they are no text. It returns problem.Invalid if the text is not in the
// encoding.
func (m *Received) Value(encoding string, binary bool) (any, error) {
	data := []byte(m.Text)
	if encoding == funcapp.EncodingBase64 {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.TrimSpace(m.Text)); err != nil {
			return nil, problem.New(problem.Invalid, "the message is not base64").
				WithNext(`send messages as base64, or set extensions.queues.messageEncoding to "none" in host.json`)
		}
	}
	if binary || !utf8.Valid(data) {
		return data, nil
	}
	return string(data), nil
}

// Metadata gives what a function learns about a message, with the members of its
// value if that is a JSON object; those come first, as the stock host has it.
func (m *Received) Metadata(value any) map[string]any {
	text, ok := value.(string)
	if !ok {
		text = string(value.([]byte))
	}
	all := map[string]any{
		"QueueTrigger": text, "DequeueCount": m.DequeueCount, "ExpirationTime": m.Expires, "Id": m.ID,
		"InsertionTime": m.Inserted, "NextVisibleTime": m.NextVisible, "PopReceipt": m.PopReceipt,
	}
	if !utf8.ValidString(text) {
		delete(all, "QueueTrigger")
	}
	for name, raw := range members(text) {
		for own := range all {
			if strings.EqualFold(own, name) {
				delete(all, own)
			}
		}
		all[name] = plain(raw)
	}
	return all
}

// members gives those of a JSON object; nil for everything else.
func members(text string) map[string]json.RawMessage {
	if t := strings.TrimSpace(text); !strings.HasPrefix(t, "{") {
		return nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return nil
	}
	return object
}

// plain gives a JSON string as text and everything else as it is.
func plain(raw json.RawMessage) any {
	var s string
	if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return raw
}

// Texts gives the messages an output's value makes, encoded: one for bytes, a text,
// a number or an object, one per element for a list, none for null. It returns
// problem.Invalid for a message that the service would not take.
func Texts(value json.RawMessage, b []byte, encoding string) ([]string, error) {
	if b != nil {
		text, err := encode(b, encoding)
		return []string{text}, err
	}
	var list []json.RawMessage
	switch t := strings.TrimSpace(string(value)); {
	case t == "" || t == "null":
		return nil, nil
	case t[0] != '[':
		list = []json.RawMessage{value}
	default:
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, problem.Wrap(problem.Invalid, "the value is not JSON", err)
		}
	}
	texts := make([]string, 0, len(list))
	for i, item := range list {
		if string(item) == "null" {
			continue
		}
		text, err := encode(content(item), encoding)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func content(item json.RawMessage) []byte {
	if s, ok := plain(json.RawMessage(strings.TrimSpace(string(item)))).(string); ok {
		return []byte(s)
	}
	return item
}

// encode writes a message's text. Text as it is must be such that XML can carry
// it; otherwise characters would silently change on the way.
func encode(data []byte, encoding string) (string, error) {
	text := string(data)
	switch {
	case encoding == funcapp.EncodingBase64:
		text = base64.StdEncoding.EncodeToString(data)
	case !utf8.Valid(data) || strings.ContainsFunc(text, unfitForXML):
		return "", problem.New(problem.Invalid, "the message has bytes or control characters that cannot be sent as text").
			WithNext(`set extensions.queues.messageEncoding to "base64" in host.json`)
	}
	if len(text) > MaxText {
		return "", problem.New(problem.TooLarge, fmt.Sprintf("the message has %d bytes, a queue takes at most %d as it is encoded", len(text), MaxText)).
			WithNext("keep large content elsewhere and send its address")
	}
	return text, nil
}

func unfitForXML(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xfffe || c == 0xffff
}
