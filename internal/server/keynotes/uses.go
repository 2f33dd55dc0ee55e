package keynotes

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
)

// maxUses bounds how many keys uses are kept of: those used last. Keys come and
// go, and nobody says when one is gone for good.
const maxUses = 10_000

// Uses is a [keyring.UsageStore].
type Uses struct{ file file }

type uses struct {
	Keys []use `json:"keys"`
}

type use struct {
	Kind     string    `json:"kind"`
	Function string    `json:"function,omitempty"`
	Name     string    `json:"name"`
	Since    time.Time `json:"since,omitzero"`
	Count    int64     `json:"count"`
	Last     time.Time `json:"last,omitzero"`
	From     uint8     `json:"from,omitempty"` // a keyring.AddressClass
	Quota    quota     `json:"quota,omitzero"`
}

type quota struct {
	Start time.Time `json:"start"`
	Count int64     `json:"count"`
}

// Load gives all that is kept.
func (u *Uses) Load(context.Context) ([]keyring.Use, error) {
	var kept uses
	if err := u.file.read(&kept); err != nil {
		return nil, err
	}
	out := make([]keyring.Use, len(kept.Keys))
	for i, k := range kept.Keys {
		out[i] = k.public()
	}
	return out, nil
}

// Add merges uses into what is kept, in one write, and gives the sums.
func (u *Uses) Add(ctx context.Context, more []keyring.Use) ([]keyring.Use, error) {
	var kept uses
	sums := make([]keyring.Use, len(more))
	err := u.file.update(ctx, &kept, func() {
		for i, m := range more {
			sums[i] = kept.add(m)
		}
		kept.trim()
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

func (u *uses) add(more keyring.Use) keyring.Use {
	at := slices.IndexFunc(u.Keys, func(k use) bool { return sameKey(k.public().Key, more.Key) })
	if at < 0 {
		u.Keys = append(u.Keys, kept(more))
		return more
	}
	sum := u.Keys[at].public().Merge(more)
	u.Keys[at] = kept(sum)
	return sum
}

// sameKey compares as key stores do: ignoring case.
func sameKey(a, b keyring.KeyRef) bool {
	return a.Kind == b.Kind && strings.EqualFold(a.Function, b.Function) && strings.EqualFold(a.Name, b.Name)
}

func (u *uses) trim() {
	if len(u.Keys) <= maxUses {
		return
	}
	slices.SortStableFunc(u.Keys, func(a, b use) int { return b.Last.Compare(a.Last) })
	u.Keys = u.Keys[:maxUses]
}

func (k use) public() keyring.Use {
	kind, _ := accesskey.ParseKind(k.Kind)
	return keyring.Use{
		Key:   keyring.KeyRef{Kind: kind, Function: k.Function, Name: k.Name},
		Since: k.Since, Count: k.Count, Last: k.Last, From: keyring.AddressClass(k.From),
		Quota: keyring.Used{Start: k.Quota.Start, Count: k.Quota.Count},
	}
}

func kept(u keyring.Use) use {
	return use{
		Kind: u.Key.Kind.String(), Function: u.Key.Function, Name: u.Key.Name,
		Since: u.Since, Count: u.Count, Last: u.Last, From: uint8(u.From),
		Quota: quota{Start: u.Quota.Start, Count: u.Quota.Count},
	}
}
