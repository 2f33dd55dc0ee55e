package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// maxDocName keeps document names within what every backend can hold as (part
// of) a name; the functions host itself stops at 128 characters.
const maxDocName = 128

// CheckDoc reports, as ErrInvalid, a document name that no backend may turn
// into a file, blob or secret name. Names consist of lower-case letters,
// digits, '-' and '_' and begin with a letter, digit or '_': everything the
// functions host accepts as a function name, lower-cased, and nothing that
// could leave a folder.
func CheckDoc(doc Doc) error {
	if ok := len(doc) > 0 && len(doc) <= maxDocName && doc[0] != '-'; ok && !strings.ContainsFunc(string(doc), unsafe) {
		return nil
	}
	return problem.New(ErrInvalid, fmt.Sprintf("%q cannot be the name of a key document", clip(string(doc)))).
		WithNext("use a lower-cased function name made of letters, digits, '-' and '_', or \"host\"")
}

func unsafe(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func clip(s string) string {
	if len(s) > maxDocName {
		return s[:maxDocName] + "…"
	}
	return s
}

// Clone gives a copy that shares no slice or map with d. Empty slices and maps
// become nil, so that equal documents compare equal whichever way they were made.
func (d Document) Clone() Document {
	c := d
	c.Keys.Master.Extra = cloneExtra(d.Keys.Master.Extra)
	c.Keys.Keys = cloneKeys(d.Keys.Keys)
	c.Keys.System = cloneKeys(d.Keys.System)
	c.Extra = cloneExtra(d.Extra)
	c.InClear = slices.Clone(d.InClear)
	c.Ignored = slices.Clone(d.Ignored)
	return c
}

func cloneKeys(keys []accesskey.Key) []accesskey.Key {
	if len(keys) == 0 {
		return nil
	}
	out := slices.Clone(keys)
	for i := range out {
		out[i].Extra = cloneExtra(out[i].Extra)
	}
	return out
}

func cloneExtra(m map[string][]byte) map[string][]byte {
	if len(m) == 0 {
		return nil
	}
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = bytes.Clone(v)
	}
	return out
}

// Normal gives the form of d that a store keeps, sharing nothing with d: the
// master key under its stored name, Extra members as compact JSON, Stale,
// InClear and Ignored unset.
// It returns ErrInvalid for a document that breaks a rule: a host document has
// a master key and a function document has only function keys; every key has a
// name that is unique in its list, ignoring case, and a value; Extra holds valid
// JSON under names the stored form does not use itself.
// Every backend calls it before writing, so that all refuse the same documents.
func Normal(doc Doc, d Document) (Document, error) {
	if err := CheckDoc(doc); err != nil {
		return Document{}, err
	}
	d = d.Clone()
	d.Stale, d.InClear, d.Ignored = false, nil, nil
	if err := normalKeys(doc, &d.Keys); err != nil {
		return Document{}, err
	}
	if err := normalExtra(doc, "the document", d.Extra, reservedTop(doc)); err != nil {
		return Document{}, err
	}
	return d, nil
}

func normalKeys(doc Doc, s *accesskey.Set) error {
	if err := checkShape(doc, s); err != nil {
		return err
	}
	if err := normalList(doc, "key", s.Keys); err != nil {
		return err
	}
	return normalList(doc, "system key", s.System)
}

func checkShape(doc Doc, s *accesskey.Set) error {
	if !doc.IsHost() {
		if s.Master.Value != "" || len(s.System) > 0 {
			return invalid(doc, "a function document cannot hold a master or system key")
		}
		s.Master = accesskey.Key{}
		return nil
	}
	if s.Master.Value == "" {
		return invalid(doc, "the host document needs a master key")
	}
	s.Master.Name, s.Master.HashOnly = accesskey.MasterStoredName, false
	return normalExtra(doc, "the master key", s.Master.Extra, reservedKey)
}

func normalList(doc Doc, what string, keys []accesskey.Key) error {
	seen := make(map[string]bool, len(keys))
	for i, k := range keys {
		keys[i].HashOnly = false
		label := fmt.Sprintf("%s %q", what, k.Name)
		lower := strings.ToLower(k.Name)
		switch {
		case k.Name == "":
			return invalid(doc, "a "+what+" has no name")
		case k.Value == "":
			return invalid(doc, label+" has no value")
		case seen[lower]:
			return invalid(doc, label+" exists twice (names ignore case)")
		}
		seen[lower] = true
		if err := normalExtra(doc, label, keys[i].Extra, reservedKey); err != nil {
			return err
		}
	}
	return nil
}

// Members the stored form uses itself, lower-cased. A function document must not
// have a "key" either: it would be taken for one of the older version.
var (
	reservedHost     = []string{"masterkey", "functionkeys", "systemkeys", "hostname", "instanceid", "source", "decryptionkeyid"}
	reservedFunction = []string{"keys", "key", "hostname", "instanceid", "source", "decryptionkeyid"}
	reservedKey      = []string{"name", "value", "encrypted"}
)

func reservedTop(doc Doc) []string {
	if doc.IsHost() {
		return reservedHost
	}
	return reservedFunction
}

func normalExtra(doc Doc, owner string, extra map[string][]byte, reserved []string) error {
	for name, raw := range extra {
		if slices.Contains(reserved, strings.ToLower(name)) {
			return invalid(doc, fmt.Sprintf("extra member %q of %s has a name the format uses itself", name, owner))
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return invalid(doc, fmt.Sprintf("extra member %q of %s is not JSON", name, owner))
		}
		extra[name] = b.Bytes()
	}
	return nil
}

func invalid(doc Doc, text string) error {
	return problem.New(ErrInvalid, fmt.Sprintf("key document %q cannot be stored: %s", string(doc), text))
}
