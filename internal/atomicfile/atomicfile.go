// Package atomicfile owns the one way in which small secret files are written:
// whole or not at all, durable once reported, readable by their owner only, and
// one process at a time where that is asked for. It knows nothing of what the
// files hold.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempSuffix marks half-written files. It does not end in ".json", so nothing
// that watches for documents wakes up for them.
const tempSuffix = ".lktmp"

// Staged is a complete, synced temporary file beside the path it is meant for.
type Staged struct {
	temp, path string
}

// Stage writes data to a new temporary file (mode 0600) in path's folder and
// syncs it. The caller ends with Replace, Create or Discard.
func Stage(path string, data []byte) (_ *Staged, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+tempSuffix)
	if err != nil {
		return nil, err
	}
	s := &Staged{temp: f.Name(), path: path}
	defer func() {
		if err != nil {
			s.Discard()
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = keepOwner(f, path)
	}
	if err == nil {
		err = f.Sync()
	}
	return s, errors.Join(err, f.Close())
}

// Replace puts the staged file in path's place, whatever was there.
func (s *Staged) Replace() error {
	if err := os.Rename(s.temp, s.path); err != nil {
		s.Discard()
		return err
	}
	return SyncDir(filepath.Dir(s.path))
}

// Create puts the staged file at path if nothing is there; else it discards it
// and returns an error matching fs.ErrExist. A hard link decides who is first;
// file systems without links fall back to a look before the rename.
func (s *Staged) Create() error {
	err := os.Link(s.temp, s.path)
	if err == nil {
		s.Discard()
		return SyncDir(filepath.Dir(s.path))
	}
	if !linkUnsupported(err) {
		s.Discard()
		return err
	}
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		s.Discard()
		return errors.Join(err, &fs.PathError{Op: "create", Path: s.path, Err: fs.ErrExist})
	}
	return s.Replace()
}

func linkUnsupported(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS)
}

// Discard removes the staged file; doing so twice is harmless.
func (s *Staged) Discard() { _ = os.Remove(s.temp) }

// Write replaces path by data.
func Write(path string, data []byte) error {
	s, err := Stage(path, data)
	if err != nil {
		return err
	}
	return s.Replace()
}

// Create makes path with data, or fails with fs.ErrExist if it is there.
func Create(path string, data []byte) error {
	s, err := Stage(path, data)
	if err != nil {
		return err
	}
	return s.Create()
}

// SyncDir makes the names in a folder durable. Folders on file systems that
// cannot sync folders are taken to be as durable as they get.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Sweep removes temporary files that dead writers left in dir for the files
// that mine accepts the names of. Only a caller who keeps all other writers of
// those files out, with [Lock], may do so.
func Sweep(dir string, mine func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if target, ok := tempFor(e.Name()); ok && e.Type().IsRegular() && mine(target) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// tempFor gives the name of the file a temporary file was meant for.
func tempFor(name string) (string, bool) {
	name, ok := strings.CutSuffix(name, tempSuffix)
	i := strings.LastIndexByte(name, '.')
	if !ok || i <= 0 || name[0] != '.' {
		return "", false
	}
	return name[1:i], true
}

// MakeDir makes dir (mode 0700) and what is missing above it.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := keepFolderOwner(dir); err != nil {
		return err
	}
	return SyncDir(parent)
}
