package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// toTyped gives a value as the worker gets it (see [worker.Invocation]). Lists
// are collections only for workers that know them.
func toTyped(v any, caps *capabilities) (*wire.TypedData, error) {
	switch v := v.(type) {
	case nil:
		return &wire.TypedData{}, nil
	case string:
		return textData(v), nil
	case []byte:
		return bytesData(v), nil
	case json.RawMessage:
		return jsonData(string(v)), nil
	case float64:
		return &wire.TypedData{Data: &wire.TypedData_Double{Double: v}}, nil
	}
	if caps.collections {
		if t := collection(v, caps.emptyEntries); t != nil {
			return t, nil
		}
	}
	text, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonData(text), nil
}

func textData(s string) *wire.TypedData {
	return &wire.TypedData{Data: &wire.TypedData_String_{String_: s}}
}

func jsonData(s string) *wire.TypedData {
	return &wire.TypedData{Data: &wire.TypedData_Json{Json: s}}
}

func bytesData(b []byte) *wire.TypedData {
	return &wire.TypedData{Data: &wire.TypedData_Bytes{Bytes: b}}
}

// collection gives a list as a collection; nil for what is none.
func collection(v any, keepEmpty bool) *wire.TypedData {
	switch v := v.(type) {
	case []string:
		list := &wire.CollectionString{}
		for _, s := range v {
			if s != "" || keepEmpty {
				list.String_ = append(list.String_, s)
			}
		}
		return &wire.TypedData{Data: &wire.TypedData_CollectionString{CollectionString: list}}
	case [][]byte:
		list := &wire.CollectionBytes{}
		for _, b := range v {
			if len(b) > 0 || keepEmpty {
				list.Bytes = append(list.Bytes, b)
			}
		}
		return &wire.TypedData{Data: &wire.TypedData_CollectionBytes{CollectionBytes: list}}
	case []float64:
		return &wire.TypedData{Data: &wire.TypedData_CollectionDouble{CollectionDouble: &wire.CollectionDouble{Double: v}}}
	case []int64:
		return &wire.TypedData{Data: &wire.TypedData_CollectionSint64{CollectionSint64: &wire.CollectionSInt64{Sint64: v}}}
	}
	return nil
}

// marshal writes v as JSON without escaping the characters of HTML.
func marshal(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// fromTyped gives a worker's value as JSON, or as bytes if that is what it is;
// neither for null.
func fromTyped(t *wire.TypedData) (json.RawMessage, []byte, error) {
	switch d := t.GetData().(type) {
	case nil:
		return nil, nil, nil
	case *wire.TypedData_String_:
		return asJSON(d.String_)
	case *wire.TypedData_Json:
		return fromJSON(d.Json)
	case *wire.TypedData_Bytes:
		return nil, notNil(d.Bytes), nil
	case *wire.TypedData_Stream:
		return nil, notNil(d.Stream), nil
	case *wire.TypedData_Int:
		return json.RawMessage(strconv.FormatInt(d.Int, 10)), nil, nil
	case *wire.TypedData_Double:
		if math.IsNaN(d.Double) || math.IsInf(d.Double, 0) {
			return nil, nil, fmt.Errorf("%v has no place in JSON", d.Double)
		}
		return asJSON(d.Double)
	case *wire.TypedData_CollectionString:
		return asJSON(d.CollectionString.GetString_())
	case *wire.TypedData_CollectionDouble:
		return asJSON(d.CollectionDouble.GetDouble())
	case *wire.TypedData_CollectionSint64:
		return asJSON(d.CollectionSint64.GetSint64())
	case *wire.TypedData_CollectionBytes:
		return asJSON(d.CollectionBytes.GetBytes())
	}
	return nil, nil, fmt.Errorf("a value of type %T is not one a function can return here", t.GetData())
}

func asJSON(v any) (json.RawMessage, []byte, error) {
	text, err := marshal(v)
	return json.RawMessage(text), nil, err
}

// fromJSON takes a document as it is; what is none is text.
func fromJSON(text string) (json.RawMessage, []byte, error) {
	switch {
	case text == "null" || text == "":
		return nil, nil, nil
	case json.Valid([]byte(text)):
		return json.RawMessage(text), nil, nil
	}
	return asJSON(text)
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
