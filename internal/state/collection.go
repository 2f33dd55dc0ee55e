package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// Collection is the documents below a prefix as JSON values of one type. It is
// safe for concurrent use.
type Collection[T any] struct {
	Store  Store
	Prefix Key // ends in a slash
}

// Item is a value with the revision its document had.
type Item[T any] struct {
	Name     string // the key without the prefix
	Value    T
	Revision Revision
}

// Key gives the key of a document by its name, which may have several segments.
func (c Collection[T]) Key(name string) Key { return c.Prefix + Key(name) }

// Get reads one value; ErrNotFound if there is none.
func (c Collection[T]) Get(ctx context.Context, name string) (Item[T], error) {
	doc, err := c.Store.Get(ctx, c.Key(name))
	if err != nil {
		return Item[T]{}, err
	}
	return c.Decode(doc)
}

// List reads the values in order of their names.
func (c Collection[T]) List(ctx context.Context) ([]Item[T], error) {
	listing, err := c.Store.List(ctx, c.Prefix, Page{})
	if err != nil {
		return nil, err
	}
	items := make([]Item[T], 0, len(listing.Documents))
	for _, doc := range listing.Documents {
		item, err := c.Decode(doc)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// Create makes a value; problem.Exists if there is one of that name.
func (c Collection[T]) Create(ctx context.Context, name string, value T) (Item[T], error) {
	op, err := c.Put(name, value, Absent)
	if err != nil {
		return Item[T]{}, err
	}
	rev, err := c.Store.Write(ctx, op)
	if errors.Is(err, ErrConflict) {
		return Item[T]{}, problem.Wrap(problem.Exists, fmt.Sprintf("%q exists already", name), err)
	}
	return Item[T]{name, value, rev}, err
}

// Update changes a value as [Update] does; the change gets the zero value and
// exists=false when there is none yet.
func (c Collection[T]) Update(ctx context.Context, name string, change func(old T, exists bool) (T, error), also ...Op) (Item[T], error) {
	doc, err := Update(ctx, c.Store, c.Key(name), func(text []byte, exists bool) ([]byte, error) {
		var old T
		if exists {
			item, err := c.Decode(Document{Key: c.Key(name), Value: text})
			if err != nil {
				return nil, err
			}
			old = item.Value
		}
		value, err := change(old, exists)
		if err != nil {
			return nil, err
		}
		return json.Marshal(value)
	}, also...)
	if err != nil || doc.Value == nil { // nil: unchanged, and there is none
		return Item[T]{Name: name}, err
	}
	return c.Decode(doc)
}

// Delete removes a value; ErrNotFound if there is none.
func (c Collection[T]) Delete(ctx context.Context, name string) error {
	_, err := Update(ctx, c.Store, c.Key(name), func(_ []byte, exists bool) ([]byte, error) {
		if !exists {
			return nil, problem.New(ErrNotFound, fmt.Sprintf("there is no %q", name))
		}
		return nil, nil
	})
	return err
}

// Put gives the operation that stores a value, for a write of several documents.
func (c Collection[T]) Put(name string, value T, cond Revision) (Op, error) {
	text, err := json.Marshal(value)
	return Put(c.Key(name), text, cond), err
}

// Decode reads a document of the collection; problem.Undecryptable, naming the
// key, for one that is not what it should be.
func (c Collection[T]) Decode(doc Document) (Item[T], error) {
	item := Item[T]{Name: string(doc.Key[len(c.Prefix):]), Revision: doc.Revision}
	if err := json.Unmarshal(doc.Value, &item.Value); err != nil {
		return item, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", doc.Key), err)
	}
	return item, nil
}
