package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// ownPrefix begins a value in Latchkey's own sealed form, that of package keyset.
const ownPrefix = "lk1."

// members are the members of a JSON object by name. Of members given twice the
// last counts, as it does for the stock host.
type members map[string]json.RawMessage

// Decode reads a stored document. It returns keystore.ErrUndecryptable if the
// text is not a key document or if any value in it cannot be opened, naming the
// keys concerned: part of a document is never passed off as the whole.
//
// A key whose value is null or absent is no key. Of keys whose names differ in
// case at most, the first counts. What does not count is named in Document.Ignored. A value is opened only if its key says it is
// encrypted, so documents in clear stay readable under any sealer.
//
// A value in clear beside one in Latchkey's own sealed form is refused, too: only
// Latchkey writes that form, and it seals all values or none, so somebody without
// the sealing key has added to the document. The stock host does mix values in
// clear with its own form. Under a sealer, keys in clear are named in
// Document.InClear. It returns problem.Conflict for a document of another app.
func (c *Codec) Decode(doc keystore.Doc, data []byte) (keystore.Document, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var top members
	if !utf8.Valid(data) || json.Unmarshal(data, &top) != nil || top == nil {
		return keystore.Document{}, malformed(doc, "it is empty, cut off or not a JSON object")
	}
	var hostName string
	if json.Unmarshal(top.get(memberHostName), &hostName) == nil {
		if err := c.belongs(doc, hostName); err != nil {
			return keystore.Document{}, err
		}
	}
	r := reader{codec: c, doc: doc}
	r.variants(top)
	d, err := r.document(top)
	if err == nil {
		err = r.failed()
	}
	if err != nil {
		return keystore.Document{}, err
	}
	return d, nil
}

func malformed(doc keystore.Doc, why string) error {
	return problem.New(keystore.ErrUndecryptable, fmt.Sprintf("invalid secrets file format in key document %q: %s", string(doc), why)).
		WithNext("restore the document from a backup, or delete it to have new keys made; it was not changed")
}

// reader reads one document, collecting keys that cannot be opened.
type reader struct {
	codec *Codec
	doc   keystore.Doc
	stale bool
	own   bool     // some value is in Latchkey's own sealed form
	clear []string // keys in clear
	names []string // keys that cannot be opened
	extra []string // what does not count
	errs  []error
}

func (r *reader) failed() error {
	if len(r.names) == 0 {
		return r.mixed()
	}
	cause := r.errs[0]
	e := problem.Wrap(keystore.ErrUndecryptable,
		fmt.Sprintf("key document %q holds keys that cannot be decrypted (%s)", string(r.doc), strings.Join(r.names, ", ")), cause)
	return e.WithNext(problem.NextOf(cause))
}

func (r *reader) mixed() error {
	if !r.own || len(r.clear) == 0 {
		return nil
	}
	verb := "is"
	if len(r.clear) > 1 {
		verb = "are"
	}
	return problem.New(keystore.ErrUndecryptable, fmt.Sprintf("key document %q: %s %s in clear beside sealed ones; nothing was changed",
		string(r.doc), strings.Join(r.clear, ", "), verb)).
		WithNext("remove what is in clear from the document, and see who can write to it; to have a key of that value, " +
			"set it afterwards with: latchkey keys set")
}

// document tells the versions apart in the order the host does.
func (r *reader) document(top members) (keystore.Document, error) {
	var set accesskey.Set
	var err error
	switch {
	case r.doc.IsHost() && kindOf(top, memberMaster) == text:
		set, err = r.oldHost(top)
	case r.doc.IsHost() && kindOf(top, memberMaster) == object && kindOf(top, memberHostKeys) == array:
		set, err = r.host(top)
	case !r.doc.IsHost() && oldFunction(top):
		set, err = r.oldFunction(top)
	case !r.doc.IsHost() && kindOf(top, memberKeys) == array:
		top.take(memberOldKey) // no text; kept, it could make the written form ambiguous
		set.Keys, err = r.list(top.take(memberKeys), listKeys)
	default:
		return keystore.Document{}, malformed(r.doc, "neither version of the format fits")
	}
	for _, name := range []string{memberHostName, memberInstanceID, memberSource, memberKeyID} {
		top.take(name)
	}
	d := keystore.Document{Keys: set, Extra: top.extra()}
	if err == nil {
		d.Stale, d.InClear, d.Ignored = r.stale, r.unsealed(), r.extra
	}
	return d, err
}

