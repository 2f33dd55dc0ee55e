package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
)

// keyView is a key as it is shown. Its JSON form is a contract.
type keyView struct {
	Scope    string `json:"scope"` // host or function
	Function string `json:"function,omitempty"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Value    string `json:"value,omitempty"` // only when it is to be shown
	Masked   string `json:"masked"`
	State    string `json:"state"` // see [stateOf]
	// Metadata is what is known about the key besides, in the form that stores
	// have it in.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

func viewKey(sec keyring.Section, key accesskey.Key, show bool) keyView {
	v := keyView{Scope: "host", Function: sec.Function, Name: key.Name, Kind: sec.Kind.String(), Masked: azfkey.Mask(key.Value)}
	if sec.Kind == accesskey.Function {
		v.Scope = "function"
	}
	switch {
	case key.HashOnly && (key.Value == "" || strings.Contains(key.Value, "…")):
		v.Masked = key.Value // there is no more of it, unless it has just been made
	case show:
		v.Value = key.Value
	}
	v.State, v.Metadata = stateOf(key, time.Now()), metadataOf(key)
	return v
}

// stateOf says whether a key works, as far as that does not depend on the
// request, and what it is a former value of.
func stateOf(key accesskey.Key, now time.Time) string {
	m, err := key.Meta()
	if err != nil {
		return "broken"
	}
	status := m.Status(now)
	end := m.Expires.UTC().Format(time.RFC3339)
	switch {
	case m.Retires != "" && status == accesskey.Active:
		return "former of " + m.Retires + ", until " + end
	case m.Retires != "":
		return "former of " + m.Retires + ", ended"
	case status == accesskey.Disabled:
		return "disabled"
	case status == accesskey.Expired:
		return "expired " + end
	case status == accesskey.NotYet:
		return "from " + m.NotBefore.UTC().Format(time.RFC3339)
	case !m.Expires.IsZero():
		return "expires " + end
	}
	return "ok"
}

// metadataOf gives a key's metadata, without what only recognises former values;
// nil when there is none or it cannot be understood.
func metadataOf(key accesskey.Key) json.RawMessage {
	m, err := key.Meta()
	if err != nil || !key.HasMeta() {
		return nil
	}
	m.Former = nil
	return m.Format()
}

// row gives the cells of a table: a shown value takes the place of the mask.
func (v keyView) row() []string {
	shown := v.Masked
	if v.Value != "" {
		shown = v.Value
	}
	function := v.Function
	if function == "" {
		function = "-"
	}
	return []string{v.Kind, function, v.Name, shown, v.State}
}

func printKeys(env *Env, out *choice, list []keyView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = v.row()
	}
	return writeTable(env.Stdout, "KIND FUNCTION NAME VALUE STATE", rows)
}

// printKey shows one key, and on a terminal how to see its value.
func printKey(env *Env, out *choice, v keyView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, v)
	}
	if err := printKeys(env, out, []keyView{v}); err != nil {
		return err
	}
	if v.Value == "" {
		fmt.Fprintln(env.Stderr, "the value is masked; --show shows it")
	}
	return nil
}
