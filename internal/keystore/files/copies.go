package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/keystore"
)

var (
	_ keystore.Copier      = (*Store)(nil)
	_ keystore.CopyRemover = (*Store)(nil)
)

// Preserve implements [keystore.Copier].
func (s *Store) Preserve(ctx context.Context, doc keystore.Doc) (string, keystore.Revision, error) {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return "", "", err
	}
	defer release()
	f, err := s.find(ctx, doc)
	if err != nil {
		return "", "", err
	}
	if !f.exists {
		return "", "", keystore.Missing(doc, s.String())
	}
	name := keystore.CopyName(doc, f.data)
	copies, err := s.Copies(ctx, doc)
	switch {
	case err != nil:
		return "", "", err
	case slices.Contains(copies, name):
		return name, f.revision(), nil
	case len(copies) >= keystore.MaxCopies:
		return "", "", keystore.TooManyCopies(doc, s.String())
	}
	if err := atomicfile.Create(filepath.Join(s.cfg.Dir, name), f.data); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", "", s.writeError(doc, err)
	}
	return name, f.revision(), nil
}

// Copies implements [keystore.Copier].
func (s *Store) Copies(ctx context.Context, doc keystore.Doc) ([]string, error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	names, err := s.names()
	return slices.DeleteFunc(names, func(name string) bool { return !keystore.IsCopy(doc, name) }), err
}

// LoadCopy implements [keystore.Copier].
func (s *Store) LoadCopy(ctx context.Context, doc keystore.Doc, name string) (keystore.Document, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, err
	}
	if err := keystore.CheckCopy(doc, name); err != nil {
		return keystore.Document{}, err
	}
	f, err := s.open(ctx, filepath.Join(s.cfg.Dir, name))
	if err != nil {
		return keystore.Document{}, err
	}
	if !f.exists {
		return keystore.Document{}, keystore.NoCopy(name, s.String())
	}
	return s.decode(doc, f)
}

// RemoveCopy implements [keystore.CopyRemover].
func (s *Store) RemoveCopy(ctx context.Context, doc keystore.Doc, name string) error {
	if err := keystore.CheckCopy(doc, name); err != nil {
		return err
	}
	release, err := s.begin(ctx, doc)
	if err != nil {
		return err
	}
	defer release()
	err = os.Remove(filepath.Join(s.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return keystore.NoCopy(name, s.String())
	}
	if err != nil {
		return s.writeError(doc, err)
	}
	return nil
}
