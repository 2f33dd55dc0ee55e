package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/latchkey/latchkey/internal/problem"
)

// Members are members of a JSON object by their names, spelled as the platform
// spells them. A value can be null.
type Members map[string]json.RawMessage

// Spec is what a request says of a site or a plan. What it does not say is nil;
// members that clients cannot set, and such that nobody knows, are left out.
type Spec struct {
	Location   string
	Kind       string
	Tags       map[string]string
	Identity   json.RawMessage
	SKU        json.RawMessage
	Properties Members // without siteConfig
	Web        WebSpec // siteConfig
	// Allow, if set, is asked with the site as it is right before it is changed or,
	// with exists false, made; perhaps more than once. Its error ends the change.
	// Plans do not ask.
	Allow func(had App, exists bool) error
}

// allowed asks whether the site of a draft may be changed.
func (s Spec) allowed(d *draft) error {
	if s.Allow == nil {
		return nil
	}
	if d.base.ID == "" {
		return s.Allow(App{}, false)
	}
	had, err := FromResource(d.base)
	if err != nil {
		return err
	}
	return s.Allow(had, true)
}

// WebSpec is what a request says of a site's configuration. Settings that are not
// nil replace what there was; Members are merged.
type WebSpec struct {
	Members         Members
	Settings        map[string]string
	Connections     map[string]Connection
	Metadata        map[string]string
	StorageAccounts json.RawMessage
}

// ParseSite reads the body of a request that creates or changes a site. It
// returns problem.Invalid naming the member that is wrong.
func ParseSite(body []byte) (Spec, error) {
	return parse(body, siteFields, func(s *Spec, config json.RawMessage) (err error) {
		s.Web, err = parseWeb(config, "properties.siteConfig")
		return err
	})
}

// ParsePlan reads the body of a request that creates or changes a plan.
func ParsePlan(body []byte) (Spec, error) { return parse(body, planFields, nil) }

// ParseWeb reads a site's configuration by itself, as config/web has it below
// "properties".
func ParseWeb(properties json.RawMessage) (WebSpec, error) { return parseWeb(properties, "properties") }

func parse(body []byte, known fields, config func(*Spec, json.RawMessage) error) (Spec, error) {
	if err := checkDepth(body); err != nil {
		return Spec{}, err
	}
	top, err := envelopeFields.members(body, "")
	if err != nil {
		return Spec{}, err
	}
	s := Spec{Identity: absent(top["identity"]), SKU: absent(top["sku"])}
	for name, into := range map[string]any{"location": &s.Location, "kind": &s.Kind} {
		if err := decode(top[name], into, name); err != nil {
			return Spec{}, err
		}
	}
	if s.Tags, err = texts(top["tags"], "tags"); err != nil {
		return Spec{}, err
	}
	if err := s.check(); err != nil {
		return Spec{}, err
	}
	if s.Properties, err = known.members(top["properties"], "properties"); err != nil {
		return Spec{}, err
	}
	if text := absent(s.Properties["siteConfig"]); text != nil {
		err = config(&s, text)
	}
	delete(s.Properties, "siteConfig")
	if err == nil {
		err = s.Properties.checkSize("properties", MaxProperties)
	}
	return s, err
}

func parseWeb(text json.RawMessage, where string) (w WebSpec, err error) {
	if err := checkDepth(text); err != nil {
		return w, err
	}
	if w.Members, err = webFields.members(text, where); err != nil {
		return w, err
	}
	if w.Settings, err = namedValues(w.Members.take("appSettings"), where+".appSettings"); err != nil {
		return w, err
	}
	if w.Metadata, err = namedValues(w.Members.take("metadata"), where+".metadata"); err != nil {
		return w, err
	}
	if w.Connections, err = namedConnections(w.Members.take("connectionStrings"), where+".connectionStrings"); err != nil {
		return w, err
	}
	w.StorageAccounts = w.Members.take("azureStorageAccounts")
	if err := w.Members.checkSize(where, MaxSection); err != nil {
		return w, err
	}
	return w, w.check()
}

// check refuses settings that cannot be stored.
func (w *WebSpec) check() (err error) {
	if err := CheckSettings(w.Settings); err != nil {
		return err
	}
	if w.Connections != nil {
		w.Connections, err = checkConnections(w.Connections)
	}
	return err
}

// take removes a member and gives its value, nil for null.
func (m Members) take(name string) json.RawMessage {
	value := absent(m[name])
	delete(m, name)
	return value
}

// text gives a member that is a text, "" for what is none.
func (m Members) text(name string) (s string) {
	if json.Unmarshal(orEmpty(m[name]), &s) != nil {
		return ""
	}
	return s
}

// withoutNulls gives the members that have a value.
func (m Members) withoutNulls() Members {
	return Members{}.merged(m)
}

