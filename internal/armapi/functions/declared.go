package functions

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// declare makes a key as a template has it: a value that is left out is generated
// once, and kept when the template is deployed again. A key that is so already is
// not written.
func declare(c *arm.Call, t target, value *string) (key accesskey.Key, created bool, err error) {
	want := keyring.Declared{Name: c.Params["key"]}
	if value != nil {
		if want.Value = *value; want.Value == "" {
			return key, false, accesskey.ValidateValue("")
		}
	}
	done, err := t.ring.Declare(c.Context(), t.section, []keyring.Declared{want})
	if err == nil {
		err = done[0].Err
	}
	if err != nil {
		return key, false, err
	}
	key, err = t.ring.Get(c.Context(), t.section, want.Name)
	return key, done[0].Outcome == keyring.Created, err
}

// awaited finds a function that an app may be going to have: as long as nothing was
// deployed, keys can be set for any. Reading needs keys that were set, so that
// asking makes none.
func (p *Provider) awaited(c *arm.Call, app App) (name string, err error) {
	name = c.Params["function"]
	if doc := keystore.FunctionDoc(name); keystore.CheckDoc(doc) != nil || doc.IsHost() {
		return "", problem.New(problem.Invalid, "a function cannot have this name")
	}
	if c.HTTP.Method == "PUT" {
		return name, nil
	}
	ring, err := p.cfg.Rings.Ring(c.Context(), app.Name)
	if err != nil {
		return "", err
	}
	have, err := ring.Orphans(c.Context(), nil)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(have, func(f string) bool { return strings.EqualFold(f, name) }) {
		return "", notFound(app, name)
	}
	return name, nil
}
