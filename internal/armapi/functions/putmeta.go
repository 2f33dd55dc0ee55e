package functions

import (
	"encoding/json"
	"maps"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
)

// createdMember among the members of a key asks, whatever its value, that it be
// noted when the key's value was made.
const createdMember = "created"

// put gives a key a value. With members of our own beside it, value and
// restrictions are set in one write, so that the value never works without them;
// and as that is no call of a stock client, a value that is left out is generated
// for a new key only. When the value was made is noted.
func (t target) put(c *arm.Call, value *string) (accesskey.Key, bool, error) {
	members, err := changeMembers(c)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	_, record := members[createdMember]
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return !keyinfo.CanChange(name) })
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
	key, created, err := t.ring.Put(c.Context(), t.section, want)
	if want.Value != "" {
		key.Value = want.Value // shown this once, if it is not kept
	}
	return key, created, err
}
