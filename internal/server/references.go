package server

import (
	"slices"

	"github.com/latchkey/latchkey/internal/keyref"
)

// adviceReferences is what to do about references where nobody resolves them.
const adviceReferences = "run the app with latchkey up, which resolves references, or put a value for this machine into local.settings.json"

// unresolved gives the settings that refer to a vault, in order of names, each with
// what is wrong with its spelling, "" for nothing. One app alone has no identity to
// read a vault with, so that its code gets the text as it is, as with the stock
// tools when a vault cannot be read.
func unresolved(s settings) (names []string, faults map[string]string) {
	faults = map[string]string{}
	for name, value := range s {
		if _, is, bad := keyref.Parse(value); is {
			names = append(names, name)
			if bad != nil {
				faults[name] = bad.Error()
			}
		}
	}
	slices.Sort(names)
	return names, faults
}

// warnOfReferences says in the start log which settings are not resolved.
func (n *Node) warnOfReferences() {
	names, faults := unresolved(n.settings)
	for _, name := range names {
		n.log.Warn("a setting refers to a vault, which nobody reads here: the app gets the text as it is", "setting", name, "syntax", faults[name], "next", adviceReferences)
	}
}

// references reports settings that the app would get as their text.
func (e *examination) references() {
	names, faults := unresolved(e.settings)
	for _, name := range names {
		if faults[name] != "" {
			e.add(checkReferences, CheckFailed, "setting "+name+" is no reference: "+faults[name], "write it as @Microsoft.KeyVault(VaultName=…;SecretName=…)")
			continue
		}
		e.add(checkReferences, CheckWarn, "setting "+name+" refers to a vault and is not resolved by latchkey start", adviceReferences)
	}
}
