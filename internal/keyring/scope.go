package keyring

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Scope is the handle of one function's keys in a [Ring], got once by
// [Ring.Function] and used for every request. A nil Scope stands for no
// function: only master, system and host function keys are looked at.
type Scope struct {
	name  string // as first asked for; "" for the host
	doc   keystore.Doc
	index uint64        // its place in Ring.scopes
	turn  chan struct{} // holds one token; whoever has it may read and write the document

	// With Config.Memory only; guarded by the turn.
	recalled   bool
	remembered []byte         // as it is kept
	before     accesskey.Set  // keys with metadata when the document was last in use anywhere
	salt       accesskey.Salt // of remembered

	reread atomic.Int64 // when a wrong key last made us read it, since the ring's birth

	// Written with both the turn and Ring.mu held, so read with either.
	known    bool // what the store holds is known: document, or that there is none
	present  bool // there is a document
	document keystore.Document
	revision keystore.Revision
	stored   []stored
	salts    []accesskey.Salt   // of the verifiers among stored
	ledgers  map[string]*ledger // by kind and name of keys with limits
	tallies  map[KeyRef]*tally  // by folded name; nil where uses are not counted
	fault    *fault

	flight *flight // guarded by Ring.mu
}

// Function gives the handle of a function, ignoring case. It asks nobody
// whether there is such a function, and remembers each name for the life of the
// ring: names must come from the app, not from requests. It gives nil for names
// that cannot have keys: "" and "host".
func (r *Ring) Function(name string) *Scope {
	doc := keystore.FunctionDoc(name)
	if doc == "" || doc.IsHost() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.byDoc[doc]; s != nil {
		return s
	}
	return r.addScope(doc, name)
}

// addScope makes a scope. Callers hold mu, or are alone.
func (r *Ring) addScope(doc keystore.Doc, name string) *Scope {
	s := &Scope{name: name, doc: doc, index: uint64(len(r.scopes)), turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	s.reread.Store(math.MinInt64 / 2) // long ago
	r.scopes = append(r.scopes, s)
	r.byDoc[doc] = s
	return s
}

// take waits for the document's turn.
func (s *Scope) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return problem.Wrap(problem.Timeout, s.label()+" were not reached in time", context.Cause(ctx))
	}
}

func (s *Scope) give() { s.turn <- struct{}{} }

// label names the keys in messages.
func (s *Scope) label() string {
	if s.doc.IsHost() {
		return "the host keys"
	}
	return fmt.Sprintf("the keys of function '%s'", s.name)
}

func errFunctionName(name string) error {
	return problem.New(problem.Invalid, fmt.Sprintf("a function named '%s' cannot have keys", name))
}