// oldFunction tells version 0 by its "key". A null one beside a list of keys is
// taken for what it is, a stray member, so that the list is not lost.
func oldFunction(top members) bool {
	switch kindOf(top, memberOldKey) {
	case text:
		return true
	case null:
		return kindOf(top, memberKeys) != array
	default:
		return false
	}
}

func (r *reader) oldHost(top members) (accesskey.Set, error) {
	var set accesskey.Set
	value, err := r.text(top.take(memberMaster), memberMaster)
	if err != nil {
		return set, err
	}
	set.Master = accesskey.Key{Name: accesskey.MasterStoredName, Value: value}
	if value != "" {
		r.inClear(listMaster, set.Master.Name)
	}
	set.Keys, err = r.oldKey(top, memberOldHostKey)
	return set, err
}

func (r *reader) oldFunction(top members) (accesskey.Set, error) {
	keys, err := r.oldKey(top, memberOldKey)
	return accesskey.Set{Keys: keys}, err
}

func (r *reader) oldKey(top members, member string) ([]accesskey.Key, error) {
	value, err := r.text(top.take(member), member)
	if err != nil || value == "" {
		return nil, err
	}
	r.inClear(listKeys, accesskey.DefaultName)
	return []accesskey.Key{{Name: accesskey.DefaultName, Value: value}}, nil
}

func (r *reader) host(top members) (accesskey.Set, error) {
	var set accesskey.Set
	master, _, err := r.key(top.take(memberMaster), listMaster)
	if err != nil {
		return set, err
	}
	set.Master = master
	if set.Keys, err = r.list(top.take(memberHostKeys), listKeys); err != nil {
		return set, err
	}
	set.System, err = r.list(top.take(memberSystemKeys), listSystem)
	return set, err
}

func (r *reader) list(raw json.RawMessage, list string) ([]accesskey.Key, error) {
	if raw == nil || kind(raw) == null {
		return nil, nil
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, malformed(r.doc, "a list of keys is not a list")
	}
	var keys []accesskey.Key
	seen := map[string]bool{}
	for _, item := range items {
		if kind(item) == null {
			continue
		}
		if seen[itemName(item)] {
			r.own = r.own || ownForm(item)
			r.ignore(r.label(list, nameOf(item)) + " after one of that name")
			continue
		}
		k, ok, err := r.key(item, list)
		if err != nil {
			return nil, err
		}
		if ok {
			seen[fold(k.Name)] = true
			keys = append(keys, k)
			continue
		}
		r.ignore(r.label(list, k.Name) + " without a value")
	}
	return keys, nil
}

// ignore notes what is left out of the document.
func (r *reader) ignore(what string) { r.extra = append(r.extra, what) }

// itemName gives the folded name of a key in a list, "" if it has none, which
// no key that was read has.
func itemName(item json.RawMessage) string { return fold(nameOf(item)) }

func nameOf(item json.RawMessage) string {
	var m members
	var name string
	if json.Unmarshal(item, &m) != nil || json.Unmarshal(m.take(memberName), &name) != nil {
		return ""
	}
	return name
}

// key reads one key; ok is false if it has no value.
func (r *reader) key(raw json.RawMessage, list string) (k accesskey.Key, ok bool, err error) {
	var m members
	if json.Unmarshal(raw, &m) != nil || m == nil {
		return k, false, malformed(r.doc, "a key is not a JSON object")
	}
	if k.Name, err = r.text(m.take(memberName), memberName); err != nil {
		return k, false, err
	}
	sealed, err := r.flag(m.take(memberEncrypted))
	if err != nil {
		return k, false, err
	}
	value := m.take(memberValue)
	if k.Value, err = r.text(value, memberValue); err != nil {
		return k, false, err
	}
	if list == listMaster {
		k.Name = accesskey.MasterStoredName
	}
	k.Extra = m.extra()
	if k.Value == "" && (!sealed || value == nil || kind(value) == null) {
		return k, false, nil
	}
	if k.Name == "" {
		return k, false, malformed(r.doc, "a key has no name")
	}
	if sealed {
		r.own = r.own || strings.HasPrefix(k.Value, ownPrefix)
		k.Value = r.open(k, list)
	} else {
		r.inClear(list, k.Name)
	}
	return k, true, nil
}

