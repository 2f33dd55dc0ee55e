package keyring

import (
	"iter"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// effective gives the keys of a document that count, in the order in which they
// are tried: master, system keys, then host function keys or function keys.
func effective(doc keystore.Doc, set accesskey.Set) iter.Seq2[accesskey.Kind, accesskey.Key] {
	return func(yield func(accesskey.Kind, accesskey.Key) bool) {
		rest := accesskey.Function
		if doc.IsHost() {
			rest = accesskey.Host
			master := set.Master
			master.Name = accesskey.MasterStoredName
			if master.Value != "" && !yield(accesskey.Master, master) {
				return
			}
			if !each(accesskey.System, set.System, yield) {
				return
			}
		}
		each(rest, set.Keys, yield)
	}
}

func each(kind accesskey.Kind, keys []accesskey.Key, yield func(accesskey.Kind, accesskey.Key) bool) bool {
	for _, k := range distinct(keys) {
		if !yield(kind, k) {
			return false
		}
	}
	return true
}

// distinct gives keys without those that cannot count: unnamed and empty ones,
// and those with a name that came before, ignoring case. Files written by other
// hands can have them; stores refuse to write them. keys is not modified.
func distinct(keys []accesskey.Key) []accesskey.Key {
	seen := make(map[string]bool, len(keys))
	out := make([]accesskey.Key, 0, len(keys))
	for _, k := range keys {
		lower := strings.ToLower(k.Name)
		if k.Name == "" || k.Value == "" || seen[lower] {
			continue
		}
		seen[lower] = true
		out = append(out, k)
	}
	return out
}

// indexOf finds a key by name, ignoring case; -1 if there is none.
func indexOf(keys []accesskey.Key, name string) int {
	return slices.IndexFunc(keys, func(k accesskey.Key) bool { return strings.EqualFold(k.Name, name) })
}

// merge lays first over second: keys of second whose name first has, in the
// same case, are left out.
func merge(first, second []accesskey.Key) []accesskey.Key {
	out := distinct(first)
	for _, k := range distinct(second) {
		if !slices.ContainsFunc(first, func(f accesskey.Key) bool { return f.Name == k.Name }) {
			out = append(out, k)
		}
	}
	return out
}
