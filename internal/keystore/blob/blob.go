// Package blob owns the key store that is a folder of JSON documents in an Azure
// Storage container, the functions host's default: {app}/host.json and one
// {app}/{function}.json each in the container azure-webjobs-secrets. The stock
// host can read what it writes and the other way round, also at the same time.
// It knows nothing of the form of the documents, which package codec owns, nor
// of who asks for keys, nor of how an identity gets its tokens.
package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxAttempts = 50          // changes tried while others keep winning
	maxPause    = time.Second // between two of them; the first are far shorter
	firstPause  = 10 * time.Millisecond
	maxDocument = 4 << 20 // bytes; there is room for more than ten thousand keys
	turns       = 16      // updates of different documents that go on at a time, at least in part
)

// Store is the key documents of one app in a container. It is safe for concurrent
// use by goroutines, processes and stock hosts: every write says which state it
// is meant to replace.
type Store struct {
	cfg   Config
	conn  *connection
	codec *codec.Codec
	turns [turns]chan struct{} // updates of a document wait for each other here rather than collide
}

var (
	_ keystore.Store        = (*Store)(nil)
	_ keystore.Watcher      = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// Open gives the store a Config describes. It asks nobody; a place that is wrong
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
	s := &Store{cfg: cfg, conn: conn, codec: codec.New(codec.Config{
		Sealer: cfg.Sealer, HostName: cfg.HostName, InstanceID: cfg.InstanceID, App: cfg.Site, TakeOver: cfg.TakeOver,
	})}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	return s, nil
}

// Load implements [keystore.Store]. Only the service's own word that the blob or
// its container is not there counts as ErrNotFound; with a shared access
// signature the container must exist. A blob in the archive tier is
// ErrUnavailable, a refused credential problem.Denied.
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	b, err := s.conn.read(ctx, s.name(doc))
	if err != nil {
		return keystore.Document{}, "", err
	}
	if !b.exists() {
		return keystore.Document{}, "", keystore.Missing(doc, s.String())
	}
	d, err := s.decode(doc, b)
	if err != nil {
		return keystore.Document{}, "", err
	}
	return d, revision(b.etag), nil
}

// Update implements [keystore.Store]. The change must not call the store. The
// first document makes the container if it is missing, except with a shared
// access signature.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	defer release()
	u := update{store: s, doc: doc, change: change}
	for try := range maxAttempts {
		d, etag, err := u.attempt(ctx)
		if !errors.Is(err, errRaced) {
			return d, revision(etag), err
		}
		if err := s.pause(ctx, try); err != nil {
			return keystore.Document{}, "", err
		}
	}
	return keystore.Document{}, "", problem.New(keystore.ErrConflict,
		fmt.Sprintf("%s in %s kept changing while it was being updated", s.name(doc), s))
}

// update is one Update call's state.
type update struct {
	store  *Store
	doc    keystore.Doc
	change keystore.Change
	// What a write that may have taken place without our hearing of it would have
	// stored; nil if there was none.
	sent []byte
	made keystore.Document
}

func (u *update) attempt(ctx context.Context) (keystore.Document, azcore.ETag, error) {
	s := u.store
	old, err := s.conn.read(ctx, s.name(u.doc))
	if err != nil {
		return keystore.Document{}, "", err
	}
	if u.sent != nil && bytes.Equal(u.sent, old.data) {
		return u.made, old.etag, nil // the answer got lost, not the write
	}
	data, d, err := s.changed(u.doc, old, u.change)
	if err != nil {
		return keystore.Document{}, "", err
	}
	if err := keystore.Alive(ctx); err != nil {
		return keystore.Document{}, "", err
	}
	etag, unsure, err := s.conn.write(ctx, s.name(u.doc), old.etag, data)
	if unsure {
		u.sent, u.made = data, d
	}
	if err != nil {
		return keystore.Document{}, "", err
	}
	return d, etag, nil
}

