package keyring

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// Uses is what a [UsageStore] keeps of an app, in the order in which keys were
// first used. As JSON it is a list of objects; the form is kept over versions. It
// is not safe for concurrent use.
type Uses []Use

// Add merges uses in, see [Use.Merge], and gives the sums for the same keys in the
// same order.
func (u *Uses) Add(more []Use) (sums []Use) {
	at := make(map[KeyRef]int, len(*u)+len(more))
	for i, have := range *u {
		at[have.Key.folded()] = i
	}
	sums = make([]Use, len(more))
	for i, m := range more {
		id := m.Key.folded()
		if where, ok := at[id]; ok {
			(*u)[where] = (*u)[where].Merge(m)
			sums[i] = (*u)[where]
			continue
		}
		at[id] = len(*u)
		*u, sums[i] = append(*u, m), m
	}
	return sums
}

// Trim keeps the most keys that were used last: keys come and go, and nobody says
// when one is gone for good.
func (u *Uses) Trim(most int) {
	if len(*u) <= most {
		return
	}
	slices.SortStableFunc(*u, func(a, b Use) int { return b.Last.Compare(a.Last) })
	*u = (*u)[:most]
}

type keptUse struct {
	Kind     string    `json:"kind"`
	Function string    `json:"function,omitempty"`
	Name     string    `json:"name"`
	Since    time.Time `json:"since,omitzero"`
	Count    int64     `json:"count"`
	Last     time.Time `json:"last,omitzero"`
	From     uint8     `json:"from,omitempty"` // an AddressClass
	Quota    keptQuota `json:"quota,omitzero"`
}

type keptQuota struct {
	Start time.Time `json:"start"`
	Count int64     `json:"count"`
}

// MarshalJSON implements [json.Marshaler].
func (u Use) MarshalJSON() ([]byte, error) {
	return json.Marshal(keptUse{
		Kind: u.Key.Kind.String(), Function: u.Key.Function, Name: u.Key.Name,
		Since: u.Since, Count: u.Count, Last: u.Last, From: uint8(u.From),
		Quota: keptQuota{Start: u.Quota.Start, Count: u.Quota.Count},
	})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (u *Use) UnmarshalJSON(text []byte) error {
	var k keptUse
	if err := json.Unmarshal(text, &k); err != nil {
		return err
	}
	kind, _ := accesskey.ParseKind(k.Kind)
	*u = Use{
		Key:   KeyRef{Kind: kind, Function: k.Function, Name: k.Name},
		Since: k.Since, Count: k.Count, Last: k.Last, From: AddressClass(k.From),
		Quota: Used{Start: k.Quota.Start, Count: k.Quota.Count},
	}
	return nil
}

// Rest gives more without what of it is in u already, in the same order.
func (u Uses) Rest(more []Use) []Use {
	have := make(map[KeyRef]Use, len(u))
	for _, h := range u {
		have[h.Key.folded()] = h
	}
	out := make([]Use, len(more))
	for i, m := range more {
		h := have[m.Key.folded()]
		if h.Since.Equal(m.Since) {
			m.Count = max(0, m.Count-h.Count)
		}
		if h.Quota.Start.Equal(m.Quota.Start) {
			m.Quota.Count = max(0, m.Quota.Count-h.Quota.Count)
		}
		out[i] = m
	}
	return out
}
