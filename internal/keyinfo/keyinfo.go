// Package keyinfo owns the form in which access keys and what is known about them
// are shown to people and programs, and the form in which changes to it are asked
// for: the same members in the management API, the runtime API and the output of
// commands. It holds no values of keys, decides nothing about who may see what and
// does not know HTTP.
package keyinfo

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// State says in one word whether a key works, as far as that does not depend on
// the request.
type State string

// States.
const (
	Active   State = "active"
	Disabled State = "disabled"
	Expired  State = "expired"
	NotYet   State = "notYetValid"
	Retiring State = "retiring"    // a former value that still works, until Expires
	Retired  State = "retired"     // a former value that has ended
	Kept     State = "quarantined" // kept for a function that is gone, until QuarantinedUntil; it does not work
	Broken   State = "broken"      // what is stored about it cannot be understood; it does not work
)

// Info is a key without its value. Its JSON form is a contract.
type Info struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // master, host, system or function
	Function string `json:"function,omitempty"`
	// ETag is another one once anything about the key is, its value too; it says
	// nothing about the value.
	ETag string `json:"etag,omitempty"`
	Details
}

// Details is what is known about a key besides its name and value. Times are whole
// seconds in UTC.
type Details struct {
	State     State      `json:"state"`
	Note      string     `json:"note,omitempty"`
	Owner     string     `json:"owner,omitempty"`
	Created   *time.Time `json:"created,omitempty"` // when the value was made
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Disabled  bool       `json:"disabled,omitempty"`

	Methods   []string       `json:"methods,omitempty"`
	Functions []string       `json:"functions,omitempty"`
	CIDRs     []netip.Prefix `json:"cidrs,omitempty"`
	Rate      *Rate          `json:"rate,omitempty"`
	Quota     *Quota         `json:"quota,omitempty"`

	RotateEvery string     `json:"rotateEvery,omitempty"` // "2160h0m0s"
	Overlap     string     `json:"overlap,omitempty"`     // of the rotations by itself
	RotatesAt   *time.Time `json:"rotatesAt,omitempty"`   // the next one
	Retires     string     `json:"retires,omitempty"`     // the key that this is a former value of
	Retiring    []Former   `json:"retiring,omitempty"`    // former values of this key that are kept
	HashOnly    bool       `json:"hashOnly,omitempty"`    // the value is not kept and cannot be shown

	QuarantinedUntil *time.Time `json:"quarantinedUntil,omitempty"`

	*Uses
}

// Rate allows N uses per Per, Burst of them at once.
type Rate struct {
	N     int    `json:"n"`
	Per   string `json:"per"` // "1m0s"
	Burst int    `json:"burst,omitempty"`
}

// Quota allows N uses per day or month.
type Quota struct {
	N   int    `json:"n"`
	Per string `json:"per"`
}

// Former is a former value of a key.
type Former struct {
	Name  string     `json:"name"`
	Until time.Time  `json:"until"`
	Last  *time.Time `json:"lastUsed,omitempty"`
	Count int64      `json:"uses,omitempty"`
}

// Uses says how the present value of a key was used.
type Uses struct {
	Count int64      `json:"uses"`
	Last  *time.Time `json:"lastUsed,omitempty"`
	From  string     `json:"lastUsedFrom,omitempty"` // loopback, private, public or unknown
	Quota *QuotaUsed `json:"quotaUsed,omitempty"`
}

// QuotaUsed is what was used of a quota in the period that began at Since.
type QuotaUsed struct {
	Since time.Time `json:"since"`
	Used  int64     `json:"used"`
}

// Of gives what a key itself says at a time.
func Of(sec keyring.Section, key accesskey.Key, now time.Time) Info {
	info := Info{Name: key.Name, Kind: sec.Kind.String()}
	if sec.Kind == accesskey.Function {
		info.Function = sec.Function
	}
	m, err := key.Meta()
	info.Details = detailsOf(m, now)
	if err != nil {
		info.State = Broken
	}
	info.HashOnly = key.HashOnly || accesskey.LooksLikeVerifier(key.Value)
	return info
}

// Plain reports whether nothing is known about the key but its name and value.
// Answers for such keys must not differ from those of other hosts.
func Plain(key accesskey.Key) bool {
	_, _, retired := accesskey.ParseRetiredName(key.Name)
	return !key.HasMeta() && !retired && !key.HashOnly && !accesskey.LooksLikeVerifier(key.Value)
}

func detailsOf(m accesskey.Meta, now time.Time) Details {
	d := Details{
		State: stateOf(m, now), Note: m.Note, Owner: m.Owner, Disabled: m.Disabled,
		Created: when(m.Created), NotBefore: when(m.NotBefore), Expires: when(m.Expires),
		Methods: m.Methods, Functions: m.Functions, CIDRs: m.CIDRs, Retires: m.Retires,
	}
	if !m.Rate.IsZero() {
		d.Rate = &Rate{m.Rate.N, m.Rate.Per.String(), m.Rate.Burst}
	}
	if !m.Quota.IsZero() {
		d.Quota = &Quota{m.Quota.N, string(m.Quota.Per)}
	}
	if m.RotateEvery > 0 {
		d.RotateEvery = m.RotateEvery.String()
	}
	if m.RotateEvery > 0 && !m.Created.IsZero() && m.Retires == "" {
		d.RotatesAt = when(m.Created.Add(m.RotateEvery))
	}
	if m.Overlap > 0 {
		d.Overlap = m.Overlap.String()
	}
	for _, f := range m.Former {
		d.Retiring = append(d.Retiring, Former{Name: accesskey.RetiredName(accesskey.MasterName, f.Expires), Until: f.Expires.UTC()})
	}
	return d
}

