package blob

import (
	"context"
	"errors"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

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
	b, err := s.conn.read(ctx, s.name(doc))
	if err != nil {
		return "", "", err
	}
	if !b.exists() {
		return "", "", keystore.Missing(doc, s.String())
	}
	name := keystore.CopyName(doc, b.data)
	copies, err := s.Copies(ctx, doc)
	switch {
	case err != nil:
		return "", "", err
	case slices.Contains(copies, name):
		return name, revision(b.etag), nil
	case len(copies) >= keystore.MaxCopies:
		return "", "", keystore.TooManyCopies(doc, s.String())
	}
	if _, _, err := s.conn.write(ctx, s.cfg.App+"/"+name, "", b.data); err != nil && !errors.Is(err, errRaced) {
		return "", "", err
	}
	return name, revision(b.etag), nil
}

// Copies implements [keystore.Copier].
func (s *Store) Copies(ctx context.Context, doc keystore.Doc) ([]string, error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	prefix := s.cfg.App + "/"
	blobs, err := s.conn.list(ctx, prefix+string(doc)+".")
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range blobs {
		if name = name[len(prefix):]; keystore.IsCopy(doc, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// LoadCopy implements [keystore.Copier].
func (s *Store) LoadCopy(ctx context.Context, doc keystore.Doc, name string) (keystore.Document, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, err
	}
	if err := keystore.CheckCopy(doc, name); err != nil {
		return keystore.Document{}, err
	}
	b, err := s.conn.read(ctx, s.cfg.App+"/"+name)
	if err != nil {
		return keystore.Document{}, err
	}
	if !b.exists() {
		return keystore.Document{}, keystore.NoCopy(name, s.String())
	}
	return s.decode(doc, b)
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
	found, err := s.conn.remove(ctx, s.cfg.App+"/"+name, azcore.ETagAny)
	if err == nil && !found {
		return keystore.NoCopy(name, s.String())
	}
	return err
}
