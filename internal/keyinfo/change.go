package keyinfo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Change is a change to metadata that was asked for.
type Change func(*accesskey.Meta)

// shown are the members of [Info] that cannot be changed here. They are passed
// over, so that what was read can be sent back.
var shown = []string{
	"name", "kind", "function", "etag", "state", "created", "rotatesAt", "retires", "retiring", "hashOnly", "uses", "lastUsed",
	"lastUsedFrom", "quotaUsed", "quarantinedUntil",
}

// members are those that can be changed.
var members = map[string]func(json.RawMessage) (Change, error){
	"note":        readText(func(m *accesskey.Meta) *string { return &m.Note }),
	"owner":       readText(func(m *accesskey.Meta) *string { return &m.Owner }),
	"notBefore":   readTime(func(m *accesskey.Meta) *time.Time { return &m.NotBefore }),
	"expires":     readTime(func(m *accesskey.Meta) *time.Time { return &m.Expires }),
	"disabled":    readSwitch,
	"methods":     readMethods,
	"functions":   readFunctions,
	"cidrs":       readNetworks,
	"rate":        readRate,
	"quota":       readQuota,
	"rotateEvery": readSpan(func(m *accesskey.Meta) *time.Duration { return &m.RotateEvery }),
	"overlap":     readSpan(func(m *accesskey.Meta) *time.Duration { return &m.Overlap }),
}

// ReadChange reads a change in the form of a merge patch: members that are not
// there stay, null takes one away, lists are replaced. Members that [Info] shows
// and nobody can set are passed over. It returns problem.Invalid beginning with
// the name of the member at fault. any says whether something is to change.
func ReadChange(patch map[string]json.RawMessage) (change Change, any bool, err error) {
	var all []Change
	for _, name := range slices.Sorted(maps.Keys(patch)) {
		read, ok := members[name]
		switch {
		case ok:
			one, err := read(patch[name])
			if err != nil {
				return nil, false, named(name, err)
			}
			all = append(all, one)
		case !slices.Contains(shown, name):
			return nil, false, Invalid(clip(name), "is no member of what is kept about a key", "use "+strings.Join(slices.Sorted(maps.Keys(members)), ", "))
		}
	}
	return func(m *accesskey.Meta) {
		for _, one := range all {
			one(m)
		}
	}, len(all) > 0, nil
}

// CanChange reports whether [ReadChange] reads a member.
func CanChange(name string) bool { return members[name] != nil }

// Invalid makes the error for a member that cannot be as it is.
func Invalid(name, fault, next string) error {
	return problem.New(problem.Invalid, name+": "+fault).WithNext(next)
}

// named puts the member's name before an error that has none.
func named(name string, err error) error {
	if strings.HasPrefix(err.Error(), name) {
		return err
	}
	return problem.New(problem.Invalid, name+": "+err.Error()).WithNext(problem.NextOf(err))
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// as decodes a value; null is the zero one.
func as[T any](raw json.RawMessage, want string) (v T, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&v); err != nil {
		return v, problem.New(problem.Invalid, "is not "+want)
	}
	return v, nil
}

func readText(at func(*accesskey.Meta) *string) func(json.RawMessage) (Change, error) {
	return func(raw json.RawMessage) (Change, error) {
		text, err := as[string](raw, "a text")
		return func(m *accesskey.Meta) { *at(m) = text }, err
	}
}

func readTime(at func(*accesskey.Meta) *time.Time) func(json.RawMessage) (Change, error) {
	return func(raw json.RawMessage) (Change, error) {
		t, err := as[time.Time](raw, "a time such as 2030-01-31T12:00:00Z")
		return func(m *accesskey.Meta) { *at(m) = t }, err
	}
}

func readSpan(at func(*accesskey.Meta) *time.Duration) func(json.RawMessage) (Change, error) {
	return func(raw json.RawMessage) (Change, error) {
		text, err := as[string](raw, "a duration such as 12h or 90d")
		var d time.Duration
		if err == nil && text != "" {
			d, err = clock.ParseSpan(text)
		}
		return func(m *accesskey.Meta) { *at(m) = d }, err
	}
}

func readSwitch(raw json.RawMessage) (Change, error) {
	on, err := as[bool](raw, "true or false")
	return func(m *accesskey.Meta) { m.Disabled = on }, err
}