func stateOf(m accesskey.Meta, now time.Time) State {
	switch status := m.Status(now); {
	case m.Retires != "" && status == accesskey.Active:
		return Retiring
	case m.Retires != "" && status == accesskey.Expired:
		return Retired
	case status == accesskey.Disabled:
		return Disabled
	case status == accesskey.Expired:
		return Expired
	case status == accesskey.NotYet:
		return NotYet
	}
	return Active
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// Ring is the part of a [keyring.Ring] that is asked.
type Ring interface {
	Tagged(ctx context.Context, sec keyring.Section) (keys []accesskey.Key, tags []string, err error)
	Usage(ctx context.Context, sec keyring.Section) ([]keyring.Use, error)
}

// List gives the keys of a section with their uses, as far as these are counted.
// Errors are those of [keyring.Ring.Tagged]; uses that cannot be read are left out.
func List(ctx context.Context, ring Ring, sec keyring.Section, now time.Time) ([]Info, error) {
	keys, tags, err := ring.Tagged(ctx, sec)
	if err != nil {
		return nil, err
	}
	uses, _ := ring.Usage(ctx, sec)
	list := Join(sec, keys, uses, now)
	for i := range list {
		list[i].ETag = tags[i]
	}
	return list, nil
}

// Quarantined gives the keys of a function that is gone, which open nothing whatever
// they say of themselves. It must not be called once their time is over.
func Quarantined(ctx context.Context, ring Ring, gone keyring.Quarantine, now time.Time) ([]Info, error) {
	list, err := List(ctx, ring, keyring.FunctionKeys(gone.Function), now)
	for i := range list {
		list[i].State, list[i].QuarantinedUntil = Kept, when(gone.Until)
	}
	return list, err
}

// Find is List for one key, by name ignoring case; problem.NotFound if there is
// none. The master key's name does not matter.
func Find(ctx context.Context, ring Ring, sec keyring.Section, name string, now time.Time) (Info, error) {
	list, err := List(ctx, ring, sec, now)
	if err != nil {
		return Info{}, err
	}
	for _, info := range list {
		if sec.Kind == accesskey.Master || strings.EqualFold(info.Name, name) {
			return info, nil
		}
	}
	return Info{}, problem.New(problem.NotFound, "there is no key of that name")
}

// Join makes a list of the keys of a section and their uses.
func Join(sec keyring.Section, keys []accesskey.Key, uses []keyring.Use, now time.Time) []Info {
	list := make([]Info, len(keys))
	at := make(map[string]int, len(keys))
	for i, key := range keys {
		list[i] = Of(sec, key, now)
		at[strings.ToLower(key.Name)] = i
	}
	for _, u := range uses {
		if i, ok := at[strings.ToLower(u.Key.Name)]; ok {
			list[i].Uses = UsesOf(u)
		}
		retiringUse(list, u)
	}
	for _, info := range list {
		if i, ok := at[strings.ToLower(info.Retires)]; ok && info.Retires != "" && info.Expires != nil {
			f := Former{Name: info.Name, Until: *info.Expires}
			if info.Uses != nil {
				f.Last, f.Count = info.Last, info.Count
			}
			list[i].Retiring = withFormer(list[i].Retiring, f)
		}
	}
	return list
}

// withFormer enters a former value, which may be known already: those of the master
// key are kept with it and are listed as well.
func withFormer(have []Former, f Former) []Former {
	at := slices.IndexFunc(have, func(h Former) bool { return strings.EqualFold(h.Name, f.Name) })
	if at < 0 {
		return append(have, f)
	}
	if f.Last != nil {
		have[at] = f
	}
	return have
}

// retiringUse notes a use of a former master key, which is listed nowhere else.
func retiringUse(list []Info, u keyring.Use) {
	for i := range list {
		for n := range list[i].Retiring {
			if f := &list[i].Retiring[n]; strings.EqualFold(f.Name, u.Key.Name) {
				f.Last, f.Count = when(u.Last), u.Count
			}
		}
	}
}

// UsesOf gives a use as it is shown.
func UsesOf(u keyring.Use) *Uses {
	out := &Uses{Count: u.Count, Last: when(u.Last)}
	if out.Last != nil {
		out.From = u.From.String()
	}
	if !u.Quota.Start.IsZero() {
		out.Quota = &QuotaUsed{u.Quota.Start.UTC(), u.Quota.Count}
	}
	return out
}

// UseOf is the inverse of UsesOf, as far as uses are shown.
func (i Info) UseOf() keyring.Use {
	u := keyring.Use{Key: keyring.KeyRef{Name: i.Name}}
	u.Key.Kind, _ = accesskey.ParseKind(i.Kind)
	u.Key.Function = strings.ToLower(i.Function)
	if i.Uses == nil {
		return u
	}
	u.Count = i.Count
	if i.Last != nil {
		u.Last = *i.Last
	}
	for c := keyring.UnknownAddress; c <= keyring.Public; c++ {
		if c.String() == i.From {
			u.From = c
		}
	}
	if i.Uses.Quota != nil {
		u.Quota = keyring.Used{Start: i.Uses.Quota.Since, Count: i.Uses.Quota.Used}
	}
	return u
}
