// Package controlplane owns the key store inside the control plane's state: one
// app's documents at /keys/<app>/<document>, where every node sees a change as
// soon as it is made. Documents have the stock host's JSON form with values in
// clear, because the state is sealed as a whole. It does not know how the state
// is kept or sealed, nor who asks for keys.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// keysPrefix is where the documents of all apps are.
const keysPrefix state.Key = "/keys/"

// Bounds of what is tried when others keep changing a document: updates of the
// state, which try many times themselves, and deletions.
const (
	rounds  = 5
	deletes = 20
)

// Store is the key store of one app. It is safe for concurrent use by any number
// of goroutines and nodes.
type Store struct {
	state  state.Store
	app    string
	prefix state.Key // ends in a slash
	codec  *codec.Codec
}

var (
	_ keystore.Store        = (*Store)(nil)
	_ keystore.Watcher      = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// New gives the key store of an app in the control plane's state, which must be
// sealed. The app's name, whose case does not matter, is one segment of a key;
// with any other all methods return ErrInvalid. It touches nothing.
func New(store state.Store, app string) *Store {
	return &Store{state: store, app: app, prefix: prefixOf(app), codec: codec.New(codec.Config{})}
}

// DeleteAll removes all key documents of an app; it is no error if there are none.
func DeleteAll(ctx context.Context, store state.Store, app string) error {
	s := New(store, app)
	if err := s.checkApp(); err != nil {
		return err
	}
	for {
		list, err := store.List(ctx, s.prefix, state.Page{Limit: state.MaxOps, KeysOnly: true})
		if err != nil || len(list.Documents) == 0 {
			return s.fault(err)
		}
		var ops []state.Op
		for _, d := range list.Documents {
			ops = append(ops, state.Delete(d.Key, state.Any))
		}
		if _, err := store.Write(ctx, ops...); err != nil {
			return s.fault(err)
		}
	}
}

// Load implements [keystore.Store].
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := s.check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	stored, err := s.state.Get(ctx, s.key(doc))
	if errors.Is(err, state.ErrNotFound) {
		return keystore.Document{}, "", keystore.Missing(doc, s.String())
	}
	if err != nil {
		return keystore.Document{}, "", s.fault(err)
	}
	d, err := s.decode(doc, stored.Value)
	if err != nil {
		return keystore.Document{}, "", err
	}
	return d, revision(stored.Revision), nil
}

// Update implements [keystore.Store]. The change runs without any lock held.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	if err := s.check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	var made keystore.Document
	for round := 1; ; round++ {
		stored, err := state.Update(ctx, s.state, s.key(doc), func(old []byte, exists bool) (data []byte, err error) {
			data, made, err = s.change(ctx, doc, old, exists, change)
			return data, err
		})
		if err == nil {
			return made, revision(stored.Revision), nil
		}
		if round == rounds || !errors.Is(err, state.ErrConflict) || isRefused(err) {
			return keystore.Document{}, "", s.fault(err)
		}
	}
}

// change makes the stored form of a document's new content from that of its old.
func (s *Store) change(ctx context.Context, doc keystore.Doc, old []byte, exists bool, change keystore.Change) ([]byte, keystore.Document, error) {
	var d keystore.Document
	var err error
	if exists {
		if d, err = s.decode(doc, old); err != nil {
			return nil, d, err
		}
	}
	if d, err = change(d, exists); err != nil {
		return nil, d, refused{keystore.Refused(doc, err)}
	}
	if err := keystore.Alive(ctx); err != nil {
		return nil, d, err
	}
	data, d, err := s.codec.Encode(doc, d)
	if err != nil {
		return nil, d, fmt.Errorf("%s: %w", s, err)
	}
	return data, d, nil
}

// refused marks an error of the caller's change, which stays as it is.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

func isRefused(err error) bool {
	var own refused
	return errors.As(err, &own)
}

