package functions

import (
	"encoding/json"
	"errors"
	"maps"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// put gives a key a value. With members of our own beside it, value and
// restrictions are set in one write, so that the value never works without them;
// and as that is no call of a stock client, a value that is left out is generated
// for a new key only.
func (t target) put(c *arm.Call, value *string) (accesskey.Key, bool, error) {
	members, err := changeMembers(c)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return !keyinfo.CanChange(name) })
	change, any, err := keyinfo.ReadChange(members)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	if !any {
		return set(c, t, value)
	}
	want := keyring.Declared{Name: c.Params["key"], Meta: change}
	if want.Value, err = t.valueFor(c, value); err != nil {
		return accesskey.Key{}, false, err
	}
	return t.putRestricted(c, want)
}

// valueFor gives the value that a key is to have; "" is the one it has.
func (t target) valueFor(c *arm.Call, value *string) (string, error) {
	if value != nil {
		if *value == "" {
			return "", accesskey.ValidateValue("")
		}
		return *value, nil
	}
	_, err := t.ring.Get(c.Context(), t.section, c.Params["key"])
	if !errors.Is(err, problem.NotFound) || c.Template() {
		return "", err
	}
	return azfkey.Generate(t.section.Kind.Seed())
}

func (t target) putRestricted(c *arm.Call, want keyring.Declared) (key accesskey.Key, created bool, err error) {
	done, err := t.ring.Declare(c.Context(), t.section, []keyring.Declared{want})
	if err == nil {
		err = done[0].Err
	}
	if err != nil {
		return key, false, err
	}
	key, err = t.ring.Get(c.Context(), t.section, want.Name)
	if want.Value != "" {
		key.Value = want.Value // shown this once, if it is not kept
	}
	return key, done[0].Outcome == keyring.Created, err
}
