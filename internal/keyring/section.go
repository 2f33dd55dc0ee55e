package keyring

import (
	"fmt"
	"strings"

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
	reserved := accesskey.IsMasterName(name)
	switch {
	case sec.Kind == accesskey.Master:
		return sec, s, checkMasterName(name)
	case reserved && sec.Kind == accesskey.Function:
		return sec, nil, problem.New(problem.Invalid, fmt.Sprintf("'%s' is reserved for the master key; a function cannot have a key of that name", accesskey.MasterName))
	case reserved:
		return MasterKey(), s, nil
	}
	return sec, s, accesskey.ValidateName(name)
}

func checkMasterName(name string) error {
	if name == "" || accesskey.IsMasterName(name) || strings.EqualFold(name, accesskey.MasterStoredName) {
		return nil
	}
	return problem.New(problem.Invalid, "the master key cannot have another name")
}

// list gives the keys of a section in a set.
func (sec Section) list(set accesskey.Set) []accesskey.Key {
	switch sec.Kind {
	case accesskey.Master:
		master := set.Master
		master.Name = accesskey.MasterName
		return append(distinct([]accesskey.Key{master}), formerMasters(set)...)
	case accesskey.System:
		return distinct(set.System)
	default:
		return distinct(set.Keys)
	}
}

// set puts a key of the section into set, which must not be shared. The master
// key is never created, as there always is one.
func (sec Section) set(set *accesskey.Set, name, value string) (key accesskey.Key, created bool) {
	if sec.Kind == accesskey.Master {
		name = accesskey.MasterStoredName
	}
	return sec.put(set, accesskey.Key{Name: name, Value: value})
}

// put is set with members of the stored form; without any, those of the key that
// is replaced stay.
func (sec Section) put(set *accesskey.Set, k accesskey.Key) (key accesskey.Key, created bool) {
	*set, created = set.Put(sec.Kind, k)
	key, _ = set.Find(sec.Kind, k.Name)
	if sec.Kind == accesskey.Master {
		key.Name, created = accesskey.MasterName, false
	}
	return key, created
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
