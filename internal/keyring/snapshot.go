package keyring

import (
	"crypto/subtle"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// stored is one stored key as lookups need it: its digest and what it yields.
type stored struct {
	digest   digest
	decision Decision
}

// snapshot is everything a decision needs. It is never changed once published.
type snapshot struct {
	shared table  // by value: master, system and host keys, and marks of function keys
	local  table  // by value and function
	known  []bool // by scope index: the document's keys are in here
}

// slot is where a table keeps a digest; scope is 0 in the shared table.
type slot struct{ head, scope uint64 }

type entry struct {
	digest   digest
	decision Decision
	next     int32 // another digest with the same head; 0 is the end
}

// table finds entries by digest. Entry 0 stands for everything that is absent,
// so that a lookup compares once whether there is something to find or not.
type table struct {
	heads   map[slot]int32
	entries []entry
}

func newTable(size int) table {
	t := table{heads: make(map[slot]int32, size), entries: make([]entry, 1, size+1)}
	t.entries[0].decision.Reason = Unknown
	return t
}

// find gives the entry of d, or entry 0. It never gives nil.
func (t *table) find(d *digest, scope uint64) *entry {
	at := t.heads[slot{d.head(), scope}]
	for {
		e := &t.entries[at]
		if subtle.ConstantTimeCompare(e.digest[:], d[:]) == 1 {
			return e
		}
		if e.next == 0 {
			return &t.entries[0]
		}
		at = e.next
	}
}

// add enters a digest. The first that matches wins; one that doesn't match
// gives way to one that does.
func (t *table) add(d *digest, scope uint64, dec Decision) {
	if e := t.find(d, scope); e != &t.entries[0] {
		if e.decision.Reason != Matched && dec.Reason == Matched {
			e.decision = dec
		}
		return
	}
	s := slot{d.head(), scope}
	t.entries = append(t.entries, entry{digest: *d, decision: dec, next: t.heads[s]})
	t.heads[s] = int32(len(t.entries) - 1)
}

// match decides on a digest: the app's own keys go before the function's. Both
// tables are always asked, whatever the first one says.
func (s *snapshot) match(d *digest, scope uint64) Decision {
	shared := &s.shared.find(d, 0).decision
	local := &s.local.find(d, scope).decision
	switch {
	case shared.Reason == Matched:
		return *shared
	case local.Reason != Unknown:
		return *local
	}
	return *shared
}

// has reports whether the document of a scope is part of the snapshot.
func (s *snapshot) has(scope uint64) bool {
	return scope < uint64(len(s.known)) && s.known[scope]
}

// assemble makes a snapshot of scopes, which are in the order of their indexes;
// the host's comes first.
func assemble(scopes []*Scope) *snapshot {
	total := 0
	for _, s := range scopes {
		total += len(s.stored)
	}
	snap := &snapshot{shared: newTable(total), local: newTable(total), known: make([]bool, len(scopes))}
	for i, s := range scopes {
		snap.known[i] = s.known
		snap.enter(s)
	}
	return snap
}

func (s *snapshot) enter(scope *Scope) {
	for i := range scope.stored {
		k := &scope.stored[i]
		if scope.doc.IsHost() {
			s.shared.add(&k.digest, 0, k.decision)
			continue
		}
		s.local.add(&k.digest, scope.index, k.decision)
		s.shared.add(&k.digest, 0, Decision{Reason: OtherFunction})
	}
}

// digestsOf turns a document's keys into what lookups need, in the order in
// which they are tried. Keys that can never match are left out: empty and
// overlong values, and later keys of a list with a name that came before.
func (r *Ring) digestsOf(s *Scope, set accesskey.Set) []stored {
	var out []stored
	for kind, key := range effective(s.doc, set) {
		if key.Value == "" || len(key.Value) > MaxValue {
			continue
		}
		out = append(out, stored{r.hasher.sum(key.Value), r.standing(kind, key)})
	}
	return out
}

// standing is what a key yields when it is presented.
func (r *Ring) standing(kind accesskey.Kind, key accesskey.Key) Decision {
	if r.cfg.Mode == Enabled && !r.cfg.Format.Identifiable(kind, key.Value) {
		return Decision{Reason: NotIdentifiable}
	}
	return matched(kind, key.Name)
}
