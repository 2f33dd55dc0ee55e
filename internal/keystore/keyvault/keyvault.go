// Package keyvault owns the key store that is a key vault: every key is a secret
// of its own, named as the functions host names it, so that both can use a vault,
// also at the same time. It knows nothing of who asks for keys, nor of how an
// identity gets its tokens.
//
// # How a document changes
//
// A vault keeps each secret by itself: there is no way to write two of them at
// once, nor to write one only if it is as it was. What follows from the order of
// requests is all there is:
//
//  1. The document is read (one list, its secrets in parallel) and the change is
//     made of what was read. If nothing differs, that is all.
//  2. The writer raises a claim: a tag on a secret of its own,
//     latchkey--writer--{id}. Then it lists the vault. Whoever sees no other claim
//     has the vault's app to itself: of two writers, the one that listed later saw
//     the claim of the other. Of several that see each other, all but the one with
//     the lowest id withdraw and wait. A claim counts for two minutes by the times
//     the vault notes, and its holder stops after 90 seconds, so that one that died
//     is in nobody's way for long.
//  3. The same list, and the versions of the secrets that are to be replaced, tell
//     whether somebody who raises no claims (a stock host, a person) wrote since
//     step 1; then it begins again.
//  4. Only secrets that differ are written, the master key first; then those no
//     longer wanted are deleted. Secrets of other documents are never touched.
//  5. Another list tells whether all of it lasted. A stock host that had read before
//     step 4 deletes what it does not know and sets what it does: then the change is
//     made again, of what is there now, our own writes taken as not made.
//
// A crash at any point leaves each key with its old or its new value; none that is
// wanted is ever absent, and the master key is never deleted by an update. So
// nobody else comes to think that there are no keys yet. Requests of a change that
// were begun are finished even if the caller gives up. A stock host that writes at
// the same instant after step 5 wins, as it does over its own kind.
//
// Host keys without a master key are ErrUndecryptable and never regenerated. A
// disabled secret is a key that is switched off: it is not among the keys, is
// never replaced, and a document that has nothing else still exists. Dates on
// secrets have no effect: vaults give such secrets out, and the stock host does
// not look at them.
package keyvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Store is the keys of one app in a vault. It is safe for concurrent use by
// goroutines and processes.
type Store struct {
	cfg   Config
	conn  *connection
	lists *lists
	turn  chan struct{} // updates of this process wait for each other here
	claim *claim        // of who has the turn
	begun atomic.Pointer[baseline]
}

// baseline is the list that a watch began with.
type baseline struct {
	inventory
	at time.Time
}

var (
	_ keystore.Store        = (*Store)(nil)
	_ keystore.Watcher      = (*Store)(nil)
	_ keystore.AllLoader    = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// Open gives the store a Config describes. It asks nobody; a vault that is wrong
// or cannot be reached shows at the first use. It returns problem.Invalid for a
// Config that cannot work, naming the setting.
func Open(_ context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	conn, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, conn: conn, turn: make(chan struct{}, 1)}
	s.claim = &claim{store: s, id: newID()}
	s.lists = &lists{ask: func(ctx context.Context) (inventory, error) {
		all, err := conn.list(ctx)
		if err != nil {
			return inventory{}, err
		}
		return s.sortOut(all)
	}}
	return s, nil
}

// newID gives 16 hexadecimal digits that nothing else has.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Load implements [keystore.Store]. Calls at the same time share a list of the
// vault. It returns ErrUndecryptable for host keys without a usable master key and
// for damaged tags, problem.Conflict if secrets belong to another app by their
// tags, problem.Denied, naming the permission, if the vault refuses.
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	list, err := s.find(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	l := s.load(ctx, doc, list)
	return l.Document, l.Revision, l.Err
}