// changed makes the stored form of a document's new content.
func (s *Store) changed(doc keystore.Doc, old blob, change keystore.Change) ([]byte, keystore.Document, error) {
	var d keystore.Document
	var err error
	if old.exists() {
		if d, err = s.decode(doc, old); err != nil {
			return nil, d, err
		}
	}
	if d, err = change(d, old.exists()); err != nil {
		return nil, d, keystore.Refused(doc, err)
	}
	data, d, err := s.codec.Encode(doc, d)
	if err != nil {
		return nil, d, fmt.Errorf("%s: %w", s.name(doc), err)
	}
	if len(data) > maxDocument {
		return nil, d, problem.New(keystore.ErrInvalid, fmt.Sprintf("%s would be larger than %d bytes", s.name(doc), maxDocument)).
			WithNext("delete keys that nobody uses")
	}
	return data, d, nil
}

// pause waits longer and longer, and never as long as others who wait.
func (s *Store) pause(ctx context.Context, try int) error {
	most := min(firstPause<<min(try, 10), maxPause)
	if clock.Sleep(ctx, s.cfg.Clock, rand.N(most)) != nil {
		return keystore.Alive(ctx)
	}
	return nil
}

// Delete implements [keystore.Store]. Snapshots that the storage account has of
// the blob go with it.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error {
	return s.delete(ctx, doc, azcore.ETagAny)
}

// DeleteAt implements [keystore.ExactDeleter], for documents too that cannot be
// understood.
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return s.delete(ctx, doc, azcore.ETag(`"`+string(rev)+`"`))
}

func (s *Store) delete(ctx context.Context, doc keystore.Doc, state azcore.ETag) error {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return err
	}
	defer release()
	found, err := s.conn.remove(ctx, s.name(doc), state)
	switch {
	case errors.Is(err, errRaced):
		return keystore.ChangedSince(doc, s.String())
	case err == nil && !found:
		return keystore.Missing(doc, s.String())
	}
	return err
}

// List implements [keystore.Store] with one request per 5,000 blobs of the app.
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	states, err := s.states(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(states)), nil
}

// states gives the documents that exist, each with its state.
func (s *Store) states(ctx context.Context) (map[keystore.Doc]azcore.ETag, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	blobs, err := s.conn.list(ctx, s.cfg.App+"/")
	if err != nil {
		return nil, err
	}
	states := map[keystore.Doc]azcore.ETag{}
	for name, etag := range blobs {
		if doc, ok := s.docOf(name); ok {
			states[doc] = etag
		}
	}
	return states, nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{ReadOnly: s.cfg.ReadOnly, Metadata: true}
}

// String implements [keystore.Store].
func (s *Store) String() string { return "blob " + s.conn.where + "/" + s.cfg.App }

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}

// begin checks that a document may be written and waits for its turn.
func (s *Store) begin(ctx context.Context, doc keystore.Doc) (release func(), err error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	if s.cfg.ReadOnly {
		return nil, problem.New(keystore.ErrReadOnly, s.String()+" is read-only")
	}
	turn := s.turns[spread(doc)]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, keystore.Alive(ctx)
	}
}

func spread(doc keystore.Doc) uint32 {
	sum := uint32(2166136261) // FNV-1a
	for _, b := range []byte(doc) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return sum % turns
}

func (s *Store) decode(doc keystore.Doc, b blob) (keystore.Document, error) {
	d, err := s.codec.Decode(doc, b.data)
	if err != nil {
		return keystore.Document{}, fmt.Errorf("%s in %s: %w", s.name(doc), s.conn.where, err)
	}
	return d, nil
}

const extension = ".json"

func (s *Store) name(doc keystore.Doc) string { return s.cfg.App + "/" + string(doc) + extension }

// docOf gives the document a blob is. Snapshots of the stock host
// ("host.snapshot.{time}.json"), names in upper case, which it does not read, and
// everything else are not documents.
func (s *Store) docOf(name string) (keystore.Doc, bool) {
	base, ok := strings.CutPrefix(name, s.cfg.App+"/")
	base, json := strings.CutSuffix(base, extension)
	return keystore.Doc(base), ok && json && keystore.CheckDoc(keystore.Doc(base)) == nil
}

// revision is the ETag without the quotes that lists leave out.
func revision(etag azcore.ETag) keystore.Revision {
	return keystore.Revision(strings.Trim(string(etag), `"`))
}
