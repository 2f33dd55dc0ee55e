package keyring

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Orphans gives the functions that have keys in the store but are not among the
// current ones, in lower case, sorted. Their keys come to life again if a
// function of that name is deployed. Nothing is changed.
func (r *Ring) Orphans(ctx context.Context, current []string) ([]string, error) {
	docs, err := r.cfg.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	keep := map[keystore.Doc]bool{keystore.HostDoc: true}
	for _, name := range current {
		keep[keystore.FunctionDoc(name)] = true
	}
	var orphans []string
	for _, doc := range docs {
		if !keep[doc] {
			orphans = append(orphans, string(doc))
		}
	}
	slices.Sort(orphans)
	return orphans, nil
}

// Prune removes all keys of the named functions, which Orphans found or
// somebody chose; they no longer work when it returns. Functions without keys
// are passed over. It stops at the first error and gives the functions pruned
// so far. problem.Invalid for "host".
func (r *Ring) Prune(ctx context.Context, functions []string) (pruned []string, err error) {
	for _, name := range functions {
		s := r.Function(name)
		if s == nil {
			return pruned, errFunctionName(name)
		}
		removed, err := r.prune(ctx, s)
		if err != nil {
			return pruned, fmt.Errorf("%s were not removed: %w", s.label(), err)
		}
		if removed {
			pruned = append(pruned, name)
		}
	}
	return pruned, nil
}

func (r *Ring) prune(ctx context.Context, s *Scope) (bool, error) {
	if err := s.take(ctx); err != nil {
		return false, err
	}
	err := r.cfg.Store.Delete(ctx, s.doc)
	absent := err != nil && problem.KindOf(err) == keystore.ErrNotFound
	if err != nil && !absent {
		s.give()
		return false, err
	}
	events := r.forget(s)
	s.give()
	if absent {
		return false, nil
	}
	r.emit(append(events, Event{
		Type: DocumentPruned, Cause: Local, Level: slog.LevelInfo, Function: s.name,
		Text: s.label() + " were removed from " + r.store(),
	}))
	return true, nil
}

// forget drops a document from the ring as if it had never been read. Callers
// have the turn.
func (r *Ring) forget(s *Scope) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.known, s.present, s.fault = false, false, nil
	s.document, s.revision = keystore.Document{}, ""
	s.stored, s.salts, s.ledgers, s.tallies = nil, nil, nil, nil
	r.ahead.drop(s.doc)
	r.publish()
	return r.assess(Local)
}
