package keyseed

import (
	"context"

	"github.com/latchkey/latchkey/internal/keyring"
)

// Ring is where keys are made as declared; see [keyring.Ring].
type Ring interface {
	Declare(ctx context.Context, sec keyring.Section, list []keyring.Declared) ([]keyring.DeclaredKey, error)
}

// Result is what became of a declared key.
type Result struct {
	Key Key
	keyring.DeclaredKey
}

// Changed reports whether the key is another one than before.
func (r Result) Changed() bool {
	return r.Outcome == keyring.Created || r.Outcome == keyring.Updated
}

// Apply makes the keys of one app as they are declared, in one write per
// document and without any where all are so; see [keyring.Ring.Declare]. There is
// a result for each key. One that failed keeps no other from being made.
func Apply(ctx context.Context, ring Ring, keys []Key) []Result {
	results := make([]Result, len(keys))
	for i, k := range keys {
		results[i].Key = k
	}
	for _, group := range bySection(keys) {
		list := make([]keyring.Declared, len(group))
		for i, at := range group {
			list[i] = keys[at].Declared
		}
		done, err := ring.Declare(ctx, keys[group[0]].Section, list)
		for i, at := range group {
			results[at].DeclaredKey = keyring.DeclaredKey{Name: list[i].Name, Outcome: keyring.Failed, Err: err}
			if err == nil {
				results[at].DeclaredKey = done[i]
			}
		}
	}
	return results
}

// bySection gives the indices of keys by their section, in order of appearance.
func bySection(keys []Key) (groups [][]int) {
	at := map[keyring.Section]int{}
	for i, k := range keys {
		g, known := at[k.Section]
		if !known {
			g = len(groups)
			at[k.Section] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}
