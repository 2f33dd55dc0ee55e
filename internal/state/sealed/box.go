package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// DocumentBox keeps one text in one document: the encrypted keyset in the store
// that its keys protect. It is safe for concurrent use by all nodes of the store.
type DocumentBox struct {
	store state.Store
	key   state.Key
}

// Box gives the box of a document. store is the one below the sealed store.
func Box(store state.Store, key state.Key) *DocumentBox { return &DocumentBox{store, key} }

// Load gives what the box holds; problem.NotFound if it is empty.
func (b *DocumentBox) Load(ctx context.Context) ([]byte, error) {
	doc, err := b.store.Get(ctx, b.key)
	return doc.Value, err
}

// Replace puts text in the box if it holds old; a nil old means that it is
// empty. It returns problem.Conflict if it holds something else.
func (b *DocumentBox) Replace(ctx context.Context, old, text []byte) error {
	doc, err := b.store.Get(ctx, b.key)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	if (err == nil) != (old != nil) || !bytes.Equal(doc.Value, old) {
		return problem.New(problem.Conflict, fmt.Sprintf("%s was changed by somebody else", b))
	}
	_, err = b.store.Write(ctx, state.Put(b.key, text, doc.Revision)) // revision 0 is state.Absent
	return err
}

// String names the document for operators.
func (b *DocumentBox) String() string { return fmt.Sprintf("document %q in %s", b.key, b.store) }
