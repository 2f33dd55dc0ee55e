package keyring

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// Section says which keys of an app are meant: the master key, the host
// function keys, the system keys, or the keys of one function.
type Section struct {
	Kind     accesskey.Kind
	Function string // with accesskey.Function only
}

// MasterKey gives the section of the master key.
func MasterKey() Section { return Section{Kind: accesskey.Master} }

// HostKeys gives the section of the host function keys, "functionkeys".
func HostKeys() Section { return Section{Kind: accesskey.Host} }

// SystemKeys gives the section of the system keys, "systemkeys".
func SystemKeys() Section { return Section{Kind: accesskey.System} }

// FunctionKeys gives the section of a function's keys.
func FunctionKeys(function string) Section {
	return Section{Kind: accesskey.Function, Function: function}
}

// maxName bounds key names in bytes; they end up in file, secret and log entries.
const maxName = 256

// scopeOf gives the document a section lives in.
func (r *Ring) scopeOf(sec Section) (*Scope, error) {
	switch sec.Kind {
	case accesskey.Master, accesskey.Host, accesskey.System:
		return r.home, nil
	case accesskey.Function:
		if s := r.Function(sec.Function); s != nil {
			return s, nil
		}
		return nil, errFunctionName(sec.Function)
	}
	return nil, problem.New(problem.Invalid, "there are no keys of this kind")
}

// aim checks a section and a name for a change. The reserved name means the
// master key anywhere at the host, and nothing at a function.
func (r *Ring) aim(sec Section, name string) (Section, *Scope, error) {
	s, err := r.scopeOf(sec)
	if err != nil {
		return sec, nil, err
	}
	reserved := strings.EqualFold(name, accesskey.MasterName)
	switch {
	case sec.Kind == accesskey.Master:
		return sec, s, checkMasterName(name)
	case reserved && sec.Kind == accesskey.Function:
		return sec, nil, problem.New(problem.Invalid, fmt.Sprintf("'%s' is reserved for the master key; a function cannot have a key of that name", accesskey.MasterName))
	case reserved:
		return MasterKey(), s, nil
	}
	return sec, s, checkName(name)
}

func checkMasterName(name string) error {
	if name == "" || strings.EqualFold(name, accesskey.MasterName) || strings.EqualFold(name, accesskey.MasterStoredName) {
		return nil
	}
	return problem.New(problem.Invalid, "the master key cannot have another name")
}

func checkName(name string) error {
	switch {
	case name == "":
		return problem.New(problem.Invalid, "a key needs a name")
	case len(name) > maxName:
		return problem.New(problem.Invalid, fmt.Sprintf("a key name cannot be longer than %d bytes", maxName))
	case strings.ContainsFunc(name, unicode.IsControl):
		return problem.New(problem.Invalid, "a key name cannot contain control characters")
	}
	return nil
}

// list gives the keys of a section in a set.
func (sec Section) list(set accesskey.Set) []accesskey.Key {
	switch sec.Kind {
	case accesskey.Master:
		master := set.Master
		master.Name = accesskey.MasterName
		return distinct([]accesskey.Key{master})
	case accesskey.System:
		return distinct(set.System)
	default:
		return distinct(set.Keys)
	}
}

// set gives set with a key of the section set to a value.
func (sec Section) set(set *accesskey.Set, name, value string) (key accesskey.Key, created bool) {
	switch sec.Kind {
	case accesskey.Master:
		set.Master.Name, set.Master.Value = accesskey.MasterStoredName, value
		key := set.Master
		key.Name = accesskey.MasterName
		return key, false
	case accesskey.System:
		set.System, created = put(set.System, name, value)
		return set.System[indexOf(set.System, name)], created
	default:
		set.Keys, created = put(set.Keys, name, value)
		return set.Keys[indexOf(set.Keys, name)], created
	}
}

// remove takes a key of the section out of set.
func (sec Section) remove(set *accesskey.Set, name string) (found bool) {
	if sec.Kind == accesskey.System {
		set.System, found = drop(set.System, name)
		return found
	}
	set.Keys, found = drop(set.Keys, name)
	return found
}

// changeText has the stock host's words for a change to a key.
func (sec Section) changeText(name, what string) string {
	switch sec.Kind {
	case accesskey.Master:
		return fmt.Sprintf("Master secret %s.", what)
	case accesskey.System:
		return fmt.Sprintf("Host secret '%s' for 'systemkeys' %s.", name, what)
	case accesskey.Host:
		return fmt.Sprintf("Host secret '%s' for 'functionkeys' %s.", name, what)
	default:
		return fmt.Sprintf("Function secret '%s' for '%s' %s.", name, sec.Function, what)
	}
}
