package sealed

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// resealTries bounds how often a document that others keep changing is looked at.
const resealTries = 20

// namedFaults is how many documents that do not open an error names.
const namedFaults = 5

// Reseal seals anew every value that was sealed with an older key, without
// changing what it says. It runs while others use the store, may be interrupted
// and run again, and gives each document it writes a new revision. progress, if
// not nil, is told how many of the documents found at the beginning are done.
//
// Documents that do not open are left alone; when all others are done they are
// reported as problem.Undecryptable. Nodes that have not met the new key yet may
// still seal with the old one: run it again when they have.
func (s *Store) Reseal(ctx context.Context, progress func(done, total int)) error {
	listing, err := s.inner.List(ctx, "/", state.Page{KeysOnly: true})
	if err != nil {
		return err
	}
	var faults []error
	for i, doc := range listing.Documents {
		err := s.resealOne(ctx, doc.Key)
		if errors.Is(err, problem.Undecryptable) {
			faults = append(faults, err)
		} else if err != nil {
			return err
		}
		if progress != nil {
			progress(i+1, len(listing.Documents))
		}
	}
	return resealFaults(faults)
}

func resealFaults(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	named := faults[:min(len(faults), namedFaults)]
	return problem.Wrap(problem.Undecryptable, fmt.Sprintf("%d documents could not be sealed anew", len(faults)), errors.Join(named...)).
		WithNext(problem.NextOf(faults[0]))
}

func (s *Store) resealOne(ctx context.Context, key state.Key) error {
	if s.isPlain(key) {
		return ctx.Err()
	}
	for range resealTries {
		err := s.resealOnce(ctx, key)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return problem.New(state.ErrConflict, fmt.Sprintf("others kept changing %q", key)).WithNext("try again")
}

func (s *Store) resealOnce(ctx context.Context, key state.Key) error {
	doc, err := s.inner.Get(ctx, key)
	if err != nil {
		return err
	}
	plain, stale, err := seal.Open(s.sealer, doc.Value, string(key))
	if err != nil {
		return cannotOpen(key, err)
	}
	if !stale {
		return nil
	}
	value, err := seal.Seal(s.sealer, plain, string(key))
	if err != nil {
		return fmt.Errorf("sealing document %q: %w", key, err)
	}
	_, err = s.inner.Write(ctx, state.Put(key, value, doc.Revision))
	return err
}
