package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// Keys are the access keys of an app. What they offer is what a ring of keys
// does, so that commands need not know which of both they work on.
type Keys struct {
	i    *Installation
	app  App
	host *hostKeys // as last read; nil if they are not known

	// IfMatch is the entity tag that a key must have to be renewed, rotated, set or
	// deleted; problem.Conflict otherwise. "" for any.
	IfMatch string
}

// match gives the header of a condition.
func (k *Keys) match() string {
	if k.IfMatch == "" {
		return ""
	}
	return `"` + strings.Trim(k.IfMatch, `"`) + `"`
}

// hostKeys are the keys of an app's host on the wire.
type hostKeys struct {
	Master    string `json:"masterKey"`
	Functions pairs  `json:"functionKeys"`
	System    pairs  `json:"systemKeys"`
}

// Keys gives the keys of an app.
func (i *Installation) Keys(a App) *Keys { return &Keys{i: i, app: a} }

// Close does nothing: there is nothing that is held open.
func (k *Keys) Close() {}

// Functions gives the names of the functions that have keys.
func (k *Keys) Functions(ctx context.Context) ([]string, error) {
	list, err := k.i.Functions(ctx, k.app)
	names := make([]string, len(list))
	for n := range list {
		names[n] = list[n].Name
	}
	return names, err
}

// pairs are keys on the wire: an object whose order counts.
type pairs []accesskey.Key

// UnmarshalJSON implements json.Unmarshaler.
func (p *pairs) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("keys: want an object: %w", err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value string
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("keys: a value is no text")
		}
		*p = append(*p, accesskey.Key{Name: name.(string), Value: value}) // decoders give names as text
	}
	return nil
}

// List gives the keys of a section; of what is kept about them it says only whether
// the value is not, see [Keys.Describe].
func (k *Keys) List(ctx context.Context, sec keyring.Section) ([]accesskey.Key, error) {
	keys, err := k.list(ctx, sec)
	if err == nil {
		err = k.mark(ctx, sec, keys)
	}
	return keys, err
}

func (k *Keys) list(ctx context.Context, sec keyring.Section) ([]accesskey.Key, error) {
	if sec.Kind == accesskey.Function {
		var own pairs
		err := k.i.post(ctx, idPath(k.app.ID)+"/functions/"+url.PathEscape(sec.Function)+"/listkeys", nil, &own)
		return own, err
	}
	if k.host == nil { // read once: each reading of keys is an event of the audit record
		var host hostKeys
		if err := k.i.post(ctx, idPath(k.app.ID)+"/host/default/listkeys", nil, &host); err != nil {
			return nil, err
		}
		k.host = &host
	}
	switch sec.Kind {
	case accesskey.Master:
		return []accesskey.Key{{Name: accesskey.MasterName, Value: k.host.Master}}, nil
	case accesskey.System:
		return slices.Clone(k.host.System), nil
	}
	return slices.Clone(k.host.Functions), nil
}

// Get gives one key; problem.NotFound if there is none of that name.
func (k *Keys) Get(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
	list, err := k.List(ctx, sec)
	if err != nil {
		return accesskey.Key{}, err
	}
	for _, key := range list {
		if strings.EqualFold(key.Name, name) || sec.Kind == accesskey.Master {
			return key, nil
		}
	}
	return accesskey.Key{}, problem.New(problem.NotFound, "there is no key of that name")
}

// path gives the path of one key.
func (k *Keys) path(sec keyring.Section, name string) string {
	base := idPath(k.app.ID)
	switch sec.Kind {
	case accesskey.Function:
		return base + "/functions/" + url.PathEscape(sec.Function) + "/keys/" + url.PathEscape(name)
	case accesskey.Master:
		return base + "/host/default/masterKey/" + accesskey.MasterName
	case accesskey.System:
		return base + "/host/default/systemKeys/" + url.PathEscape(name)
	}
	return base + "/host/default/functionKeys/" + url.PathEscape(name)
}

// Put gives a key its value, a generated one if it is new and none is given, and its
// restrictions with it, and has it noted when the value was made. That a key is not to
// be there is for the caller to find out.
func (k *Keys) Put(ctx context.Context, sec keyring.Section, want keyring.Declared) (accesskey.Key, bool, error) {
	members := map[string]json.RawMessage{"created": json.RawMessage("null")}
	if want.Meta != nil {
		change, err := k.changeOf(ctx, sec, want.Name, func(m *accesskey.Meta) error { want.Meta(m); return nil })
		if err != nil && problem.KindOf(err) != problem.NotFound {
			return accesskey.Key{}, false, err
		}
		maps.Copy(members, change)
	}
	for name, text := range map[string]string{"name": want.Name, "value": want.Value} {
		raw, err := json.Marshal(text)
		if err != nil {
			return accesskey.Key{}, false, err
		}
		if text != "" {
			members[name] = raw
		}
	}
	return k.put(ctx, sec, want.Name, map[string]any{"properties": members})
}

// Renew gives a key a generated value, or makes it.
func (k *Keys) Renew(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, bool, error) {
	return k.put(ctx, sec, name, nil)
}

func (k *Keys) put(ctx context.Context, sec keyring.Section, name string, body any) (accesskey.Key, bool, error) {
	var out struct {
		Properties struct {
			keyinfo.Info
			Value string `json:"value"`
		} `json:"properties"`
	}
	k.host = nil
	answer, err := k.i.client.Exchange(ctx, armclient.Request{Method: http.MethodPut, Path: k.path(sec, name), IfMatch: k.match()}, body, &out)
	key := out.Properties.Key()
	key.Value = out.Properties.Value
	return key, answer.Status == http.StatusCreated, err
}

// Delete deletes a key.
func (k *Keys) Delete(ctx context.Context, sec keyring.Section, name string) error {
	k.host = nil
	_, err := k.i.client.Exchange(ctx, armclient.Request{Method: http.MethodDelete, Path: k.path(sec, name), IfMatch: k.match()}, nil, nil)
	return err
}
