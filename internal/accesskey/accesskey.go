// Package accesskey owns the vocabulary of access keys: what a key is, which
// kinds exist, what people may note about a key and restrict, and the pure
// decisions about sets of keys. It does no I/O, keeps no state and does not know
// where keys are stored.
//
// What is known about a key beyond name and value is its [Meta]: one JSON member
// of the key's stored object, with a version, so that stores and other programs
// need not understand it. Three rules make it safe in documents that others write,
// too, and drop what they don't know:
//
//   - Metadata that cannot be understood, a later version included, takes the key
//     out of force; it never counts as none.
//   - Who takes all restrictions away leaves an empty member. A key that had a
//     member and has none was stripped by somebody else, not freed.
//   - What must hold even without metadata is in the key's name or value: a former
//     value says in its name when it ends ([RetiredName]), and a text that stands
//     for a value that is not kept says so itself ([Verifier]).
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
