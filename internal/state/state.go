// Package state owns the contract for the control plane's documents: keys with
// values, written atomically, listed in order, watched without gaps, and leases
// for work that only one node may do. Backends live below it; package statetest
// holds the one conformance suite they all pass. It deliberately does not know
// what the documents mean, how they are sealed or how many nodes there are.
package state

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Sentinels a store's errors match with errors.Is. Stores may wrap them.
const (
	ErrNotFound    = problem.NotFound    // there is no such document
	ErrConflict    = problem.Conflict    // a condition of a write does not hold
	ErrInvalid     = problem.Invalid     // the key, prefix or operation breaks a rule
	ErrTooLarge    = problem.TooLarge    // a value, or a write as a whole, is over the limit
	ErrUnavailable = problem.Unavailable // the store cannot be reached; whether a write happened is not known
)

// Limits of every store; etcd sets them (1.5 MiB a request, 128 operations a
// transaction), the others keep to them so that a state can move between stores.
const (
	MaxKey   = 1024    // bytes of a key
	MaxValue = 1 << 20 // bytes of all values of one write together
	MaxOps   = 100     // operations of one write
)

// Key names a document: a path such as "/resources/microsoft.web/sites/x". It
// begins with a slash, does not end with one, has no empty segment, and is valid
// UTF-8 without control characters. Stores compare keys byte by byte; who wants
// them to ignore case lowers them first.
type Key string

// Revision counts the writes of a whole store. It grows with every write and
// never repeats within the life of a store's data. A document's revision is that
// of the write that last changed it.
type Revision int64

// Conditions of an operation besides the exact revision a document must have.
const (
	Absent Revision = 0  // the document must not exist
	Any    Revision = -1 // no condition
)

// Document is one key with its value.
type Document struct {
	Key      Key
	Value    []byte
	Revision Revision
}

// Op is one operation of a write. Make it with [Put], [Delete] or [Check].
type Op struct {
	Kind  OpKind
	Key   Key
	Value []byte
	If    Revision // the revision the document must have, [Absent] or [Any]
}

// OpKind says what an operation does.
type OpKind uint8

const (
	OpCheck  OpKind = iota // only the condition counts
	OpPut                  // the document gets the value
	OpDelete               // the document goes away; nothing happens if there is none and no condition forbids that
)

// Put sets a document's value if it has the given revision.
func Put(key Key, value []byte, cond Revision) Op { return Op{OpPut, key, value, cond} }

// Delete removes a document if it has the given revision.
func Delete(key Key, cond Revision) Op { return Op{OpDelete, key, nil, cond} }

// Check makes a write depend on a document that it does not change.
func Check(key Key, cond Revision) Op { return Op{OpCheck, key, nil, cond} }

// Page bounds a list.
type Page struct {
	After    Key  // list only keys after this one; "" is from the beginning
	Limit    int  // most documents to give; 0 is all
	KeysOnly bool // leave the values out
	// Unreadable gives documents whose value a sealed store cannot open with a nil
	// value, as its watches do, instead of failing because of one of them.
	Unreadable bool
}

// Listing is what a list found, sorted by key.
type Listing struct {
	Documents []Document
	More      bool     // there are documents after the last one given
	Revision  Revision // of the store when it was read: watch from here
}

// EventKind says what an event reports.
type EventKind uint8

const (
	EventPut EventKind = iota
	EventDelete
	// EventResync says that events were lost to this watcher: it was too slow, or
	// the history it asked for is gone. It is the last event; list and watch anew.
	EventResync
)

// Event is one change. Value is not set for deletions; Revision is that of the
// write that made the change.
type Event struct {
	Kind EventKind
	Document
}

// Store holds documents. All methods are safe for concurrent use; several
// processes may share a store if the backend says so. Values given and received
// belong to the caller, who may change them. A value that is there is never nil,
// an empty one neither.
type Store interface {
	// Get reads a document; ErrNotFound if there is none.
	Get(ctx context.Context, key Key) (Document, error)

	// List reads the documents below a prefix, which ends in a slash; "/" is
	// all. One list is one consistent moment of the store.
	List(ctx context.Context, prefix Key, page Page) (Listing, error)

	// Write does all operations or none, durably, and gives the revision they
	// all have in common. ErrConflict names the key whose condition does not hold;
	// then nothing was written. A key may occur once. A write that changes
	// nothing (only checks) gives the current revision.
	Write(ctx context.Context, ops ...Op) (Revision, error)

	// Watch reports every change below a prefix after revision from, in order,
	// each once, until ctx ends; the channel is closed then, after EventResync,
	// or when the store is closed. The changes of one write come one after
	// another. A store that cannot be reached for a while reports what it missed,
	// or EventResync.
	Watch(ctx context.Context, prefix Key, from Revision) (<-chan Event, error)

	// Acquire waits until the caller alone holds the lease of a name, or ctx
	// ends (its error). The store keeps the lease alive; when the holder's
	// process dies or is cut off, it ends after ttl. name is a key's segment.
	Acquire(ctx context.Context, name string, ttl time.Duration) (Lease, error)

	// Close ends watches and leases and gives back what the store holds.
	Close() error

	// String names the store for operators; it never contains a secret.
	String() string
}

// Lease is exclusive permission to do something.
type Lease interface {
	// Lost is closed when the lease has ended, for whatever reason.
	Lost() <-chan struct{}
	// Fence gives a check that fails once the lease has ended: adding it to a
	// write makes sure that no former holder writes.
	Fence() Op
	// Release ends the lease. It does nothing the second time.
	Release(ctx context.Context) error
}
