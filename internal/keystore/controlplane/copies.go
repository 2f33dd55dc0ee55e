package controlplane

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

var (
	_ keystore.Copier      = (*Store)(nil)
	_ keystore.CopyRemover = (*Store)(nil)
)

// rawState is what a sealed state has besides: values as they are sealed. A copy is
// the sealed value, sealed once more in its own place, so that the state can still
// read and reseal all it has.
type rawState interface {
	Raw(ctx context.Context, key state.Key) (state.Document, error)
	OpenRaw(key state.Key, raw []byte) ([]byte, error)
}

// Preserve implements [keystore.Copier]. Copies lie beside the documents, and go with
// the app. What fills the state's limit by itself is ErrInvalid.
func (s *Store) Preserve(ctx context.Context, doc keystore.Doc) (string, keystore.Revision, error) {
	if err := s.check(ctx, doc); err != nil {
		return "", "", err
	}
	stored, err := s.rawOf(ctx, s.key(doc))
	if errors.Is(err, state.ErrNotFound) {
		return "", "", keystore.Missing(doc, s.String())
	}
	if err != nil {
		return "", "", s.fault(err)
	}
	name := keystore.CopyName(doc, stored.Value)
	copies, err := s.Copies(ctx, doc)
	switch {
	case err != nil:
		return "", "", err
	case slices.Contains(copies, name):
		return name, revision(stored.Revision), nil
	case len(copies) >= keystore.MaxCopies:
		return "", "", keystore.TooManyCopies(doc, s.String())
	}
	// Somebody else who keeps it at the same time keeps the same.
	if _, err = s.state.Write(ctx, state.Put(s.copyKey(name), stored.Value, state.Absent)); errors.Is(err, state.ErrConflict) {
		err = nil
	}
	return name, revision(stored.Revision), s.fault(err)
}

// Copies implements [keystore.Copier].
func (s *Store) Copies(ctx context.Context, doc keystore.Doc) ([]string, error) {
	if err := s.check(ctx, doc); err != nil {
		return nil, err
	}
	list, err := s.state.List(ctx, s.prefix, state.Page{KeysOnly: true})
	if err != nil {
		return nil, s.fault(err)
	}
	var names []string
	for _, d := range list.Documents {
		if name, ok := strings.CutPrefix(string(d.Key), string(s.prefix)); ok && keystore.IsCopy(doc, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// LoadCopy implements [keystore.Copier].
func (s *Store) LoadCopy(ctx context.Context, doc keystore.Doc, name string) (keystore.Document, error) {
	if err := s.check(ctx, doc); err != nil {
		return keystore.Document{}, err
	}
	if err := keystore.CheckCopy(doc, name); err != nil {
		return keystore.Document{}, err
	}
	if err := state.CheckKey(s.copyKey(name)); err != nil {
		return keystore.Document{}, problem.Wrap(keystore.ErrInvalid, "no copy has such a name", err)
	}
	kept, err := s.state.Get(ctx, s.copyKey(name))
	if errors.Is(err, state.ErrNotFound) {
		return keystore.Document{}, keystore.NoCopy(name, s.String())
	}
	if err != nil {
		return keystore.Document{}, s.fault(err)
	}
	data := kept.Value
	if raw, ok := s.state.(rawState); ok {
		if data, err = raw.OpenRaw(s.key(doc), data); err != nil {
			return keystore.Document{}, s.fault(err)
		}
	}
	return s.decode(doc, data)
}

// rawOf gives a document as it is sealed, where the state seals.
func (s *Store) rawOf(ctx context.Context, key state.Key) (state.Document, error) {
	if raw, ok := s.state.(rawState); ok {
		return raw.Raw(ctx, key)
	}
	return s.state.Get(ctx, key)
}

func (s *Store) copyKey(name string) state.Key { return s.prefix + state.Key(name) }

// RemoveCopy implements [keystore.CopyRemover], for copies too that cannot be
// understood.
func (s *Store) RemoveCopy(ctx context.Context, doc keystore.Doc, name string) error {
	if err := keystore.CheckCopy(doc, name); err != nil {
		return err
	}
	names, err := s.Copies(ctx, doc)
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return keystore.NoCopy(name, s.String())
	}
	_, err = s.state.Write(ctx, state.Delete(s.copyKey(name), state.Any))
	return s.fault(err)
}
