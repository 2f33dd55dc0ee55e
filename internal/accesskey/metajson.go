package accesskey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// MetaVersion is the version of the stored form that is written. A member that
// restricts more than this version would understand comes with a higher one.
const MetaVersion = 1

// MaxMetaLen is the longest stored form, in bytes, that is read or written.
const MaxMetaLen = 16 << 10

// stored is the stored form of a Meta.
type stored struct {
	Version     int            `json:"v"`
	Note        string         `json:"note,omitempty"`
	Owner       string         `json:"owner,omitempty"`
	Created     time.Time      `json:"created,omitzero"`
	NotBefore   time.Time      `json:"notBefore,omitzero"`
	Expires     time.Time      `json:"expires,omitzero"`
	Disabled    bool           `json:"disabled,omitempty"`
	Methods     []string       `json:"methods,omitempty"`
	Functions   []string       `json:"functions,omitempty"`
	CIDRs       []netip.Prefix `json:"cidrs,omitempty"`
	Rate        *storedRate    `json:"rate,omitempty"`
	Quota       *storedQuota   `json:"quota,omitempty"`
	Retires     string         `json:"retires,omitempty"`
	Former      []storedFormer `json:"former,omitempty"`
	RotateEvery span           `json:"rotateEvery,omitzero"`
	Overlap     span           `json:"overlap,omitzero"`
	Hint        string         `json:"hint,omitempty"`
}

// storedNames are the members that stored has.
var storedNames = []string{
	"v", "note", "owner", "created", "notBefore", "expires", "disabled", "methods", "functions", "cidrs",
	"rate", "quota", "retires", "former", "rotateEvery", "overlap", "hint",
}

type storedRate struct {
	N     int  `json:"n"`
	Per   span `json:"per"`
	Burst int  `json:"burst,omitempty"`
}

type storedQuota struct {
	N   int    `json:"n"`
	Per Period `json:"per"`
}

type storedFormer struct {
	Verifier string    `json:"verifier"`
	Since    time.Time `json:"since,omitzero"`
	Expires  time.Time `json:"expires"`
}

// span is a duration as people write it: "24h0m0s".
type span time.Duration

func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

// ParseMeta reads the stored form of metadata. It returns
// [problem.Undecryptable] for anything it does not understand completely, except
// unknown members, which are kept.
func ParseMeta(raw []byte) (Meta, error) {
	var members map[string]json.RawMessage
	var s stored
	switch {
	case len(raw) > MaxMetaLen:
		return Meta{}, metaFault(fmt.Sprintf("it is longer than %d bytes", MaxMetaLen))
	case json.Unmarshal(raw, &members) != nil || members == nil:
		return Meta{}, metaFault("it is not a JSON object")
	}
	if err := decodeKnown(members, &s); err != nil {
		return Meta{}, metaFault("a member has a value of the wrong form")
	}
	if s.Version != MetaVersion {
		return Meta{}, metaFault(fmt.Sprintf("its version is %d, and this program understands %d", s.Version, MetaVersion))
	}
	m := s.meta(members).normal()
	if err := m.check(); err != nil {
		return Meta{}, metaFault(err.Error())
	}
	return m, nil
}

// decodeKnown moves the known members, whose names are case-sensitive, from
// members to s.
func decodeKnown(members map[string]json.RawMessage, s *stored) error {
	known := make(map[string]json.RawMessage, len(storedNames))
	for _, name := range storedNames {
		if raw, ok := members[name]; ok {
			known[name] = raw
			delete(members, name)
		}
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, s)
}

func metaFault(why string) error {
	return problem.New(problem.Undecryptable, "the key's metadata cannot be understood: "+why).
		WithNext("set the key's restrictions anew, or delete the key; until then it does not work")
}

func (s stored) meta(unknown map[string]json.RawMessage) Meta {
	m := Meta{
		Note: s.Note, Owner: s.Owner, Created: s.Created, NotBefore: s.NotBefore, Expires: s.Expires,
		Disabled: s.Disabled, Methods: s.Methods, Functions: s.Functions, CIDRs: s.CIDRs, Retires: s.Retires,
		RotateEvery: time.Duration(s.RotateEvery), Overlap: time.Duration(s.Overlap), Hint: s.Hint,
	}
	if s.Rate != nil {
		m.Rate = Rate{N: s.Rate.N, Per: time.Duration(s.Rate.Per), Burst: s.Rate.Burst}
	}
	if s.Quota != nil {
		m.Quota = Quota(*s.Quota)
	}
	for _, f := range s.Former {
		m.Former = append(m.Former, Former(f))
	}
	for name, raw := range unknown {
		if m.Unknown == nil {
			m.Unknown = map[string][]byte{}
		}
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			m.Unknown[name] = b.Bytes()
		}
	}
	return m
}

// Format gives the stored form: compact JSON, members in a fixed order, unknown
// ones last. ParseMeta gives m back, in its normal form.
func (m Meta) Format() []byte {
	m = m.normal()
	s := stored{
		Version: MetaVersion, Note: m.Note, Owner: m.Owner, Created: m.Created, NotBefore: m.NotBefore,
		Expires: m.Expires, Disabled: m.Disabled, Methods: m.Methods, Functions: m.Functions, CIDRs: m.CIDRs,
		Retires: m.Retires, RotateEvery: span(m.RotateEvery), Overlap: span(m.Overlap), Hint: m.Hint,
	}
	if !m.Rate.IsZero() {
		s.Rate = &storedRate{N: m.Rate.N, Per: span(m.Rate.Per), Burst: m.Rate.Burst}
	}
	if !m.Quota.IsZero() {
		q := storedQuota(m.Quota)
		s.Quota = &q
	}
	for _, f := range m.Former {
		s.Former = append(s.Former, storedFormer(f))
	}
	return appendUnknown(encode(s), m.Unknown)
}
