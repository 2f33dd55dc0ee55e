package keyring

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// prepared is a document's keys as lookups and counting need them.
type prepared struct {
	stored  []stored
	salts   []accesskey.Salt
	ledgers map[string]*ledger
	tallies map[KeyRef]*tally
}

// prepare turns a document's keys into what lookups need, in the order in which
// they are tried. Keys that can never match are left out: empty and overlong
// values, and later keys of a list with a name that came before. What was counted
// so far goes on. Callers have the turn.
func (r *Ring) prepare(s *Scope, set accesskey.Set) prepared {
	p := preparer{ring: r, scope: s}
	p.ledgers, p.tallies = map[string]*ledger{}, map[KeyRef]*tally{}
	for kind, key := range effective(s.doc, set) {
		if key.Value == "" || len(key.Value) > MaxValue {
			continue
		}
		p.key(kind, key)
	}
	return p.prepared
}

type preparer struct {
	prepared
	ring  *Ring
	scope *Scope
}

func (p *preparer) key(kind accesskey.Kind, key accesskey.Key) {
	meta, err := key.Meta()
	d := matched(kind, key.Name)
	if meta.Retires != "" {
		d.Name, d.Retired = meta.Retires, key.Name
	}
	p.add(d, key.Name, key.Value, meta, err)
	for _, f := range meta.Former {
		d, m := d, meta
		m.Created, m.Expires = f.Since, f.Expires
		d.Retired = accesskey.RetiredName(accesskey.MasterName, f.Expires)
		p.add(d, d.Retired, f.Verifier, m, err)
	}
}

// add enters a value of a key.
func (p *preparer) add(d Decision, name, value string, meta accesskey.Meta, err error) {
	k := stored{decision: d}
	t := limitsOf(meta, err)
	if accesskey.LooksLikeVerifier(value) {
		v, ok := accesskey.ParseVerifier(value)
		if !ok {
			return // a damaged verifier recognises nothing
		}
		if !slices.Contains(p.salts, v.Salt) {
			p.salts = append(p.salts, v.Salt)
		}
		k.digest, t.strict = v.Sum, p.ring.cfg.Mode == Enabled
		t.limited = t.limited || t.strict
	} else {
		k.digest = p.ring.hasher.sum(value)
		if p.ring.cfg.Mode == Enabled && !p.ring.cfg.Format.Identifiable(d.Kind, value) {
			k.decision = Decision{Reason: NotIdentifiable}
			p.stored = append(p.stored, k)
			return
		}
	}
	ref := KeyRef{Kind: d.Kind, Function: functionOf(p.scope), Name: name}
	if !meta.Rate.IsZero() || !meta.Quota.IsZero() {
		t.ledger = p.ledger(ref, d.Name)
	}
	if p.ring.cfg.Usage != nil {
		t.tally = p.tally(ref, k.digest, meta, t.ledger)
	}
	if t.limited || t.tally != nil || d.Retired != "" {
		k.terms = t
	}
	p.stored = append(p.stored, k)
}

func functionOf(s *Scope) string {
	if s.doc.IsHost() {
		return ""
	}
	return string(s.doc)
}

// ledger gives the ledger that all values of a name share.
func (p *preparer) ledger(ref KeyRef, base string) *ledger {
	id := ref.Kind.String() + "/" + strings.ToLower(base)
	if l := p.ledgers[id]; l != nil {
		return l
	}
	l := p.scope.ledgers[id]
	if l == nil {
		l = &ledger{}
		ref.Name = base
		l.adopt(p.ring.recalledQuota(ref), Used{})
	}
	p.ledgers[id] = l
	return l
}

// tally goes on with the one of the same name and value, or begins a new one.
func (p *preparer) tally(ref KeyRef, d digest, meta accesskey.Meta, l *ledger) *tally {
	if meta.Retires != "" {
		l = nil // its uses of the quota are those of the name
	}
	if ref.Kind == accesskey.Master && ref.Name == accesskey.MasterStoredName {
		ref.Name = accesskey.MasterName
	}
	was := p.scope.tallies[ref.folded()]
	t := &tally{ref: ref, digest: d, since: meta.Created}
	if was != nil && was.digest == d {
		t = was
	}
	t.ledger.Store(l)
	p.tallies[ref.folded()] = t
	return t
}
