// Package keynotes keeps, in the control plane's state, what is known of apps' keys
// outside their key stores: how they are used, and which had restrictions. What is
// kept holds no values. It does not know where keys are stored, what the keyring
// makes of what is kept, nor which apps there are.
package keynotes

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefixes of what is kept, below which each place has a segment of its own.
const (
	// UsesPrefix is where documents change when keys are used, by place.
	UsesPrefix state.Key = "/keynotes/uses/"
	// RestrictionsPrefix is where documents change when keys' restrictions do.
	RestrictionsPrefix state.Key = "/keynotes/restrictions/"
)

var (
	_ keyring.UsageStore = (*Uses)(nil)
	_ keyring.Memory     = (*Restrictions)(nil)
)

func usesKey(place string) state.Key { return UsesPrefix + state.Key(strings.ToLower(place)) }

func restrictionsOf(place string) state.Key {
	return RestrictionsPrefix + state.Key(strings.ToLower(place)) + "/"
}

// DeleteAll removes all notes of a place; it is no error if there are none.
func DeleteAll(ctx context.Context, store state.Store, place string) error {
	if _, err := store.Write(ctx, state.Delete(usesKey(place), state.Any)); err != nil {
		return err
	}
	for {
		list, err := store.List(ctx, restrictionsOf(place), state.Page{Limit: state.MaxOps, KeysOnly: true})
		if err != nil || len(list.Documents) == 0 {
			return err
		}
		var ops []state.Op
		for _, d := range list.Documents {
			ops = append(ops, state.Delete(d.Key, state.Any))
		}
		if _, err := store.Write(ctx, ops...); err != nil {
			return err
		}
	}
}

// Places gives those that have notes, sorted.
func Places(ctx context.Context, store state.Store) ([]string, error) {
	var places []string
	for _, prefix := range []state.Key{UsesPrefix, RestrictionsPrefix} {
		list, err := store.List(ctx, prefix, state.Page{KeysOnly: true})
		if err != nil {
			return nil, err
		}
		for _, d := range list.Documents {
			place, _, _ := strings.Cut(string(d.Key[len(prefix):]), "/")
			places = append(places, place)
		}
	}
	slices.Sort(places)
	return slices.Compact(places), nil
}

// Restrictions is a [keyring.Memory] of one place: what each document's keys were
// restricted to, as the keyring wrote it. It is safe for concurrent use, by several
// nodes too: the last one who writes is right, as all write what the key store has.
type Restrictions struct {
	store  state.Store
	prefix state.Key
}

// NewRestrictions gives those of a place in a state, which must be sealed. It
// touches nothing. Errors of its methods are the state's.
func NewRestrictions(store state.Store, place string) *Restrictions {
	return &Restrictions{store, restrictionsOf(place)}
}

// Recall gives what was last remembered of a document, nil when there is nothing.
func (r *Restrictions) Recall(ctx context.Context, doc keystore.Doc) ([]byte, error) {
	d, err := r.store.Get(ctx, r.prefix+state.Key(doc))
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return d.Value, err
}

// Remember replaces what is remembered of a document.
func (r *Restrictions) Remember(ctx context.Context, doc keystore.Doc, data []byte) error {
	op := state.Put(r.prefix+state.Key(doc), data, state.Any)
	if len(data) == 0 {
		op = state.Delete(op.Key, state.Any)
	}
	_, err := r.store.Write(ctx, op)
	return err
}
