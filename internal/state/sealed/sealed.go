// Package sealed owns the encryption at rest of the control plane: a store whose
// every value is sealed before it reaches the store below, bound to its key so
// that no value can be put in another's place. Keys, revisions and sizes stay
// readable below, and so does that a document was removed or replaced by an
// older value of its own. It deliberately does not know what the values are,
// which cipher seals them or where its keys lie.
package sealed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// KeysetKey is where an installation keeps its encrypted keyset, in the store
// below: it cannot be sealed with itself.
const KeysetKey state.Key = "/platform/keyset"

// Limits of all plain values of one write together: room is left for what
// sealing adds.
const (
	MaxValue     = state.MaxValue - state.MaxOps*seal.Overhead             // with a seal.Binary sealer
	maxTextValue = (state.MaxValue - state.MaxOps*2*seal.Overhead) / 4 * 3 // with a sealer of text only
)

// Store seals the values of the store below it. It is safe for concurrent use.
//
// A value that does not open is problem.Undecryptable and names its key, whether
// it is read alone or in a list; problem.Unavailable if the keys could not be
// looked up just now. It is never replaced or dropped: only a write that names
// the key changes it.
type Store struct {
	inner  state.Store
	sealer seal.Sealer
	plain  []state.Key
	log    *slog.Logger
}

var _ state.Store = (*Store)(nil)

// Option is a choice of [New].
type Option func(*Store)

// Plain keeps documents in clear: those with the given keys, and those below a
// key that ends in a slash.
func Plain(keys ...state.Key) Option {
	return func(s *Store) { s.plain = append(s.plain, keys...) }
}

// Log says where values that a watch could not open are reported; slog's default
// logger without it.
func Log(log *slog.Logger) Option { return func(s *Store) { s.log = log } }

// New gives a store that seals with s what it keeps in inner, all but leases,
// [KeysetKey] and what [Plain] names. s must seal: writes fail with
// problem.Internal else.
func New(inner state.Store, s seal.Sealer, options ...Option) *Store {
	out := &Store{inner: inner, sealer: s, plain: []state.Key{state.LeasePrefix, KeysetKey}, log: slog.Default()}
	for _, o := range options {
		o(out)
	}
	return out
}

// Limit gives the most bytes that the plain values of one write may have together.
func (s *Store) Limit() int {
	if _, ok := s.sealer.(seal.Binary); ok {
		return MaxValue
	}
	return maxTextValue
}

// Get reads and opens a document.
func (s *Store) Get(ctx context.Context, key state.Key) (state.Document, error) {
	doc, err := s.inner.Get(ctx, key)
	if err != nil {
		return state.Document{}, err
	}
	return s.opened(doc)
}

// Raw reads a document as it is below, sealed, also one that does not open.
func (s *Store) Raw(ctx context.Context, key state.Key) (state.Document, error) {
	return s.inner.Get(ctx, key)
}

// OpenRaw opens a value that Raw gave of a key, wherever it has been since.
func (s *Store) OpenRaw(key state.Key, raw []byte) ([]byte, error) {
	doc, err := s.opened(state.Document{Key: key, Value: raw})
	return doc.Value, err
}

// List reads documents and opens them. One that does not open makes the whole
// list fail; with Page.KeysOnly nothing is opened.
func (s *Store) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	listing, err := s.inner.List(ctx, prefix, page)
	if err != nil || page.KeysOnly {
		return listing, err
	}
	for i, doc := range listing.Documents {
		open, err := s.opened(doc)
		if problem.KindOf(err) == problem.Undecryptable && page.Unreadable {
			s.log.Error("a document cannot be read and is left out", "document", string(doc.Key), "reason", err, "next", problem.NextOf(err))
			open, err = state.Document{Key: doc.Key, Revision: doc.Revision}, nil
		}
		if err != nil {
			return state.Listing{}, err
		}
		listing.Documents[i] = open
	}
	return listing, nil
}

