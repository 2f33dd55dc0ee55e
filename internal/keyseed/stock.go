package keyseed

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// stockFile has the members of both JSON forms in which the functions host takes
// keys: its host document, and the context that a platform starts it with, which
// has the keys of functions too.
type stockFile struct {
	Master    json.RawMessage `json:"masterKey"` // an object; a text in the oldest form
	Functions []stockKey      `json:"functionKeys"`
	System    []stockKey      `json:"systemKeys"`
	Function  json.RawMessage `json:"functionKey"` // of the oldest form

	Secrets *startContext `json:"secrets"`
	startContext
}

// startContext is the keys within a start-up context.
type startContext struct {
	Host *struct {
		Master   string            `json:"master"`
		Function map[string]string `json:"function"`
		System   map[string]string `json:"system"`
	} `json:"host"`
	Of []struct {
		Name    string            `json:"name"`
		Secrets map[string]string `json:"secrets"`
	} `json:"function"`
}

type stockKey struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	Encrypted bool   `json:"encrypted"`
}

// ParseStock reads keys as the functions host's own files have them. is false for
// a text that is no such file. Members that the host knows nothing of don't
// matter. It returns problem.Invalid for values that are sealed, and for text that
// looks like such a file and cannot be read; errors tell no values.
func ParseStock(text []byte) (list []Entry, is bool, err error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || !slices.ContainsFunc(stockMembers, func(m string) bool { return members[m] != nil }) {
		return nil, false, nil
	}
	var f stockFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, true, unreadable(err)
	}
	if f.Secrets != nil {
		f.startContext = *f.Secrets
	}
	list, err = f.document()
	return append(list, f.context()...), true, err
}

var stockMembers = []string{"masterKey", "functionKeys", "systemKeys", "secrets", "host"}

// unreadable says where a file is not what it should be, without quoting it.
func unreadable(err error) error {
	what := "the text is no JSON"
	if bad := (&json.UnmarshalTypeError{}); errors.As(err, &bad) {
		what = fmt.Sprintf("%s: has the wrong type", bad.Field)
	}
	return problem.New(problem.Invalid, what).WithNext("see docs/keys-declarative.md for the forms of the file")
}

// document gives the keys of a host document.
func (f stockFile) document() (list []Entry, err error) {
	add := func(kind accesskey.Kind, k stockKey) {
		if k.Encrypted {
			err = problem.New(problem.Invalid, "the file has sealed values, which belong to a store").
				WithNext("move the keys with latchkey keystore migrate, or write the values in clear")
		}
		list = append(list, stockEntry(kind, "", k.Name, k.Value))
	}
	var master stockKey
	switch text := ""; {
	case f.Master == nil:
	case json.Unmarshal(f.Master, &text) == nil:
		add(accesskey.Master, stockKey{Value: text})
	case json.Unmarshal(f.Master, &master) == nil:
		master.Name = ""
		add(accesskey.Master, master)
	default:
		return nil, problem.New(problem.Invalid, "masterKey: has the wrong type")
	}
	var old *string
	if f.Function != nil && json.Unmarshal(f.Function, &old) == nil && old != nil {
		add(accesskey.Host, stockKey{Name: accesskey.DefaultName, Value: *old})
	}
	for _, k := range f.Functions {
		add(accesskey.Host, k)
	}
	for _, k := range f.System {
		add(accesskey.System, k)
	}
	return list, err
}

// context gives the keys of a start-up context.
func (c startContext) context() (list []Entry) {
	if c.Host != nil {
		if c.Host.Master != "" {
			list = append(list, stockEntry(accesskey.Master, "", "", c.Host.Master))
		}
		list = append(list, stockEntries(accesskey.Host, "", c.Host.Function)...)
		list = append(list, stockEntries(accesskey.System, "", c.Host.System)...)
	}
	for _, f := range c.Of {
		list = append(list, stockEntries(accesskey.Function, f.Name, f.Secrets)...)
	}
	return list
}

func stockEntries(kind accesskey.Kind, function string, values map[string]string) (list []Entry) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, stockEntry(kind, function, name, values[name]))
	}
	return list
}

func stockEntry(kind accesskey.Kind, function, name, value string) Entry {
	return Entry{Kind: kind.String(), Function: function, Name: name, Value: value}
}
