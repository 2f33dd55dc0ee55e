// Package statestore keeps orchestrations in the control plane's state, one
// document each, for any number of hosts. It does not know what they mean.
package statestore

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Store implements [instances.Store].
type Store struct {
	docs   state.Store
	prefix state.Key
}

var _ instances.Store = (*Store)(nil)

// New makes a store of the instances below prefix, which ends in a slash and is
// the app's own.
func New(docs state.Store, prefix state.Key) *Store { return &Store{docs: docs, prefix: prefix} }

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
	var result *instances.Instance
	_, err := state.Update(ctx, s.docs, s.key(id), func(data []byte, exists bool) ([]byte, error) {
		var old *instances.Instance
		if exists {
			var err error
			if old, err = instances.Decode(data); err != nil {
				return nil, err
			}
		}
		result = old
		changed, err := change(old)
		if errors.Is(err, instances.ErrKeep) || err == nil && changed == nil && old == nil {
			return nil, state.ErrUnchanged
		}
		if err != nil {
			return nil, err
		}
		if result = changed; changed == nil {
			return nil, nil
		}
		return instances.Encode(changed)
	})
	if err != nil {
		return nil, err
	}
	return result, nil
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
