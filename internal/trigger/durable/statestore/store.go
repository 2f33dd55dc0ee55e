// Package statestore keeps orchestrations in the control plane's state, one
// document each, for any number of hosts, and within the budget of their app. It
// does not know what they mean.
package statestore

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Store implements [instances.Store].
type Store struct {
	docs   state.Store
	prefix state.Key
	budget instances.Budget
	clock  clock.Clock
	ledger ledger
}

var _ instances.Store = (*Store)(nil)

// Config says what a store is made of.
type Config struct {
	Docs   state.Store
	Prefix state.Key        // of the instances; ends in a slash and is the app's own
	Budget instances.Budget // members that are zero are those of [instances.DefaultBudget]
	Clock  clock.Clock
}

// New makes a store.
func New(cfg Config) *Store {
	b := instances.DefaultBudget()
	if cfg.Budget.Instances > 0 {
		b.Instances = cfg.Budget.Instances
	}
	if cfg.Budget.Bytes > 0 {
		b.Bytes = cfg.Budget.Bytes
	}
	return &Store{docs: cfg.Docs, prefix: cfg.Prefix, budget: b, clock: cfg.Clock, ledger: newLedger()}
}

// key gives the key of an instance: hexadecimal, so that keys are in the order of
// ids and hold any character.
func (s *Store) key(id string) state.Key {
	return s.prefix + state.Key(hex.EncodeToString([]byte(id)))
}

// Get implements [instances.Store].
func (s *Store) Get(ctx context.Context, id string) (*instances.Instance, error) {
	if err := instances.CheckID(id); err != nil {
		return nil, err
	}
	doc, err := s.docs.Get(ctx, s.key(id))
	if err != nil {
		return nil, noInstance(err)
	}
	return instances.Decode(doc.Value)
}

func noInstance(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return problem.New(problem.NotFound, "there is no such instance")
	}
	return err
}

// Update implements [instances.Store].
func (s *Store) Update(ctx context.Context, id string, change instances.Change) (*instances.Instance, error) {
	if err := instances.CheckID(id); err != nil {
		return nil, err
	}
	w := &writing{store: s, key: s.key(id), change: change}
	defer w.release()
	if err := s.counted(ctx); err != nil {
		return nil, err
	}
	doc, err := state.Update(ctx, s.docs, w.key, w.write)
	if errors.Is(err, problem.Throttled) || errors.Is(err, problem.TooLarge) {
		if again, failed := s.recount(ctx); failed != nil || !again {
			return nil, err
		}
		doc, err = state.Update(ctx, s.docs, w.key, w.write)
	}
	if err != nil {
		return nil, err
	}
	w.wrote(doc)
	return w.result, nil
}

// writing is one call of Update.
type writing struct {
	store    *Store
	key      state.Key
	change   instances.Change
	reserved instances.Usage
	written  bool // the last try changed the document
	result   *instances.Instance
}

// write is one try: others may have changed the document since the last.
func (w *writing) write(data []byte, exists bool) ([]byte, error) {
	w.release()
	w.written = false
	var old *instances.Instance
	if exists {
		var err error
		if old, err = instances.Decode(data); err != nil {
			return nil, err
		}
	}
	w.result = old
	var before *instances.Instance // old may be changed in place
	if old != nil {
		c := *old
		before = &c
	}
	changed, err := w.change(old)
	if errors.Is(err, instances.ErrKeep) || err == nil && changed == nil && old == nil {
		return nil, state.ErrUnchanged
	}
	if err != nil {
		return nil, err
	}
	w.written = true
	if w.result = changed; changed == nil {
		return nil, nil
	}
	return w.fit(len(data), before, changed)
}

// fit encodes an instance if the budget has room for it in the place of old, which
// has size bytes.
func (w *writing) fit(size int, old, changed *instances.Instance) ([]byte, error) {
	value, err := instances.Encode(changed)
	if err != nil {
		return nil, err
	}
	more := instances.Usage{Bytes: int64(max(len(value)-size, 0))}
	if old == nil {
		more.Instances = 1
	}
	if err := w.store.ledger.reserve(w.store.budget, more, old, changed); err != nil {
		return nil, err
	}
	w.reserved = more
	return value, nil
}

func (w *writing) release() {
	w.store.ledger.release(w.reserved)
	w.reserved = instances.Usage{}
}

// wrote notes what became of the document.
func (w *writing) wrote(doc state.Document) {
	switch {
	case !w.written:
	case doc.Value == nil:
		w.store.ledger.remove(w.key, doc.Revision)
	default:
		w.store.ledger.put(w.key, entryOf(doc))
	}
}

// List implements [instances.Store].
func (s *Store) List(ctx context.Context, after string, limit int) ([]*instances.Instance, bool, error) {
	page := state.Page{Limit: limit}
	if after != "" {
		page.After = s.key(after)
	}
	found, err := s.docs.List(ctx, s.prefix, page)
	if err != nil {
		return nil, false, err
	}
	list := make([]*instances.Instance, 0, len(found.Documents))
	for _, doc := range found.Documents {
		i, err := instances.Decode(doc.Value)
		if err != nil {
			return nil, false, problem.Wrap(problem.Undecryptable, "the document "+string(doc.Key), err)
		}
		list = append(list, i)
	}
	return list, found.More, nil
}