// merged gives the members with others put in: null removes, objects are merged
// member by member, everything else is replaced (RFC 7396).
func (m Members) merged(others Members) Members {
	out := maps.Clone(m)
	if out == nil {
		out = Members{}
	}
	for name, value := range others {
		if absent(value) == nil {
			delete(out, name)
			continue
		}
		var before, said Members
		if json.Unmarshal(value, &said) == nil {
			_ = json.Unmarshal(orEmpty(out[name]), &before) // what was no object counts as an empty one
			value = before.merged(said).json()
		}
		out[name] = value
	}
	return out
}

func (m Members) json() json.RawMessage {
	text, err := json.Marshal(m)
	if err != nil { // the values were decoded from JSON
		return json.RawMessage("{}")
	}
	return text
}

// namedValues reads [{"name": …, "value": …}]; nil for no list.
func namedValues(list json.RawMessage, where string) (map[string]string, error) {
	if list == nil {
		return nil, nil
	}
	out := map[string]string{}
	err := eachNamed(list, where, func(name, place string, m Members) error {
		var value string
		if err := decode(m["value"], &value, place+".value"); err != nil {
			return err
		}
		if _, twice := out[name]; twice {
			return problem.New(problem.Invalid, fmt.Sprintf("%s names %q twice", member(where), clip(name)))
		}
		out[name] = value
		return nil
	})
	return out, err
}

// namedConnections reads [{"name": …, "connectionString": …, "type": …}].
func namedConnections(list json.RawMessage, where string) (map[string]Connection, error) {
	if list == nil {
		return nil, nil
	}
	out := map[string]Connection{}
	err := eachNamed(list, where, func(name, place string, m Members) error {
		c := Connection{Type: "Custom"}
		if err := decode(m["connectionString"], &c.Value, place+".connectionString"); err != nil {
			return err
		}
		out[name] = c
		if err := decode(m["type"], &c.Type, place+".type"); err != nil {
			return err
		}
		out[name] = c
		return nil
	})
	return out, err
}

func eachNamed(list json.RawMessage, where string, do func(name, place string, m Members) error) error {
	var items []json.RawMessage
	if err := decode(list, &items, where); err != nil {
		return err
	}
	for i, item := range items {
		place := fmt.Sprintf("%s[%d]", where, i)
		m, err := namedFields.members(item, place)
		if err != nil {
			return err
		}
		var name string
		if err := decode(m["name"], &name, place+".name"); err != nil {
			return err
		}
		if err := do(name, place, m); err != nil {
			return err
		}
	}
	return nil
}

// texts reads an object whose values are texts; nil for null, and values that are
// null are left out.
func texts(text json.RawMessage, where string) (map[string]string, error) {
	if text = absent(text); text == nil {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if err := decode(text, &m, where); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(m))
	for name, value := range m {
		if absent(value) == nil {
			continue
		}
		var s string
		if err := decode(value, &s, where+"."+clip(name)); err != nil {
			return nil, err
		}
		out[name] = s
	}
	return out, nil
}

// ParseTexts reads an object whose values are texts, such as app settings as
// config/appsettings has them below "properties". Values that are null are left
// out; no object at all gives an empty map.
func ParseTexts(text json.RawMessage) (map[string]string, error) {
	m, err := texts(text, "properties")
	if m == nil && err == nil {
		m = map[string]string{}
	}
	return m, err
}

// ParseConnections reads connection strings as config/connectionstrings has them
// below "properties".
func ParseConnections(text json.RawMessage) (map[string]Connection, error) {
	out := map[string]Connection{}
	var m map[string]json.RawMessage
	if err := decode(text, &m, "properties"); err != nil {
		return nil, err
	}
	for name, item := range m {
		place := "properties." + clip(name)
		c := Connection{Type: "Custom"}
		parts, err := namedFields.members(item, place)
		if err != nil {
			return nil, err
		}
		if err := decode(parts["value"], &c.Value, place+".value"); err != nil {
			return nil, err
		}
		if err := decode(parts["type"], &c.Type, place+".type"); err != nil {
			return nil, err
		}
		out[name] = c
	}
	return out, nil
}

// absent gives nil for null.
func absent(text json.RawMessage) json.RawMessage {
	if bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
		return nil
	}
	return text
}

// decode reads a value that may be absent or null, which leaves into as it is.
func decode(text json.RawMessage, into any, where string) error {
	if text = absent(text); text == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return wrongType(where, into)
	}
	return nil
}

// wrongType never quotes the value: it can be a secret.
func wrongType(where string, into any) error {
	want := "something else"
	switch into.(type) {
	case *string:
		want = "text"
	case *[]json.RawMessage:
		want = "a list"
	case *map[string]json.RawMessage:
		want = "an object"
	}
	return problem.New(problem.Invalid, fmt.Sprintf("%s must be %s", member(where), want))
}
