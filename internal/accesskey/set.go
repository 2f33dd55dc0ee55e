package accesskey

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// Find gives the key of a kind by its name, ignoring case. Host and Function
// both look in Keys, since a Set is either the host's or a function's. For
// Master the name does not matter; a master key without a value is not there.
// Where a stored document has a name twice, the first one counts.
func (s Set) Find(kind Kind, name string) (Key, bool) {
	keys := s.list(kind)
	if kind == Master {
		keys, name = s.List(Master), s.Master.Name
	}
	if i := indexOf(keys, name); i >= 0 {
		return keys[i].Clone(), true
	}
	return Key{}, false
}

// List gives the keys of a kind in stored order, each name once.
func (s Set) List(kind Kind) []Key {
	if kind == Master {
		if s.Master.Value == "" {
			return nil
		}
		return []Key{s.Master.Clone()}
	}
	var list []Key
	keys := s.list(kind)
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if name := folded(k.Name); !seen[name] {
			seen[name] = true
			list = append(list, k.Clone())
		}
	}
	return list
}

// folded gives one text for all spellings of a name that [strings.EqualFold]
// takes for equal: each character as the first of those that differ in case.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		first := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			first = min(first, other)
		}
		return first
	}, name)
}

// Put gives a Set in which key is the one key of that kind with its name: it
// takes the place of the first key of that name, ignoring case, and with it the
// new spelling; further ones go, so that a replaced value cannot live on in a
// duplicate. A key that is new comes last. Unknown members of the replaced key
// stay unless key brings its own. created says that there was none before.
// For a kind that is none nothing changes.
func (s Set) Put(kind Kind, key Key) (_ Set, created bool) {
	if kind == Master {
		return s.SetMaster(key)
	}
	out := s.Clone()
	keys := out.list(kind)
	if kind != Host && kind != Function && kind != System {
		return out, false
	}
	i := indexOf(keys, key.Name)
	if i < 0 {
		out.setList(kind, append(keys, key.Clone()))
		return out, true
	}
	keys[i] = succeed(keys[i], key)
	out.setList(kind, append(keys[:i+1], without(keys[i+1:], key.Name)...))
	return out, false
}

// SetMaster gives a Set with another master key, under its stored name whatever
// name key has. created says that there was none before.
func (s Set) SetMaster(key Key) (_ Set, created bool) {
	out := s.Clone()
	created = out.Master.Value == ""
	key.Name = MasterStoredName
	out.Master = succeed(out.Master, key)
	return out, created
}

// Remove gives a Set without the keys of that kind and name, ignoring case;
// removed says whether there was one. The master key cannot be removed.
func (s Set) Remove(kind Kind, name string) (_ Set, removed bool) {
	out := s.Clone()
	keys := out.list(kind)
	if indexOf(keys, name) < 0 {
		return out, false
	}
	out.setList(kind, without(keys, name))
	return out, true
}

// Clone gives a copy that shares nothing with s.
func (s Set) Clone() Set {
	return Set{Master: s.Master.Clone(), Keys: cloneKeys(s.Keys), System: cloneKeys(s.System)}
}

// Clone gives a copy that shares nothing with k.
func (k Key) Clone() Key {
	if k.Extra == nil {
		return k
	}
	extra := make(map[string][]byte, len(k.Extra))
	for name, raw := range k.Extra {
		extra[name] = bytes.Clone(raw)
	}
	k.Extra = extra
	return k
}

func cloneKeys(keys []Key) []Key {
	out := slices.Clone(keys)
	for i := range out {
		out[i] = out[i].Clone()
	}
	return out
}

// list gives the slice that holds the keys of a kind; nil for None and Master.
func (s Set) list(kind Kind) []Key {
	switch kind {
	case Host, Function:
		return s.Keys
	case System:
		return s.System
	default:
		return nil
	}
}

func (s *Set) setList(kind Kind, keys []Key) {
	if kind == System {
		s.System = keys
		return
	}
	s.Keys = keys
}

// succeed makes key the successor of old.
func succeed(old, key Key) Key {
	if key.Extra == nil {
		key.Extra = old.Extra
	}
	return key.Clone()
}

func indexOf(keys []Key, name string) int {
	return slices.IndexFunc(keys, func(k Key) bool { return strings.EqualFold(k.Name, name) })
}

func without(keys []Key, name string) []Key {
	return slices.DeleteFunc(keys, func(k Key) bool { return strings.EqualFold(k.Name, name) })
}
