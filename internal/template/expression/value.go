package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Decode reads JSON text as a value of the language: whole numbers are int64. It
// returns problem.Invalid for what is no JSON, with its line.
func Decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		at := int64(len(text)) // it ends too early
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = min(at, syntax.Offset)
		}
		return nil, invalid("it is not JSON at line %d", 1+bytes.Count(text[:at], []byte("\n")))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, invalid("there is more than one JSON value")
	}
	return normal(v), nil
}

// normal turns the numbers of a decoded value into those of the language.
func normal(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // out of range is infinite, which no JSON shows again
		return max(min(f, maxFloat), -maxFloat)
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = normal(v[key])
		}
	}
	return v
}

const maxFloat = 1.7976931348623157e308

// Encode gives a value as JSON text.
func Encode(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", invalid("a %s cannot be written as JSON", typeName(v))
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Text gives a value as text, as string() does.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return Encode(v)
}

// Equal compares values; strings with regard to case.
func Equal(a, b any) bool {
	switch x := a.(type) {
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int64); ok {
			return x == float64(y)
		}
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, Equal)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, Equal)
	case *lambda:
		return false
	}
	return reflect.DeepEqual(a, b)
}

// TypeName gives the type of a value as templates call it.
func TypeName(v any) string { return typeName(v) }

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "lambda"
}

// names lists an object's members for a message.
func names(of map[string]any) string {
	list := slices.Sorted(maps.Keys(of))
	if len(list) == 0 {
		return "none"
	}
	if len(list) > 20 {
		list = append(list[:20], "…")
	}
	for i, name := range list {
		list[i] = clip(name)
	}
	return strings.Join(list, ", ")
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
