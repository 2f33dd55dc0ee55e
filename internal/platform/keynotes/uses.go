package keynotes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	// maxBytes bounds the document, which then has some thousand keys: those used last.
	maxBytes = 768 << 10
	// maxBatches is how many writes a document remembers, those of all nodes.
	maxBatches = 64
)

// Uses is a [keyring.UsageStore] of one place, for one ring. All of the place's uses
// are one document, so that whatever was used since the last time is one write.
// Any number of nodes add to it; each use counts once, also where the answer to a
// write was lost. It is safe for concurrent use.
type Uses struct {
	store state.Store
	key   state.Key
	there func(context.Context) error

	mu     sync.Mutex
	unsure []batch // writes without an answer since the last one with
}

// batch is what a write had, and all that the ring had handed over without success
// before it: what the ring will hand over again if the write took place.
type batch struct {
	id   string
	uses keyring.Uses
}

// kept is the form of the document.
type kept struct {
	Keys    keyring.Uses `json:"keys"`
	Batches []string     `json:"batches"` // the last writes
}

// NewUses gives those of a place in a state. there is asked before anything is
// written; when it says problem.NotFound, the app has gone and nothing is kept any
// more. It touches nothing.
func NewUses(store state.Store, place string, there func(context.Context) error) *Uses {
	return &Uses{store: store, key: usesKey(place), there: there}
}

// Load gives all that is kept. problem.Undecryptable if that cannot be understood;
// otherwise the state's errors.
func (u *Uses) Load(ctx context.Context) ([]keyring.Use, error) {
	d, err := u.store.Get(ctx, u.key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k, err := u.decode(d.Value)
	return k.Keys, err
}

// Add merges uses into what is kept, in one write, and gives the sums. After an
// error it must be given the same uses again, and may be given more. Errors are
// those of Load, and problem.Conflict if others kept writing.
func (u *Uses) Add(ctx context.Context, more []keyring.Use) ([]keyring.Use, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.there(ctx); errors.Is(err, problem.NotFound) {
		return more, nil
	} else if err != nil {
		return nil, err
	}
	id := newID()
	var sums []keyring.Use
	tried := false
	_, err := state.Update(ctx, u.store, u.key, func(old []byte, exists bool) (text []byte, err error) {
		var k kept
		if exists {
			if k, err = u.decode(old); err != nil {
				return nil, err
			}
		}
		sums = k.Keys.Add(u.missing(k, more))
		k.Batches = append(k.Batches, id)
		k.Batches = k.Batches[max(0, len(k.Batches)-maxBatches):]
		text, err = k.encode()
		tried = err == nil
		return text, err
	})
	switch {
	case err == nil:
		u.unsure = nil
		return sums, nil
	case tried && !errors.Is(err, state.ErrConflict): // it may have been written
		u.unsure = append(u.unsure, batch{id, slices.Clone(more)})
		u.unsure = u.unsure[max(0, len(u.unsure)-maxBatches):]
	}
	return nil, err
}

// missing gives more without what is kept already by a write whose answer was lost.
func (u *Uses) missing(k kept, more []keyring.Use) []keyring.Use {
	for _, b := range slices.Backward(u.unsure) {
		if slices.Contains(k.Batches, b.id) {
			return b.uses.Rest(more)
		}
	}
	return more
}

func (u *Uses) decode(text []byte) (k kept, err error) {
	if err := json.Unmarshal(text, &k); err != nil {
		return k, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", u.key), err)
	}
	return k, nil
}

// encode gives the document, without the keys that were not used for the longest
// time where it would be too large.
func (k *kept) encode() ([]byte, error) {
	for {
		text, err := json.Marshal(k)
		if err != nil || len(text) <= maxBytes {
			return text, err
		}
		k.Keys.Trim(len(k.Keys) * 3 / 4)
	}
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