// Delete implements [keystore.Store]. The document is not read, so that one that
// cannot be understood can be deleted.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error {
	if err := s.check(ctx, doc); err != nil {
		return err
	}
	for range deletes {
		rev, err := s.find(ctx, doc)
		if err != nil {
			return err
		}
		if _, err = s.state.Write(ctx, state.Delete(s.key(doc), rev)); !errors.Is(err, state.ErrConflict) {
			return s.fault(err)
		}
	}
	return problem.New(keystore.ErrConflict, fmt.Sprintf("key document %q kept changing while it was being deleted", string(doc)))
}

// DeleteAt implements [keystore.ExactDeleter], for documents too that cannot be
// understood.
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	if err := s.check(ctx, doc); err != nil {
		return err
	}
	now, err := s.find(ctx, doc)
	if err != nil {
		return err
	}
	if revision(now) != rev {
		return keystore.ChangedSince(doc, s.String())
	}
	if _, err = s.state.Write(ctx, state.Delete(s.key(doc), now)); errors.Is(err, state.ErrConflict) {
		return keystore.ChangedSince(doc, s.String())
	}
	return s.fault(err)
}

// find gives the revision of a document without reading it.
func (s *Store) find(ctx context.Context, doc keystore.Doc) (state.Revision, error) {
	list, err := s.state.List(ctx, s.prefix, state.Page{KeysOnly: true})
	if err != nil {
		return 0, s.fault(err)
	}
	for _, d := range list.Documents {
		if d.Key == s.key(doc) {
			return d.Revision, nil
		}
	}
	return 0, keystore.Missing(doc, s.String())
}

// List implements [keystore.Store].
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	if err := s.check(ctx, keystore.HostDoc); err != nil {
		return nil, err
	}
	list, err := s.state.List(ctx, s.prefix, state.Page{KeysOnly: true})
	if err != nil {
		return nil, s.fault(err)
	}
	docs := make([]keystore.Doc, 0, len(list.Documents))
	for _, d := range list.Documents {
		if doc, ok := s.docOf(d.Key); ok {
			docs = append(docs, doc)
		}
	}
	return docs, nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{SelfEncrypting: true, Metadata: true}
}

// String implements [keystore.Store].
func (s *Store) String() string { return fmt.Sprintf("keys of app %q in the control plane", s.app) }

func (s *Store) check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	if err := s.checkApp(); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}

func (s *Store) checkApp() error {
	if s.app == "" || strings.Contains(s.app, "/") {
		return problem.New(keystore.ErrInvalid, fmt.Sprintf("%q is no name of an app", s.app))
	}
	return state.CheckPrefix(s.prefix)
}

func (s *Store) decode(doc keystore.Doc, data []byte) (keystore.Document, error) {
	d, err := s.codec.Decode(doc, data)
	if err != nil {
		return keystore.Document{}, fmt.Errorf("%s: %w", s, err)
	}
	return d, nil
}

// fault turns an error of the state into one that key stores have; nil stays nil.
func (s *Store) fault(err error) error {
	var own refused
	if errors.As(err, &own) {
		return own.error
	}
	if err == nil {
		return nil
	}
	switch problem.KindOf(err) {
	case problem.TooLarge:
		return problem.Wrap(keystore.ErrInvalid, s.String()+" would be larger than the state allows", err).
			WithNext("delete keys that nobody uses")
	case problem.Denied, problem.ReadOnly, problem.Internal:
		return problem.Wrap(keystore.ErrUnavailable, s.String()+" cannot be used", err).WithNext(problem.NextOf(err))
	}
	return err
}

func (s *Store) key(doc keystore.Doc) state.Key { return s.prefix + state.Key(doc) }

// docOf gives the document a key stands for; false for what is none.
func (s *Store) docOf(key state.Key) (keystore.Doc, bool) {
	name, ok := strings.CutPrefix(string(key), string(s.prefix))
	return keystore.Doc(name), ok && keystore.CheckDoc(keystore.Doc(name)) == nil
}

func prefixOf(app string) state.Key { return keysPrefix + state.Key(strings.ToLower(app)) + "/" }

func revision(r state.Revision) keystore.Revision {
	return keystore.Revision(strconv.FormatInt(int64(r), 10))
}
