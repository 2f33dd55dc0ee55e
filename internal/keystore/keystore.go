// Package keystore owns the contract for the place where one app's access keys
// live, and the document those places hold. Backends live below it; package
// keystoretest holds the one conformance suite they all pass. It deliberately
// does not know who asks for keys, when keys are generated or what they open.
package keystore

import (
	"context"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// Sentinels a store's errors match with errors.Is. Stores may wrap them.
const (
	ErrNotFound      = problem.NotFound      // the document does not exist
	ErrReadOnly      = problem.ReadOnly      // the store cannot be written
	ErrUndecryptable = problem.Undecryptable // the document exists but cannot be decrypted or understood
	ErrConflict      = problem.Conflict      // others kept changing the document; retries are used up
	ErrUnavailable   = problem.Unavailable   // the store cannot be reached
	ErrInvalid       = problem.Invalid       // the document to be written breaks a rule
)

// Doc names a document: [HostDoc] or the lower-cased name of a function.
type Doc string

// HostDoc is the document with the master, host function and system keys. No
// function can have this name: the host refuses functions called "host".
const HostDoc Doc = "host"

// FunctionDoc gives the document of a function; names are lower-cased because
// the stock host reads them that way.
func FunctionDoc(function string) Doc { return Doc(strings.ToLower(function)) }

// IsHost reports whether d is the host document.
func (d Doc) IsHost() bool { return d == HostDoc }

// Document is the content of one document, values in clear.
type Document struct {
	Keys accesskey.Set
	// Extra holds top-level members that this version does not know, as raw
	// JSON by name; stores that can keep them do.
	Extra map[string][]byte
	// Stale is set by Load when some value is sealed with a key that is no
	// longer the primary one, or not sealed where values are. The values are
	// good; the next Update seals them all anew. It is ignored on write.
	Stale bool
	// InClear names, for people, the keys that Load found in clear where values
	// are sealed: "the master key", `host key "default"`. Whoever can write to the
	// store but has no sealing key can add such keys. It is ignored on write.
	InClear []string
	// Ignored names, for people, the keys and members that Load found and that do not
	// count, such as a second key of a name in another case. The next Update writes the
	// document without them. It is ignored on write.
	Ignored []string
}

// Revision identifies one stored state of a document. It is opaque; equal
// revisions mean equal content. The zero value means "does not exist".
type Revision string

// Capabilities declares what a store can and cannot do, so that the conformance
// suite and callers need not guess.
type Capabilities struct {
	ReadOnly       bool // Update always fails with ErrReadOnly
	SelfEncrypting bool // the store seals values itself; no sealing is added
	Metadata       bool // Extra members survive a round trip
}

// Store is one app's key documents. All methods are safe for concurrent use by
// any number of goroutines and processes.
type Store interface {
	// Load reads a document. It returns ErrNotFound if there is none,
	// ErrUndecryptable if it is there but cannot be used, ErrUnavailable if the
	// store cannot be asked. It never creates anything.
	Load(ctx context.Context, doc Doc) (Document, Revision, error)

	// Update replaces a document by what change makes of it, atomically: if
	// somebody else wrote in between, change runs again on the new content, a
	// bounded number of times, then ErrConflict is returned. change gets the zero
	// Document and exists=false when there is no document yet. If change returns
	// an error nothing is written and that error is returned (wrapped). A document
	// that cannot be decrypted is never replaced: ErrUndecryptable.
	// On success it returns what is now stored.
	Update(ctx context.Context, doc Doc, change Change) (Document, Revision, error)

	// Delete removes a document; deleting one that does not exist is ErrNotFound.
	Delete(ctx context.Context, doc Doc) error

	// List gives the documents that exist, sorted.
	List(ctx context.Context) ([]Doc, error)

	// Capabilities is constant for the life of the store.
	Capabilities() Capabilities

	// String names the store for operators, for example "files /data/secrets";
	// it never contains a secret.
	String() string
}

// Change makes the new content of a document from the old. It may run more
// than once and must not keep or modify old's slices and maps.
type Change func(old Document, exists bool) (Document, error)

// AllLoader is the optional power to read all documents with fewer requests than
// a Load of each needs.
type AllLoader interface {
	// LoadAll reads every document that List would give. A document that cannot be
	// read has its own error, as of Load. With an error of its own, what it gives is
	// good but not all.
	LoadAll(ctx context.Context) (map[Doc]Loaded, error)
}

// Loaded is what LoadAll gives of one document.
type Loaded struct {
	Document Document
	Revision Revision
	Err      error // as of Load
}

// Watcher is the optional power to notice changes made by others.
type Watcher interface {
	// Watch calls changed with the name of each document that may have changed,
	// until ctx ends; "" means any document may have. It reports changes by this
	// process too. Calls are sequential. It returns once watching is in force and
	// keeps a goroutine only until ctx ends; done is closed when that goroutine
	// has ended.
	Watch(ctx context.Context, changed func(Doc)) (done <-chan struct{}, err error)
}