// LoadAll implements [keystore.AllLoader] with one list of the vault and, of all
// secrets together, at most 16 requests at a time. With Config.GetOnly it finds
// what List does. The first call within a poll's time after Watch uses the list
// that the watch began with: what changed since is told by the watch.
func (s *Store) LoadAll(ctx context.Context) (map[keystore.Doc]keystore.Loaded, error) {
	docs, err := s.documentsOrBaseline(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := make(map[keystore.Doc]keystore.Loaded, len(docs))
	for doc, list := range docs {
		wg.Go(func() {
			l := s.load(ctx, doc, list)
			mu.Lock()
			defer mu.Unlock()
			if !errors.Is(l.Err, keystore.ErrNotFound) {
				all[doc] = l
			}
		})
	}
	wg.Wait()
	return all, keystore.Alive(ctx)
}

func (s *Store) documentsOrBaseline(ctx context.Context) (map[keystore.Doc][]property, error) {
	b := s.begun.Swap(nil)
	if b == nil || s.cfg.Clock.Now().Sub(b.at) > s.cfg.Poll {
		return s.documents(ctx)
	}
	return b.docs, keystore.Alive(ctx)
}

func (s *Store) load(ctx context.Context, doc keystore.Doc, list []property) keystore.Loaded {
	c, err := s.read(ctx, doc, list)
	if err == nil && !c.exists() {
		err = keystore.Missing(doc, s.String())
	}
	if err != nil {
		return keystore.Loaded{Err: err}
	}
	d, err := c.document()
	if err != nil {
		return keystore.Loaded{Err: fmt.Errorf("key document %q in %s: %w", string(doc), s, err)}
	}
	return keystore.Loaded{Document: d, Revision: c.revision()}
}

// find gives what there is, or may be, of a document.
func (s *Store) find(ctx context.Context, doc keystore.Doc) ([]property, error) {
	if s.cfg.GetOnly {
		return s.expected(doc), nil
	}
	inv, err := s.lists.get(ctx)
	return inv.docs[doc], err
}

// read gets the secrets of a document.
func (s *Store) read(ctx context.Context, doc keystore.Doc, list []property) (content, error) {
	secrets, errs := make([]secret, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		if !p.enabled {
			errs[i] = errOff
			continue
		}
		wg.Go(func() { secrets[i], errs[i] = s.conn.get(ctx, p.name) })
	}
	wg.Wait()
	var there []secret
	var off []property
	for i, err := range errs {
		switch {
		case err == nil:
			if err := s.belongs(secrets[i].property); err != nil {
				return content{}, err
			}
			there = append(there, secrets[i])
		case errors.Is(err, errOff):
			off = append(off, list[i])
		case errors.Is(err, errGone), errors.Is(err, errDeleted), errors.Is(err, errDeleting):
		default:
			return content{}, err
		}
	}
	return build(doc, there, off), nil
}

// documents gives what List does, with their secrets.
func (s *Store) documents(ctx context.Context) (map[keystore.Doc][]property, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	if !s.cfg.GetOnly {
		inv, err := s.lists.get(ctx)
		return inv.docs, err
	}
	docs := map[keystore.Doc][]property{keystore.HostDoc: s.expected(keystore.HostDoc)}
	for _, name := range s.cfg.Secrets {
		if p, ok := parseName(name); ok {
			docs[p.doc] = s.expected(p.doc)
		}
	}
	return docs, nil
}

// List implements [keystore.Store]. With Config.GetOnly it finds the host document
// and the functions that Config.Secrets names.
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	docs, err := s.documents(ctx)
	if err != nil || !s.cfg.GetOnly {
		return slices.Sorted(maps.Keys(docs)), err
	}
	var found []keystore.Doc
	for _, doc := range slices.Sorted(maps.Keys(docs)) {
		switch c, err := s.read(ctx, doc, docs[doc]); {
		case err != nil:
			return nil, err
		case c.exists():
			found = append(found, doc)
		}
	}
	return found, nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{ReadOnly: s.cfg.ReadOnly || s.cfg.GetOnly, SelfEncrypting: true, Metadata: true}
}

// String implements [keystore.Store].
func (s *Store) String() string {
	where := "keyvault " + s.cfg.URI
	if s.cfg.Prefix != "" {
		where += " (" + s.conn.prefix + ")"
	}
	return where
}

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}

// begin checks that a document may be written and waits for this process's turn.
func (s *Store) begin(ctx context.Context, doc keystore.Doc) (release func(), err error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	if s.Capabilities().ReadOnly {
		return nil, problem.New(keystore.ErrReadOnly, s.String()+" is read-only")
	}
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, keystore.Alive(ctx)
	}
}
