// Package accesskey owns the vocabulary of access keys: what a key is, which
// kinds exist, and the pure decisions about sets of keys. It does no I/O, keeps
// no state and does not know where keys are stored.
package accesskey

import "strings"

// Kind says what an access key opens.
type Kind uint8

const (
	None     Kind = iota // no key
	Master               // everything, the runtime API included; always exactly one
	Host                 // host function key: every function of level function
	Function             // function key: one function
	System               // system key: one extension's webhook
)

var kindNames = [...]string{"none", "master", "host", "function", "system"}

// String gives the kind's name as users write it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[None]
}

// ParseKind reads a kind's name, ignoring case.
func ParseKind(s string) (Kind, bool) {
	for i, n := range kindNames {
		if i > 0 && strings.EqualFold(n, s) {
			return Kind(i), true
		}
	}
	return None, false
}

// MasterName is the name the master key is addressed by; it is reserved,
// ignoring case, in every scope. MasterStoredName is its name in stored files.
const (
	MasterName       = "_master"
	MasterStoredName = "master"
	DefaultName      = "default"
)

// Key is a named secret in clear. Extra holds members of the stored form that
// we don't know, so that rewriting a document loses nothing.
type Key struct {
	Name  string
	Value string
	Extra map[string][]byte // raw JSON by member name; nil when there is none
	// HashOnly marks, for people, a key of which only a verifier is stored: Value
	// is masked, except when it has just been made. Stores don't keep it.
	HashOnly bool
}

// Set is the keys of one document: the host's (Master, Keys = host function
// keys, System) or one function's (Keys only). Order is the stored order.
// A Set is a value: changing one means making a new one.
type Set struct {
	Master Key
	Keys   []Key
	System []Key
}