// ownForm reports whether a key that does not count is in Latchkey's own form.
func ownForm(item json.RawMessage) bool {
	var m members
	var value string
	var sealed bool
	return json.Unmarshal(item, &m) == nil && json.Unmarshal(m.take(memberValue), &value) == nil &&
		json.Unmarshal(m.take(memberEncrypted), &sealed) == nil && sealed && strings.HasPrefix(value, ownPrefix)
}

// inClear notes a value in clear. Where values are sealed it is to be sealed like
// the others.
func (r *reader) inClear(list, name string) {
	r.stale = r.stale || r.codec.cfg.Sealer.Seals()
	r.clear = append(r.clear, r.label(list, name))
}

// label names a key for people, with its kind.
func (r *reader) label(list, name string) string {
	kind := ""
	if list == listKeys {
		if kind = "function key "; r.doc.IsHost() {
			kind = "host key "
		}
	}
	return kind + label(list, name)
}

// unsealed gives the keys in clear, unless they are to be.
func (r *reader) unsealed() []string {
	if !r.codec.cfg.Sealer.Seals() {
		return nil
	}
	return r.clear
}

// open gives the value in clear, or notes that it cannot be had.
func (r *reader) open(k accesskey.Key, list string) string {
	plain, stale, err := r.codec.cfg.Sealer.Open(k.Value, place(r.doc, list, k.Name))
	if err == nil && plain == "" {
		err = problem.New(keystore.ErrUndecryptable, "the value is empty")
	}
	if err != nil {
		r.names = append(r.names, label(list, k.Name))
		r.errs = append(r.errs, err)
		return ""
	}
	r.stale = r.stale || stale
	return plain
}

func label(list, name string) string {
	if list == listMaster {
		return "the master key"
	}
	if list == listSystem {
		return fmt.Sprintf("system key %q", name)
	}
	return fmt.Sprintf("%q", name)
}

// text reads a string; null and absent are "".
func (r *reader) text(raw json.RawMessage, member string) (string, error) {
	var s string
	if raw != nil && json.Unmarshal(raw, &s) != nil {
		return "", malformed(r.doc, fmt.Sprintf("member %q is not a text", member))
	}
	return s, nil
}

// flag reads a boolean; null and absent are false.
func (r *reader) flag(raw json.RawMessage) (bool, error) {
	var b bool
	if raw != nil && json.Unmarshal(raw, &b) != nil {
		return false, malformed(r.doc, fmt.Sprintf("member %q is neither true nor false", memberEncrypted))
	}
	return b, nil
}

// take removes a member, whatever the case of its name, and gives its value;
// the exact name counts before others.
func (m members) take(name string) json.RawMessage {
	raw := m.get(name)
	for n := range m {
		if fold(n) == fold(name) {
			delete(m, n)
		}
	}
	return raw
}

// variants notes members whose names differ in case only: one of them counts.
func (r *reader) variants(top members) {
	for _, name := range []string{memberMaster, memberHostKeys, memberSystemKeys, memberKeys, memberOldHostKey, memberOldKey} {
		var same []string
		for n := range top {
			if fold(n) == fold(name) {
				same = append(same, n)
			}
		}
		if len(same) > 1 {
			slices.Sort(same)
			r.ignore(fmt.Sprintf("all but one of the members %q", same))
		}
	}
}

func (m members) get(name string) json.RawMessage {
	if raw, ok := m[name]; ok {
		return raw
	}
	var same []string
	for n := range m {
		if fold(n) == fold(name) {
			same = append(same, n)
		}
	}
	if len(same) == 0 {
		return nil
	}
	return m[slices.Min(same)]
}

// extra gives what is left, as compact JSON.
func (m members) extra() map[string][]byte {
	out := map[string][]byte{}
	for name, raw := range m {
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			out[name] = b.Bytes()
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func fold(s string) string { return strings.ToLower(s) }
