package cli

import (
	"fmt"

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
}

func viewKey(sec keyring.Section, key accesskey.Key, show bool) keyView {
	v := keyView{Scope: "host", Function: sec.Function, Name: key.Name, Kind: sec.Kind.String(), Masked: azfkey.Mask(key.Value)}
	if sec.Kind == accesskey.Function {
		v.Scope = "function"
	}
	if show {
		v.Value = key.Value
	}
	return v
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
	return []string{v.Kind, function, v.Name, shown}
}

func printKeys(env *Env, out *choice, list []keyView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = v.row()
	}
	return writeTable(env.Stdout, "KIND FUNCTION NAME VALUE", rows)
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
