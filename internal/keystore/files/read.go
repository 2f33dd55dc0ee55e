package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// A file another process or a network share holds for a moment is asked for
// again; the functions host waits about as long.
const (
	readRetries = 5
	readPause   = 100 * time.Millisecond
)

// file is what was found for a document.
type file struct {
	path   string
	data   []byte
	exists bool
}

func (f file) revision() keystore.Revision { return revision(f.data) }

func (f file) same(g file) bool {
	return f.exists == g.exists && f.path == g.path && bytes.Equal(f.data, g.data)
}

// find reads a document's file: the one with the lower-case name or, failing
// that, the first other spelling. Between looking and reading, another process
// may move an old spelling to the lower-case name, hence the second look.
func (s *Store) find(ctx context.Context, doc keystore.Doc) (file, error) {
	f, err := s.open(ctx, s.path(doc))
	if err != nil || f.exists {
		return f, err
	}
	names, err := s.spellings(doc)
	if err != nil || len(names) == 0 {
		return f, err
	}
	if f, err = s.open(ctx, filepath.Join(s.cfg.Dir, names[0])); err != nil || f.exists {
		return f, err
	}
	return s.open(ctx, s.path(doc))
}

// readFile reads a file of a document's size. What is no file, or larger, is a
// damaged document; it neither fills the memory nor is waited for.
func readFile(path string) ([]byte, error) { return atomicfile.Read(path, maxFile) }

// open reads one file, trying again while it is held by somebody.
func (s *Store) open(ctx context.Context, path string) (file, error) {
	for try := 0; ; try++ {
		data, err := s.read(path)
		switch {
		case err == nil:
			return file{path: path, data: data, exists: true}, nil
		case errors.Is(err, fs.ErrNotExist):
			return file{path: path}, nil
		case problem.KindOf(err) == keystore.ErrUndecryptable:
			return file{}, err
		case !transient(err) || try == readRetries:
			return file{}, problem.Wrap(keystore.ErrUnavailable, path+" cannot be read", err)
		}
		if err := clock.Sleep(ctx, s.cfg.Clock, readPause); err != nil {
			return file{}, problem.Wrap(problem.Timeout, path+" is held by another process", err)
		}
	}
}

func transient(err error) bool {
	for _, e := range []error{syscall.EBUSY, syscall.ETXTBSY, syscall.EAGAIN, syscall.EINTR, syscall.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// names gives the names in the folder, sorted; none if there is no folder.
func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(keystore.ErrUnavailable, s.cfg.Dir+" cannot be read", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// spellings gives the file names that stand for a document, the one in use
// first: the lower-case one, then the others in byte order.
func (s *Store) spellings(doc keystore.Doc) ([]string, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if d, ok := docOf(name); ok && d == doc {
			found = append(found, name)
		}
	}
	lower := string(doc) + extension
	if i := slices.Index(found, lower); i > 0 {
		found = slices.Insert(slices.Delete(found, i, i+1), 0, lower)
	}
	return found, nil
}

// Warnings tells what about the folder deserves an operator's attention: files
// others may read, links, and names that differ only in case. It looks anew at
// each call and hides nothing but what it cannot read.
func (s *Store) Warnings() []string {
	var out []string
	if info, err := os.Stat(s.cfg.Dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		out = append(out, fmt.Sprintf("%s is open to other users (mode %04o)", s.cfg.Dir, info.Mode().Perm()))
	}
	names, err := s.names()
	if err != nil {
		return append(out, err.Error())
	}
	for _, name := range names {
		if doc, ok := docOf(name); ok {
			out = append(out, s.fileWarnings(doc, name)...)
		}
	}
	return out
}

func (s *Store) fileWarnings(doc keystore.Doc, name string) []string {
	var out []string
	path := filepath.Join(s.cfg.Dir, name)
	link, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if link.Mode()&fs.ModeSymlink != 0 {
		out = append(out, path+" is a symbolic link; the next write replaces it by a file")
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		out = append(out, fmt.Sprintf("%s is open to other users (mode %04o)", path, info.Mode().Perm()))
	}
	if used, err := s.spellings(doc); err == nil && used[0] != name {
		out = append(out, fmt.Sprintf("%s is ignored because %s exists", path, used[0]))
	}
	return out
}
