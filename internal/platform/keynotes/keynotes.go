// Package keynotes keeps, in the control plane's state, what is known of apps' keys
// outside their key stores: how they are used, and which had restrictions. What is
// kept holds no values. It does not know where keys are stored, what the keyring
// makes of what is kept, nor which apps there are.
package keynotes

import (
	"context"
	"errors"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefix is where the notes of all places are, each below a segment of its own.
const Prefix state.Key = "/keynotes/"

const (
	usesName         = "uses"
	restrictionsName = "restrictions/"
)

var (
	_ keyring.UsageStore = (*Uses)(nil)
	_ keyring.Memory     = (*Restrictions)(nil)
)

func prefixOf(place string) state.Key { return Prefix + state.Key(strings.ToLower(place)) + "/" }

// Restricted gives the place whose restrictions a document of the state has; false
// for other documents.
func Restricted(key state.Key) (place string, ok bool) {
	place, rest, ok := cut(key)
	return place, ok && strings.HasPrefix(rest, restrictionsName)
}

func cut(key state.Key) (place, rest string, ok bool) {
	below, ok := strings.CutPrefix(string(key), string(Prefix))
	if !ok {
		return "", "", false
	}
	return strings.Cut(below, "/")
}

// DeleteAll removes all notes of a place; it is no error if there are none.
func DeleteAll(ctx context.Context, store state.Store, place string) error {
	for {
		list, err := store.List(ctx, prefixOf(place), state.Page{Limit: state.MaxOps, KeysOnly: true})
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
	list, err := store.List(ctx, Prefix, state.Page{KeysOnly: true})
	if err != nil {
		return nil, err
	}
	var places []string
	for _, d := range list.Documents {
		place, _, ok := cut(d.Key)
		if ok && (len(places) == 0 || places[len(places)-1] != place) {
			places = append(places, place)
		}
	}
	return places, nil
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
	return &Restrictions{store, prefixOf(place) + restrictionsName}
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
