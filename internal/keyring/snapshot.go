package keyring

import (
	"crypto/subtle"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// stored is one stored key as lookups need it: its digest and what it yields. The
// digest of a key that is kept as a verifier is the verifier's own.
type stored struct {
	digest   digest
	decision Decision
	terms    *terms // nil for plain keys
}

// snapshot is everything a decision needs. It is never changed once published.
type snapshot struct {
	shared table  // by value: master, system and host keys, and marks of function keys
	local  table  // by value and function
	known  []bool // by scope index: the document's keys are in here
	hashed bool   // some key is kept as a verifier
	salts  [][]accesskey.Salt
}

// slot is where a table keeps a digest; scope is 0 in the shared table.
type slot struct{ head, scope uint64 }

type entry struct {
	digest   digest
	decision Decision
	terms    *terms
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
func (t *table) add(k *stored, scope uint64) {
	d := &k.digest
	if e := t.find(d, scope); e != &t.entries[0] {
		if e.decision.Reason != Matched && k.decision.Reason == Matched {
			e.decision, e.terms = k.decision, k.terms
		}
		return
	}
	s := slot{d.head(), scope}
	t.entries = append(t.entries, entry{digest: *d, decision: k.decision, terms: k.terms, next: t.heads[s]})
	t.heads[s] = int32(len(t.entries) - 1)
}

// match decides on a digest: the app's own keys go before the function's. Both
// tables are always asked, whatever the first one says.
func (s *snapshot) match(d *digest, scope uint64) *entry {
	shared := s.shared.find(d, 0)
	local := s.local.find(d, scope)
	switch {
	case shared.decision.Reason == Matched:
		return shared
	case local.decision.Reason != Unknown:
		return local
	}
	return shared
}

// matchHashed looks among the keys that are kept as verifiers: once for each
// salt, of which a document has one as a rule, however many keys there are. Where
// none matches, the answer is otherwise.
func (s *snapshot) matchHashed(presented string, scope uint64, otherwise *entry) *entry {
	for _, index := range [...]uint64{0, scope} {
		if index >= uint64(len(s.salts)) {
			continue // a function that became known after the snapshot was made
		}
		for _, salt := range s.salts[index] {
			d := digest(salt.Sum(presented))
			if e := s.match(&d, scope); e.decision.Reason == Matched {
				return e
			}
		}
	}
	return otherwise
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
	snap := &snapshot{shared: newTable(total), local: newTable(total), known: make([]bool, len(scopes)), salts: make([][]accesskey.Salt, len(scopes))}
	for i, s := range scopes {
		snap.known[i], snap.salts[i] = s.known, s.salts
		snap.hashed = snap.hashed || len(s.salts) > 0
		snap.enter(s)
	}
	return snap
}

func (s *snapshot) enter(scope *Scope) {
	for i := range scope.stored {
		k := &scope.stored[i]
		if scope.doc.IsHost() {
			s.shared.add(k, 0)
			continue
		}
		s.local.add(k, scope.index)
		s.shared.add(&stored{digest: k.digest, decision: Decision{Reason: OtherFunction}}, 0)
	}
}
