package accesskey

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MetaMember is the member of a key's stored object that holds its [Meta], the
// only one that Latchkey adds. The functions host ignores it, and drops it when
// it rewrites the document.
const MetaMember = "latchkey"

// Meta is what is known about a key besides its name and value: what people
// noted, and restrictions that apply whenever the key is presented. The zero Meta
// restricts nothing. Times are whole seconds in UTC; the zero time is none.
//
// A key that once had metadata keeps the member for good, empty if need be: the
// absence of the member then always means that somebody else dropped it.
type Meta struct {
	Note    string    // for people, at most MaxNoteLen characters
	Owner   string    // who to ask, at most MaxOwnerLen characters
	Created time.Time // when the value was made

	NotBefore time.Time // the key works from then on
	Expires   time.Time // the key no longer works from then on
	Disabled  bool      // the key does not work until it is enabled

	Methods   []string       // HTTP methods the key works with, in upper case; none: all
	Functions []string       // functions a host key opens, ignoring case; none: all
	CIDRs     []netip.Prefix // networks the key may be presented from; none: all
	Rate      Rate
	Quota     Quota

	// Retires is the name of the key that this value was the value of, before a
	// rotation with overlap made it a key of its own; see [RetiredName].
	Retires string
	// Former are earlier values of the master key that are valid for a while.
	Former []Former

	RotateEvery time.Duration // the value is replaced when it is this old; 0: never by itself
	Overlap     time.Duration // how long the old value then works; 0: DefaultOverlap

	// Hint is a masked form of the value, for keys kept as a verifier only.
	Hint string

	// Unknown holds members that this version does not know, as JSON by name.
	Unknown map[string][]byte
}

// Rate allows N uses per Per, Burst of them at once. The zero Rate allows all.
// It counts per node.
type Rate struct {
	N     int
	Per   time.Duration
	Burst int // 0: N
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r == Rate{} }

// Period is the calendar period of a quota, in UTC.
type Period string

// Periods of quotas.
const (
	Day   Period = "day"
	Month Period = "month"
)

// Start gives the beginning of the period that t lies in.
func (p Period) Start(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	if p == Month {
		d = 1
	}
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// End gives the beginning of the period after the one that t lies in.
func (p Period) End(t time.Time) time.Time {
	if p == Month {
		return p.Start(t).AddDate(0, 1, 0)
	}
	return p.Start(t).AddDate(0, 0, 1)
}

// Quota allows N uses in each calendar period. The zero Quota allows all.
type Quota struct {
	N   int
	Per Period
}

// IsZero reports whether there is no limit.
func (q Quota) IsZero() bool { return q == Quota{} }

// Former is an earlier value of a key, of which only a verifier is kept.
type Former struct {
	Verifier string // see [NewVerifier]
	Since    time.Time
	Expires  time.Time // never zero
}

// Status says whether a key works at a point in time, as far as that does not
// depend on the request.
type Status uint8

const (
	Active   Status = iota
	NotYet          // NotBefore lies ahead
	Expired         // Expires has come
	Disabled        // switched off
)

var statusNames = [...]string{"active", "notYetValid", "expired", "disabled"}

// String gives the status as users see it.
func (s Status) String() string { return statusNames[s] }

// Status gives the key's status at a time. A key that is disabled and expired is
// called disabled.
func (m Meta) Status(now time.Time) Status {
	switch {
	case m.Disabled:
		return Disabled
	case !m.NotBefore.IsZero() && now.Before(m.NotBefore):
		return NotYet
	case !m.Expires.IsZero() && !now.Before(m.Expires):
		return Expired
	}
	return Active
}

// Restricts reports whether some value of a request or the time could make a key
// with this metadata not work.
func (m Meta) Restricts() bool {
	return m.Disabled || !m.NotBefore.IsZero() || !m.Expires.IsZero() || len(m.Methods) > 0 ||
		len(m.Functions) > 0 || len(m.CIDRs) > 0 || !m.Rate.IsZero() || !m.Quota.IsZero()
}

// Clone gives a copy that shares nothing with m.
func (m Meta) Clone() Meta {
	m.Methods, m.Functions = slices.Clone(m.Methods), slices.Clone(m.Functions)
	m.CIDRs, m.Former = slices.Clone(m.CIDRs), slices.Clone(m.Former)
	m.Unknown = maps.Clone(m.Unknown)
	for name, raw := range m.Unknown {
		m.Unknown[name] = bytes.Clone(raw)
	}
	return m
}

// normal gives m in the form in which it is stored and compared.
func (m Meta) normal() Meta {
	m = m.Clone()
	m.Methods, m.Functions, m.CIDRs = some(m.Methods), some(m.Functions), some(m.CIDRs)
	m.Former = some(m.Former)
	if len(m.Unknown) == 0 {
		m.Unknown = nil
	}
	for _, t := range []*time.Time{&m.Created, &m.NotBefore, &m.Expires} {
		*t = seconds(*t)
	}
	for i := range m.Methods {
		m.Methods[i] = strings.ToUpper(m.Methods[i])
	}
	for i := range m.CIDRs {
		m.CIDRs[i] = m.CIDRs[i].Masked()
	}
	for i := range m.Former {
		m.Former[i].Since, m.Former[i].Expires = seconds(m.Former[i].Since), seconds(m.Former[i].Expires)
	}
	return m
}

// some gives nil for an empty list, which restricts nothing either.
func some[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// HasMeta reports whether the key's stored object has metadata, readable or not.
func (k Key) HasMeta() bool {
	_, ok := k.Extra[MetaMember]
	return ok
}

// Meta gives the key's metadata: what is stored with it, and what its name says
// about it whatever else was lost, see [RetiredName]. It returns
// problem.Undecryptable if what is stored cannot be understood, or is of a
// later version: then the key must not be taken for one without restrictions.
func (k Key) Meta() (Meta, error) {
	var m Meta
	var err error
	if raw, ok := k.Extra[MetaMember]; ok {
		m, err = ParseMeta(raw)
	}
	if base, until, ok := ParseRetiredName(k.Name); ok {
		if m.Retires == "" {
			m.Retires = base
		}
		if m.Expires.IsZero() || until.Before(m.Expires) {
			m.Expires = until
		}
	}
	return m, err
}

// WithMeta gives the key with other metadata; m must be valid.
func (k Key) WithMeta(m Meta) Key {
	k = k.Clone()
	if k.Extra == nil {
		k.Extra = map[string][]byte{}
	}
	k.Extra[MetaMember] = m.Format()
	return k
}
