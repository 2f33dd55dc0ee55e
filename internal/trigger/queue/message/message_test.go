package message_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
)

func TestValues(t *testing.T) {
	tests := map[string]struct {
		text, encoding string
		binary         bool
		want           any
		kind           error
	}{
		"text":                {text: "aGVsbG8=", encoding: "base64", want: "hello"},
		"nothing":             {text: "", encoding: "base64", want: ""},
		"as it is":            {text: "aGVsbG8=", encoding: "none", want: "aGVsbG8="},
		"binary":              {text: "aGVsbG8=", encoding: "base64", binary: true, want: []byte("hello")},
		"bytes, not text":     {text: "/wA=", encoding: "base64", want: []byte{0xff, 0}},
		"not in the encoding": {text: "{hello}", encoding: "base64", kind: problem.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := message.Received{Text: tt.text}
			got, err := m.Value(tt.encoding, tt.binary)
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.kind) || (err != nil) != (tt.kind != nil) {
				t.Error(err, diff)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	m := message.Received{ID: "1", PopReceipt: "p", DequeueCount: 2, Inserted: at, Expires: at.Add(1), NextVisible: at.Add(2)}
	own := map[string]any{"DequeueCount": int64(2), "ExpirationTime": at.Add(1), "Id": "1", "InsertionTime": at, "NextVisibleTime": at.Add(2), "PopReceipt": "p"}
	with := func(more map[string]any) map[string]any {
		all := map[string]any{}
		for _, m := range []map[string]any{own, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	object := `{"name": "a", "n": 1, "more": {"x": [1]}, "none": null}`
	shadows := with(map[string]any{"QueueTrigger": `{"id": "mine"}`, "id": "mine"})
	delete(shadows, "Id")
	for name, tt := range map[string]struct {
		value any
		want  map[string]any
	}{
		"text":           {"hello", with(map[string]any{"QueueTrigger": "hello"})},
		"bytes":          {[]byte("hello"), with(map[string]any{"QueueTrigger": "hello"})},
		"no text":        {[]byte{0xff}, own},
		"a list":         {"[1]", with(map[string]any{"QueueTrigger": "[1]"})},
		"half an object": {`{"a":`, with(map[string]any{"QueueTrigger": `{"a":`})},
		"an object": {object, with(map[string]any{"QueueTrigger": object, "name": "a", "n": json.RawMessage("1"),
			"more": json.RawMessage(`{"x": [1]}`), "none": json.RawMessage("null")})},
		"members come first": {`{"id": "mine"}`, shadows},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, m.Metadata(tt.value)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOutputsBecomeMessages(t *testing.T) {
	large := strings.Repeat("a", message.MaxText)
	tests := map[string]struct {
		value    string
		bytes    []byte
		encoding string
		want     []string
		kind     error
	}{
		"text":               {value: `"hello"`, encoding: "base64", want: []string{"aGVsbG8="}},
		"text as it is":      {value: ` "hel\"lo" `, encoding: "none", want: []string{`hel"lo`}},
		"empty text":         {value: `""`, encoding: "base64", want: []string{""}},
		"a number":           {value: "7", encoding: "none", want: []string{"7"}},
		"an object":          {value: `{"a": 1}`, encoding: "none", want: []string{`{"a": 1}`}},
		"a list":             {value: `["a", {"b": 1}, null, 2, ["c"]]`, encoding: "none", want: []string{"a", `{"b": 1}`, "2", `["c"]`}},
		"an empty list":      {value: `[]`, encoding: "none", want: []string{}},
		"null":               {value: "null", encoding: "none"},
		"nothing":            {encoding: "none"},
		"bytes":              {bytes: []byte{0xff, 0}, encoding: "base64", want: []string{"/wA="}},
		"no bytes":           {bytes: []byte{}, encoding: "base64", want: []string{""}},
		"bytes as text":      {bytes: []byte{0xff}, encoding: "none", kind: problem.Invalid},
		"control characters": {value: `"a\u0001"`, encoding: "none", kind: problem.Invalid},
		"line ends":          {value: `"a\r\n\tb"`, encoding: "none", want: []string{"a\r\n\tb"}},
		"as large as may be": {value: `"` + large + `"`, encoding: "none", want: []string{large}},
		"too large":          {value: `["` + large + `"]`, encoding: "base64", kind: problem.TooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := message.Texts(json.RawMessage(tt.value), tt.bytes, tt.encoding)
			if tt.kind != nil {
				if !errors.Is(err, tt.kind) || problem.NextOf(err) == "" {
					t.Error(err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"abc": true, "a-b-c": true, "0orders9": true, strings.Repeat("a", 63): true,
		"": false, "ab": false, "Orders": false, "-ab": false, "ab-": false, "a--b": false, "a_b": false, "a/b": false, strings.Repeat("a", 64): false, "orders\n": false,
	} {
		if err := message.CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	for queue, want := range map[string]string{"orders": "orders-poison", "orders-poison": "", strings.Repeat("a", 57): ""} {
		if got, ok := message.Poison(queue); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", queue, got, ok)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(`["a", {"b": 1}]`)
	f.Add(`"\u0000"`)
	f.Fuzz(func(t *testing.T, value string) {
		for _, encoding := range []string{"base64", "none"} {
			texts, err := message.Texts(json.RawMessage(value), nil, encoding)
			if err != nil {
				continue
			}
			for _, text := range texts {
				m := message.Received{Text: text}
				got, err := m.Value(encoding, false)
				if err != nil {
					t.Fatalf("%q cannot be read: %v", text, err)
				}
				m.Metadata(got)
			}
		}
	})
}