// Write seals the values and writes them. It returns state.ErrTooLarge, naming
// the key and the limit, for values that are over [Store.Limit] together.
func (s *Store) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if err := state.CheckOps(ops); err != nil {
		return 0, err
	}
	if err := s.checkSize(ops); err != nil {
		return 0, err
	}
	out := make([]state.Op, len(ops))
	for i, op := range ops {
		out[i] = op
		if op.Kind != state.OpPut || s.isPlain(op.Key) {
			continue
		}
		value, err := seal.Seal(s.sealer, op.Value, string(op.Key))
		if err != nil {
			return 0, fmt.Errorf("sealing document %q: %w", op.Key, err)
		}
		out[i].Value = value
	}
	return s.inner.Write(ctx, out...)
}

func (s *Store) checkSize(ops []state.Op) error {
	total, limit := 0, s.Limit()
	for _, op := range ops {
		if total += len(op.Value); total > limit {
			return problem.New(state.ErrTooLarge, fmt.Sprintf("the write, up to %q, is over the limit of %d bytes for values that are encrypted", op.Key, limit))
		}
	}
	return nil
}

// Watch reports changes with their values opened. A put whose value does not
// open is logged and reported with a nil Value, which no other event has: the
// watcher learns that the document changed and that it cannot be read, and goes
// on with the others. If the keys cannot be looked up just now, events end with
// state.EventResync, so that nothing is taken for damaged that is not.
func (s *Store) Watch(ctx context.Context, prefix state.Key, from state.Revision) (<-chan state.Event, error) {
	events, err := s.inner.Watch(ctx, prefix, from)
	if err != nil {
		return nil, err
	}
	out := make(chan state.Event)
	go func() { // ends with the inner watch, which ends with ctx
		defer close(out)
		s.forward(ctx, events, out)
	}()
	return out, nil
}

func (s *Store) forward(ctx context.Context, events <-chan state.Event, out chan<- state.Event) {
	for e := range events {
		e = s.openedEvent(ctx, e)
		select {
		case out <- e:
		case <-ctx.Done():
			return
		}
		if e.Kind == state.EventResync {
			return
		}
	}
}

func (s *Store) openedEvent(ctx context.Context, e state.Event) state.Event {
	if e.Kind != state.EventPut {
		return e
	}
	doc, err := s.opened(e.Document)
	if err == nil {
		e.Document = doc
		return e
	}
	if errors.Is(err, problem.Unavailable) {
		return state.Event{Kind: state.EventResync, Document: state.Document{Revision: e.Revision}}
	}
	s.log.ErrorContext(ctx, "a document changed and cannot be read", "key", string(e.Key), "error", err, "next", problem.NextOf(err))
	e.Value = nil
	return e
}

// opened gives the document with its value opened.
func (s *Store) opened(doc state.Document) (state.Document, error) {
	if s.isPlain(doc.Key) {
		return doc, nil
	}
	plain, _, err := seal.Open(s.sealer, doc.Value, string(doc.Key))
	if err != nil {
		return state.Document{}, cannotOpen(doc.Key, err)
	}
	doc.Value = plain
	return doc, nil
}

func cannotOpen(key state.Key, err error) error {
	kind := problem.Undecryptable
	if problem.KindOf(err) == problem.Unavailable {
		kind = problem.Unavailable
	}
	e := problem.Wrap(kind, fmt.Sprintf("document %q cannot be decrypted", key), err)
	if kind == problem.Unavailable {
		return e
	}
	return e.WithNext("restore the key-encryption key and the keyset that the document was sealed with; nothing was changed")
}

func (s *Store) isPlain(key state.Key) bool {
	for _, p := range s.plain {
		if key == p || strings.HasSuffix(string(p), "/") && strings.HasPrefix(string(key), string(p)) {
			return true
		}
	}
	return false
}

// Acquire waits for a lease of the store below.
func (s *Store) Acquire(ctx context.Context, name string, ttl time.Duration) (state.Lease, error) {
	return s.inner.Acquire(ctx, name, ttl)
}

// Close closes the store below.
func (s *Store) Close() error { return s.inner.Close() }

// String names the store for operators.
func (s *Store) String() string { return s.inner.String() + ", encrypted" }
