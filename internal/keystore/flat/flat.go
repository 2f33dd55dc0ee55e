// Package flat owns the layout in which every key is an entry of its own, name
// and value: the data of a Kubernetes Secret or ConfigMap and the files of a
// volume that one is mounted as. It turns entries into documents and back, and
// reads and watches folders of such files. It does not know where else entries
// are kept, and it writes nothing.
//
// The layout keeps no order and no metadata: keys come sorted by name, ignoring
// case, and without extra members.
package flat

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Beginnings of entry names.
const (
	masterName     = "host.master"
	hostPrefix     = "host.function."
	systemPrefix   = "host.systemKey."
	functionPrefix = "functions."
)

// maxName is how long the name of an entry may be in Kubernetes, in bytes.
const maxName = 253

// Name says which key an entry holds.
type Name struct {
	Doc  keystore.Doc
	Kind accesskey.Kind // Master, Host, System or Function
	Key  string         // the key's name; accesskey.MasterStoredName for the master key
}

// ParseName reads an entry's name; ok is false for one that names no key. As for
// the stock host, case matters in "host.master" and "host.systemKey." and does
// not in "host.function." and "functions.{function}."; key names keep theirs. A
// key's name is all that follows, dots included.
func ParseName(entry string) (name Name, ok bool) {
	if entry == masterName {
		return Name{keystore.HostDoc, accesskey.Master, accesskey.MasterStoredName}, true
	}
	if key, ok := strings.CutPrefix(entry, systemPrefix); ok {
		return Name{keystore.HostDoc, accesskey.System, key}, key != ""
	}
	if key, ok := cutFold(entry, hostPrefix); ok {
		return Name{keystore.HostDoc, accesskey.Host, key}, key != ""
	}
	rest, ok := cutFold(entry, functionPrefix)
	if !ok {
		return Name{}, false
	}
	function, key, ok := strings.Cut(rest, ".")
	doc := keystore.FunctionDoc(function)
	ok = ok && key != "" && !doc.IsHost() && keystore.CheckDoc(doc) == nil
	return Name{doc, accesskey.Function, key}, ok
}

// cutFold is strings.CutPrefix for an ASCII prefix in any case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// String gives the entry's name as it is written.
func (n Name) String() string {
	switch n.Kind {
	case accesskey.Master:
		return masterName
	case accesskey.Host:
		return hostPrefix + n.Key
	case accesskey.System:
		return systemPrefix + n.Key
	default:
		return functionPrefix + string(n.Doc) + "." + n.Key
	}
}

// Entries are values in clear by the names of the entries that hold them.
type Entries map[string]string

// Docs gives the documents that have at least one key, sorted.
func (e Entries) Docs() []keystore.Doc {
	var docs []keystore.Doc
	for entry, value := range e {
		if n, ok := ParseName(entry); ok && value != "" {
			docs = append(docs, n.Doc)
		}
	}
	slices.Sort(docs)
	return slices.Compact(docs)
}

// Document gives the keys of a document, sorted by name; exists is false if it
// has none. An entry without a value is no key. Of names that differ in case at
// most, the one that is written as String would counts, then the first in byte
// order. A host document may lack its master key.
func (e Entries) Document(doc keystore.Doc) (d keystore.Document, exists bool) {
	seen := map[Name]bool{}
	for _, entry := range e.of(doc) {
		n, value := entry.name, e[entry.text]
		folded := Name{n.Doc, n.Kind, strings.ToLower(n.Key)}
		if value == "" || seen[folded] {
			continue
		}
		seen[folded], exists = true, true
		put(&d.Keys, accesskey.Key{Name: n.Key, Value: value}, n.Kind)
	}
	slices.SortFunc(d.Keys.Keys, byName)
	slices.SortFunc(d.Keys.System, byName)
	return d, exists
}

// entry is an entry's name as it is written and what it means.
type entry struct {
	text string
	name Name
}

// of gives a document's entries, those written as String would first.
func (e Entries) of(doc keystore.Doc) []entry {
	var out []entry
	for text := range e {
		if n, ok := ParseName(text); ok && n.Doc == doc {
			out = append(out, entry{text, n})
		}
	}
	odd := func(x entry) int {
		if x.text == x.name.String() {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b entry) int {
		return cmp.Or(odd(a)-odd(b), strings.Compare(a.text, b.text))
	})
	return out
}

func put(set *accesskey.Set, k accesskey.Key, kind accesskey.Kind) {
	switch kind {
	case accesskey.Master:
		set.Master = k
	case accesskey.System:
		set.System = append(set.System, k)
	default:
		set.Keys = append(set.Keys, k)
	}
}

// byName sorts keys by name, ignoring case as far as that tells them apart.
func byName(a, b accesskey.Key) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Name, b.Name))
}

// Revision identifies the state of a document: it changes with any of its
// entries, also such that are no keys. It is "" for a document without entries.
func (e Entries) Revision(doc keystore.Doc) keystore.Revision {
	all := e.of(doc)
	if len(all) == 0 {
		return ""
	}
	h := sha256.New()
	for _, x := range all {
		for _, s := range []string{x.text, e[x.text]} {
			_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
			_, _ = h.Write([]byte(s))
		}
	}
	return keystore.Revision(hex.EncodeToString(h.Sum(nil)))
}

// With gives new entries in which d takes the place of the document: its entries
// are d's keys and no others, so that a deleted key is gone; those of other
// documents and those that name no key stay. It returns keystore.ErrInvalid for
// a document that breaks a rule (see [keystore.Normal]) and for key names that
// cannot be part of an entry's: they consist of letters, digits, '-', '_' and
// '.'. Extra members are dropped.
func (e Entries) With(doc keystore.Doc, d keystore.Document) (Entries, error) {
	d, err := keystore.Normal(doc, d)
	if err != nil {
		return nil, err
	}
	out := e.Without(doc)
	add := func(kind accesskey.Kind, keys ...accesskey.Key) error {
		for _, k := range keys {
			n := Name{doc, kind, k.Name}
			if err := n.check(); err != nil {
				return err
			}
			out[n.String()] = k.Value
		}
		return nil
	}
	if !doc.IsHost() {
		return out, add(accesskey.Function, d.Keys.Keys...)
	}
	for kind, keys := range map[accesskey.Kind][]accesskey.Key{
		accesskey.Master: {d.Keys.Master}, accesskey.Host: d.Keys.Keys, accesskey.System: d.Keys.System,
	} {
		if err := add(kind, keys...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Without gives new entries without those of a document.
func (e Entries) Without(doc keystore.Doc) Entries {
	out := make(Entries, len(e))
	for text, value := range e {
		if n, ok := ParseName(text); !ok || n.Doc != doc {
			out[text] = value
		}
	}
	return out
}

func (n Name) check() error {
	if s := n.String(); len(s) <= maxName && !strings.ContainsFunc(n.Key, foreign) {
		return nil
	}
	return problem.New(keystore.ErrInvalid, fmt.Sprintf("the key name %q cannot be kept in this store", n.Key)).
		WithNext(fmt.Sprintf("use letters, digits, '-', '_' and '.' only, and at most %d characters with the function's name", maxName-len(systemPrefix)))
}

func foreign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}
