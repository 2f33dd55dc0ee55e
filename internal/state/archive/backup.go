package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// rounds is how often a backup looks for what changed meanwhile before it takes
// everything at once.
const rounds = 8

// Backup writes everything in store, the one below the encryption, to w. What it
// writes is one moment of the store, not long before it returns: it reads
// document by document, so that not all need fit in memory, then those that
// changed meanwhile, until nothing did. In a store that is never at rest it
// resorts to one list of everything, which is one moment too but is held in
// memory. Others may use the store at the same time.
//
// It returns the store's errors; problem.Unavailable if w fails; and
// problem.Conflict if the keyset was changed meanwhile, or a restore into the
// store has not been completed. What was written is then of no use.
func Backup(ctx context.Context, store state.Store, w io.Writer, o Options) (Summary, error) {
	keyset, err := keysetIn(ctx, store, o.Keyset)
	if err != nil {
		return Summary{}, err
	}
	out, header, err := newWriter(w, o, keyset)
	if err != nil {
		return Summary{}, err
	}
	c := &copier{store: store, out: out, saved: map[state.Key]state.Revision{}}
	if err := c.everything(ctx); err != nil {
		return Summary{}, err
	}
	if err := out.flush(frameLast); err != nil {
		return Summary{}, err
	}
	// All frames are sealed now: with keys that the header's keyset has, if
	// it is still the one in use.
	if now, err := keysetIn(ctx, store, o.Keyset); err != nil {
		return Summary{}, err
	} else if !bytes.Equal(now, keyset) {
		return Summary{}, problem.New(problem.Conflict, "the keyset was changed while the backup was made").WithNext("make the backup again")
	}
	sum, err := out.finish()
	return Summary{Header: header, Documents: len(out.tally), Bytes: out.tally.bytes(), SHA256: sum}, err
}

func keysetIn(ctx context.Context, store state.Store, key state.Key) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	doc, err := store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("the keyset for the backup: %w", err)
	}
	return doc.Value, nil
}

// copier writes documents and remembers of which revision.
type copier struct {
	store state.Store
	out   *writer
	saved map[state.Key]state.Revision
}

// everything writes until what was written is what a list of the store shows.
func (c *copier) everything(ctx context.Context) error {
	for range rounds {
		listing, err := c.store.List(ctx, "/", state.Page{KeysOnly: true})
		if err != nil {
			return err
		}
		same, err := c.round(listing.Documents, func(key state.Key) (state.Document, error) { return c.store.Get(ctx, key) })
		if same || err != nil {
			return err
		}
	}
	return c.atOnce(ctx)
}

// atOnce takes everything in one list.
func (c *copier) atOnce(ctx context.Context) error {
	listing, err := c.store.List(ctx, "/", state.Page{})
	if err != nil {
		return err
	}
	documents := make(map[state.Key]state.Document, len(listing.Documents))
	for _, doc := range listing.Documents {
		documents[doc.Key] = doc
	}
	_, err = c.round(listing.Documents, func(key state.Key) (state.Document, error) { return documents[key], nil })
	return err
}

// round writes the listed documents that are not saved as they are listed, and
// takes back those that are not listed any more. same says that there were none.
func (c *copier) round(listed []state.Document, get func(state.Key) (state.Document, error)) (same bool, err error) {
	same = true
	gone := maps.Clone(c.saved)
	for _, doc := range listed {
		delete(gone, doc.Key)
		if isLease(doc.Key) || c.saved[doc.Key] == doc.Revision {
			continue
		}
		same = false
		if err := c.save(doc.Key, get); err != nil {
			return false, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		same = false
		if err := c.forget(key); err != nil {
			return false, err
		}
	}
	return same, nil
}

func (c *copier) save(key state.Key, get func(state.Key) (state.Document, error)) error {
	if key == RestoringKey {
		return problem.New(problem.Conflict, "a restore into this store has not been completed").WithNext("complete the restore first")
	}
	doc, err := get(key)
	if errors.Is(err, state.ErrNotFound) { // the next round knows
		return nil
	}
	if err != nil {
		return err
	}
	c.saved[key] = doc.Revision
	return c.out.put(doc)
}

func (c *copier) forget(key state.Key) error {
	delete(c.saved, key)
	return c.out.remove(key)
}

func isLease(key state.Key) bool { return strings.HasPrefix(string(key), string(state.LeasePrefix)) }
