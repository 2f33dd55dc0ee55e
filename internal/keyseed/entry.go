// Package keyseed owns declared keys: how a configuration says which access keys
// an app is to have, what is wrong with that, and making the keys so. Declaring
// is lasting: what is declared can be applied any number of times, and changes
// nothing where it is so already.
//
// It does no I/O of its own and deliberately does not know where declarations
// are written, whose they are, or when they are applied.
package keyseed

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/keyring"
)

// None, in place of a text or as the only one of a list, takes a note or
// restriction away. What an Entry says nothing about stays.
const None = "none"

// Entry is a declared key as it is written. Exactly one of Value, ValueEnv,
// ValueFile and Generate says what its value is to be.
type Entry struct {
	App      string `json:"app"`      // whose key; for the platform only
	Kind     string `json:"kind"`     // master, host, system or function; function if Function is set, else host
	Function string `json:"function"` // with kind function
	Name     string `json:"name"`     // not with kind master

	Value     string `json:"value"`     // itself, or a reference to a vault
	ValueEnv  string `json:"valueEnv"`  // name of the variable that has it
	ValueFile string `json:"valueFile"` // of the file that has it, without the line's end
	Generate  bool   `json:"generate"`  // made if there is no such key, and never replaced

	Note        string   `json:"note"`
	Owner       string   `json:"owner"`
	NotBefore   string   `json:"notBefore"` // 2030-01-31T12:00:00Z, or 2030-01-31
	Expires     string   `json:"expires"`
	CIDRs       []string `json:"cidrs"`
	Methods     []string `json:"methods"`
	Functions   []string `json:"functions"`
	Rate        string   `json:"rate"`        // 10/1m
	Quota       string   `json:"quota"`       // 1000/day
	RotateEvery string   `json:"rotateEvery"` // 90d; with Generate only
	Overlap     string   `json:"overlap"`     // 24h
}

// Format keeps the value out of everything that package fmt prints.
func (e Entry) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{%s %s %s %s}", e.App, e.Kind, e.Function, e.Name)
}

// Literal reports whether the value itself is written there.
func (e Entry) Literal() bool { return e.Value != "" && !e.reference() }

func (e Entry) reference() bool {
	_, is, _ := keyref.Parse(e.Value)
	return is
}

// section gives the keys that the entry's is one of.
func (e Entry) section() (keyring.Section, bool) {
	kind, ok := accesskey.ParseKind(e.Kind)
	switch {
	case e.Kind == "" && e.Function != "":
		return keyring.FunctionKeys(e.Function), true
	case e.Kind == "":
		return keyring.HostKeys(), true
	case kind == accesskey.Function:
		return keyring.FunctionKeys(e.Function), ok
	}
	return keyring.Section{Kind: kind}, ok
}

// label names the key for people.
func (e Entry) label() string {
	sec, _ := e.section()
	switch sec.Kind {
	case accesskey.Master:
		return "the master key"
	case accesskey.Function:
		return fmt.Sprintf("key %q of function %s", e.Name, sec.Function)
	}
	return fmt.Sprintf("%s key %q", sec.Kind, e.Name)
}

// name gives the name that the keyring knows the key by.
func (e Entry) name() string {
	if sec, _ := e.section(); sec.Kind == accesskey.Master {
		return accesskey.MasterName
	}
	return e.Name
}

// identity is equal for entries of the same key.
func (e Entry) identity() string {
	sec, _ := e.section()
	return strings.ToLower(strings.Join([]string{e.App, sec.Kind.String(), sec.Function, e.name()}, "\x00"))
}

// Place is where entries stand, for what is wrong with them.
type Place struct {
	Path string // of the list: "keys"
	Apps bool   // each entry names its app
}

// Check gives what is wrong with entries, each with its path: "keys[2].expires:
// …". It tells no values. Times in the past are no fault, as they come to be so
// by themselves.
func Check(list []Entry, at Place) (faults []string) {
	seen := map[string]int{}
	for i, e := range list {
		path := fmt.Sprintf("%s[%d]", at.Path, i)
		for _, fault := range e.check(at.Apps) {
			faults = append(faults, path+fault)
		}
		if before, twice := seen[e.identity()]; twice {
			faults = append(faults, fmt.Sprintf("%s: is the same key as %s[%d]", path, at.Path, before))
			continue
		}
		seen[e.identity()] = i
	}
	return faults
}

func (e Entry) check(apps bool) []string {
	faults := slices.Concat(e.checkWhose(apps), e.checkName(), e.checkValue())
	changes, bad := e.changes()
	if faults = append(faults, bad...); len(bad) > 0 {
		return faults
	}
	if what := validate(e, changes); what != "" {
		faults = append(faults, "."+what)
	}
	return faults
}

func (e Entry) checkWhose(apps bool) []string {
	switch {
	case apps && e.App == "":
		return []string{".app: must name the app that the key is of"}
	case strings.ContainsFunc(e.App, func(r rune) bool { return r <= ' ' || r == '/' }) || len(e.App) > 128:
		return []string{".app: is no name of an app"}
	}
	return nil
}

func (e Entry) checkName() (faults []string) {
	sec, ok := e.section()
	switch {
	case !ok:
		return []string{fmt.Sprintf(".kind: %q is none of master, host, system, function", clip(e.Kind))}
	case sec.Kind == accesskey.Function && (e.Function == "" || strings.EqualFold(e.Function, "host")):
		faults = append(faults, ".function: must name the function that the key is of")
	case sec.Kind != accesskey.Function && e.Function != "":
		faults = append(faults, fmt.Sprintf(".function: a %s key is of no function", sec.Kind))
	}
	switch {
	case sec.Kind == accesskey.Master && e.Name != "" && !accesskey.IsMasterName(e.Name):
		faults = append(faults, ".name: the master key has no other name; leave it out")
	case sec.Kind == accesskey.Master:
	case e.Name == "":
		faults = append(faults, ".name: must be given")
	case accesskey.IsMasterName(e.Name):
		faults = append(faults, ".name: _master is reserved; write kind: master instead")
	default:
		if _, _, former := accesskey.ParseRetiredName(e.Name); former {
			faults = append(faults, ".name: ends like that of a former value")
		} else if err := accesskey.ValidateName(e.Name); err != nil {
			faults = append(faults, ".name: "+err.Error())
		}
	}
	return faults
}

func (e Entry) checkValue() (faults []string) {
	given := 0
	for _, is := range []bool{e.Value != "", e.ValueEnv != "", e.ValueFile != "", e.Generate} {
		if is {
			given++
		}
	}
	if given != 1 {
		faults = append(faults, ": must have one of value, valueEnv, valueFile, generate: true")
	}
	_, is, bad := keyref.Parse(e.Value)
	switch {
	case is && bad != nil:
		faults = append(faults, ".value: is no reference: "+bad.Error())
	case unresolved(e.Value) && !is:
		faults = append(faults, ".value: begins like a reference and is none")
	case e.Value != "" && !is:
		if err := accesskey.ValidateValue(e.Value); err != nil {
			faults = append(faults, ".value: "+err.Error())
		}
	}
	if strings.ContainsAny(e.ValueEnv, "=\x00 ") {
		faults = append(faults, ".valueEnv: is no name of a variable")
	}
	if e.RotateEvery != "" && e.RotateEvery != None && !e.Generate {
		faults = append(faults, ".rotateEvery: a value that is declared would come back; it goes with generate only")
	}
	return faults
}

func clip(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}
