package functions

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
)

// createdMember among the members of a key asks, whatever its value, that it be
// noted when the key's value was made.
const createdMember = "created"

// putMembers has the members of our own in the body of a PUT. No others may be there
// than those and what stock clients send: a restriction with a slip in its name, or in
// the wrong place, would make a key without it. Values are found in any case of letters.
func putMembers(c *arm.Call) (map[string]json.RawMessage, error) {
	members, envelope, err := keyMembers(c)
	if err != nil {
		return nil, err
	}
	for name := range envelope {
		if keyinfo.CanChange(name) {
			return nil, keyinfo.Invalid(name, "has to be a member of properties here", "")
		}
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool {
		return strings.EqualFold(name, "value") || strings.EqualFold(name, "name") || envelope == nil && ofEnvelope(name)
	})
	return members, nil
}

// ofEnvelope reports whether the resource model gives each resource such a member.
func ofEnvelope(name string) bool {
	return slices.Contains([]string{
		"id", "type", "kind", "location", "tags", "identity", "sku", "plan", "apiversion", "dependson", "comments", "condition",
	}, strings.ToLower(name))
}

// put gives a key a value. With members of our own beside it, value and
// restrictions are set in one write, so that the value never works without them;
// and as that is no call of a stock client, a value that is left out is generated
// for a new key only. When the value was made is noted.
func (t target) put(c *arm.Call, value *string) (accesskey.Key, bool, error) {
	members, err := putMembers(c)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	_, record := members[createdMember]
	change, any, err := keyinfo.ReadChange(members)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	if !any && !record {
		return set(c, t, value)
	}
	want := keyring.Declared{Name: c.Params["key"], Meta: change, Told: !c.Template(), Record: true}
	if value != nil {
		if want.Value = *value; want.Value == "" {
			return accesskey.Key{}, false, accesskey.ValidateValue("")
		}
	}
	key, created, err := t.ring.Put(t.provided(c), t.section, want)
	if want.Value != "" {
		key.Value = want.Value // shown this once, if it is not kept
	}
	return key, created, err
}