func readMethods(raw json.RawMessage) (Change, error) {
	list, err := as[[]string](raw, "a list of texts")
	if err == nil {
		err = CheckMethods(list)
	}
	return func(m *accesskey.Meta) { m.Methods = slices.Clone(list) }, err
}

// methods are those that a restriction can name.
const methods = " GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY" +
	" PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH LINK UNLINK PURGE "

// CheckMethods finds the first entry that is no known HTTP method, ignoring case:
// a restriction with a slip of the pen would lock its users out. It returns
// problem.Invalid beginning with the entry.
func CheckMethods(list []string) error {
	for i, method := range list {
		if method == "" || strings.Contains(method, " ") || !strings.Contains(methods, " "+strings.ToUpper(method)+" ") {
			return Invalid(fmt.Sprintf("methods[%d]", i), fmt.Sprintf("%q is no HTTP method", clip(method)), "use names like GET or POST")
		}
	}
	return nil
}

func readFunctions(raw json.RawMessage) (Change, error) {
	list, err := as[[]string](raw, "a list of texts")
	return func(m *accesskey.Meta) { m.Functions = slices.Clone(list) }, err
}

func readNetworks(raw json.RawMessage) (Change, error) {
	list, err := as[[]string](raw, "a list of texts")
	if err != nil {
		return nil, err
	}
	nets, err := accesskey.ParseNetworks(list)
	return func(m *accesskey.Meta) { m.CIDRs = slices.Clone(nets) }, err
}

func readRate(raw json.RawMessage) (Change, error) {
	v, err := as[Rate](raw, `of the form {"n": 10, "per": "1m", "burst": 5}`)
	r := accesskey.Rate{N: v.N, Burst: v.Burst}
	if err == nil && !isNull(raw) {
		if r.Per, err = clock.ParseSpan(v.Per); err != nil {
			return nil, named("rate.per", err)
		}
		if r.N < 1 {
			err = Invalid("rate.n", fmt.Sprintf("%d is out of range", r.N), "use 1 or more uses, or null for no limit")
		}
	}
	return func(m *accesskey.Meta) { m.Rate = r }, err
}

func readQuota(raw json.RawMessage) (Change, error) {
	v, err := as[Quota](raw, `of the form {"n": 1000, "per": "day"}`)
	if err == nil && !isNull(raw) && v.N < 1 {
		err = Invalid("quota.n", fmt.Sprintf("%d is out of range", v.N), "use 1 or more uses, or null for no limit")
	}
	return func(m *accesskey.Meta) { m.Quota = accesskey.Quota{N: v.N, Per: accesskey.Period(v.Per)} }, err
}

func clip(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return s
}

// Patch gives the change from one state of metadata to another, as [ReadChange]
// reads it.
func Patch(old, next accesskey.Meta) map[string]json.RawMessage {
	was, will := changeable(old), changeable(next)
	out := map[string]json.RawMessage{}
	for name, raw := range will {
		if !bytes.Equal(raw, was[name]) {
			out[name] = raw
		}
	}
	for name := range was {
		if _, ok := will[name]; !ok {
			out[name] = json.RawMessage("null")
		}
	}
	return out
}

func changeable(m accesskey.Meta) map[string]json.RawMessage {
	d := detailsOf(m, time.Time{})
	text, _ := json.Marshal(d) // of texts, numbers and times
	var all map[string]json.RawMessage
	_ = json.Unmarshal(text, &all)
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return members[name] == nil })
	return all
}

// Meta gives the metadata that is shown, and whether there is any. It is not all
// that is stored: former values of the master key and unknown members are missing.
func (i Info) Meta() (m accesskey.Meta, any bool, err error) {
	text, err := json.Marshal(i.Details)
	if err != nil {
		return m, false, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return m, false, err
	}
	change, any, err := ReadChange(all)
	if err != nil {
		return m, false, err
	}
	change(&m)
	m.Retires = i.Retires
	if i.Created != nil {
		m.Created = *i.Created
	}
	return m, any || m.Retires != "" || i.Created != nil, nil
}

// Key gives a key as far as it is known from what is shown.
func (i Info) Key() accesskey.Key {
	k := accesskey.Key{Name: i.Name, HashOnly: i.HashOnly}
	m, any, err := i.Meta()
	switch {
	case i.State == Broken || err != nil:
		k.Extra = map[string][]byte{accesskey.MetaMember: []byte("null")} // which cannot be understood either
	case any:
		return k.WithMeta(m)
	}
	return k
}
