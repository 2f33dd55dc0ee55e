package expression

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// Data is what the expressions of one invocation stand for. It is for one
// goroutine.
type Data struct {
	inv  *worker.Invocation
	now  time.Time
	body map[string]json.RawMessage // of a request, read when it is first needed
	read bool
}

// Of gives the data of an invocation at a time. Names ignore case. A data
// invocation has its metadata, and its trigger's value by the type of the
// trigger; an HTTP invocation has its route parameters, its query (also as
// {query.name}), its headers as {headers.name}, and the members of a JSON body, in
// this order; the parameter code is not data. Dots lead into JSON objects.
func Of(inv *worker.Invocation, now time.Time) *Data { return &Data{inv: inv, now: now} }

// value gives the text an expression stands for.
func (d *Data) value(p part) (string, error) {
	switch {
	case isGUID(p.name):
		return guid(uuid.New(), p.format)
	case isNow(p.name) && p.format == "" && !strings.Contains(p.name, "."):
		return d.now.UTC().Format(pathTime), nil
	case isNow(p.name):
		return formatTime(d.now, p.format)
	case strings.EqualFold(p.name, "sys.methodname"):
		return d.inv.Function.Name, nil
	}
	names := strings.Split(p.name, ".")
	v, ok := d.find(names)
	if !ok {
		return "", problem.New(problem.Invalid, fmt.Sprintf("the binding expression {%s} stands for nothing: function %s has no such data", p.name, d.inv.Function.Name)).
			WithNext("see which data the trigger gave, or make the member part of its JSON")
	}
	text, ok := scalar(v, p.format)
	if !ok {
		return "", problem.New(problem.Invalid, fmt.Sprintf("the binding expression {%s} stands for something that is not a text or a number", p.name)).
			WithNext("name a member of it")
	}
	return text, nil
}

// find follows names into the data. A name of the data itself may have dots: the
// headers of a request are looked up whole.
func (d *Data) find(names []string) (any, bool) {
	if d.inv.Request != nil {
		return d.ofRequest(names)
	}
	for name, v := range d.inv.Metadata {
		if strings.EqualFold(name, names[0]) {
			return follow(v, names[1:])
		}
	}
	if t := d.inv.Function.Trigger(); t != nil && (strings.EqualFold(t.Type, names[0]) || strings.EqualFold(t.Name, names[0])) {
		return follow(d.inv.Input, names[1:])
	}
	return nil, false
}

func (d *Data) ofRequest(names []string) (any, bool) {
	r := d.inv.Request
	whole := strings.Join(names, ".")
	for name, v := range d.inv.RouteParams {
		if strings.EqualFold(name, whole) {
			return v, true
		}
	}
	asQuery := whole
	if strings.EqualFold(names[0], "query") && len(names) > 1 {
		asQuery = strings.Join(names[1:], ".")
	}
	for name, v := range r.URL.Query() {
		if strings.EqualFold(name, asQuery) && !strings.EqualFold(name, "code") {
			return strings.Join(v, ","), true
		}
	}
	if strings.EqualFold(names[0], "headers") && len(names) > 1 {
		return d.header(strings.Join(names[1:], "."))
	}
	for name, v := range d.members() {
		if strings.EqualFold(name, names[0]) {
			return follow(v, names[1:])
		}
	}
	return nil, false
}

// header gives a header of the request, but no credential.
func (d *Data) header(name string) (any, bool) {
	for _, secret := range []string{"x-functions-key", "authorization", "cookie"} {
		if strings.EqualFold(name, secret) {
			return nil, false
		}
	}
	v := d.inv.Request.Header.Values(name)
	if len(v) > 0 && strings.EqualFold(name, "referer") { // a page opened with a key sends its address along
		v = []string{view.Find(d.inv.Request, d.inv).Referer(v[0])}
	}
	return strings.Join(v, ","), len(v) > 0
}

// members gives those of the request's body, if that is a JSON object.
func (d *Data) members() map[string]json.RawMessage {
	if !d.read {
		d.read = true
		_ = json.Unmarshal(bytes.TrimPrefix(d.inv.Body, []byte("\xef\xbb\xbf")), &d.body)
	}
	return d.body
}

// follow leads from a value into its members.
func follow(v any, names []string) (any, bool) {
	for _, name := range names {
		next, ok := member(v, name)
		if !ok {
			return nil, false
		}
		v = next
	}
	return v, v != nil
}

func member(v any, name string) (any, bool) {
	var object map[string]json.RawMessage
	switch v := v.(type) {
	case map[string]string:
		for n, s := range v {
			if strings.EqualFold(n, name) {
				return s, true
			}
		}
		return nil, false
	case json.RawMessage:
		_ = json.Unmarshal(v, &object)
	case string:
		_ = json.Unmarshal([]byte(v), &object)
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, false
		}
		_ = json.Unmarshal(raw, &object)
	}
	for n, raw := range object {
		if strings.EqualFold(n, name) {
			return raw, true
		}
	}
	return nil, false
}

// scalar gives a value as text; ok is false for objects, lists and bytes that are
// not text.
func scalar(v any, format string) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return formatted(v, format)
	case []byte:
		return string(v), utf8.Valid(v) && format == ""
	case time.Time:
		text, err := formatTime(v, format)
		return text, err == nil
	case bool:
		return map[bool]string{true: "True", false: "False"}[v], format == ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), format == ""
	case json.RawMessage:
		return scalarJSON(v, format)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", false
	}
	return scalarJSON(raw, format)
}

func scalarJSON(raw json.RawMessage, format string) (string, bool) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n':
		return "", false
	case raw[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return "", false
		}
		return formatted(s, format)
	case raw[0] == 't' || raw[0] == 'f':
		return map[bool]string{true: "True", false: "False"}[raw[0] == 't'], format == ""
	}
	return string(raw), format == ""
}

// formatted writes a text that is a time in a format; other texts have none.
func formatted(text, format string) (string, bool) {
	if format == "" {
		return text, true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", false
	}
	text, err = formatTime(t, format)
	return text, err == nil
}
