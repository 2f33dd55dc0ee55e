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
// It holds on to the folder until it has ended.
type Staged struct {
	dir        *folder // nil once it has ended
	temp, name string
}

// Stage writes data to a new temporary file (mode 0600) in path's folder and
// syncs it. The caller ends with Replace, Create or Discard. It returns
// problem.Denied where root would follow a link it should not.
func Stage(path string, data []byte) (_ *Staged, err error) {
	dir, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	s := &Staged{dir: dir, name: filepath.Base(path)}
	defer func() {
		if err != nil {
			s.Discard()
		}
	}()
	f, temp, err := dir.temp(s.name)
	if err != nil {
		return nil, err
	}
	s.temp = temp
	if _, err = f.Write(data); err == nil {
		err = dir.giveFor(f, s.name)
	}
	if err == nil {
		err = f.Sync()
	}
	return s, errors.Join(err, f.Close())
}

// errEnded is what an ended Staged answers.
var errEnded = errors.New("the staged file is in place or discarded")

// Replace puts the staged file in path's place, whatever was there.
func (s *Staged) Replace() error {
	if s.dir == nil {
		return errEnded
	}
	if err := s.dir.rename(s.temp, s.name); err != nil {
		s.Discard()
		return err
	}
	s.temp = ""
	return s.settle()
}

// Create puts the staged file at path if nothing is there; else it discards it
// and returns an error matching fs.ErrExist. A hard link decides who is first;
// file systems without links fall back to a look before the rename.
func (s *Staged) Create() error {
	if s.dir == nil {
		return errEnded
	}
	err := s.dir.link(s.temp, s.name)
	if err == nil {
		return s.settle()
	}
	if !linkUnsupported(err) {
		s.Discard()
		return err
	}
	if _, statErr := s.dir.stat(s.name); !errors.Is(statErr, fs.ErrNotExist) {
		err = errors.Join(err, s.dir.fail("create", s.name, fs.ErrExist))
		s.Discard()
		return err
	}
	return s.Replace()
}

// settle ends what is in place: it is durable, and nothing is left beside it.
func (s *Staged) settle() error {
	if s.temp != "" {
		_ = s.dir.remove(s.temp)
		s.temp = ""
	}
	err := s.dir.sync()
	s.Discard()
	return err
}

func linkUnsupported(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS)
}

// Discard removes the staged file; doing so twice, or after it was put in place,
// is harmless.
func (s *Staged) Discard() {
	if s.dir == nil {
		return
	}
	if s.temp != "" {
		_ = s.dir.remove(s.temp)
	}
	_ = s.dir.close()
	s.dir = nil
}

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
	d, err := openFolder(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.sync(), d.close())
}

// Sweep removes temporary files that dead writers left in dir for the files
// that mine accepts the names of. Only a caller who keeps all other writers of
// those files out, with [Lock], may do so.
func Sweep(dir string, mine func(name string) bool) error {
	d, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.close() }()
	list, err := d.open(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	entries, err := list.ReadDir(-1)
	for _, e := range entries {
		if target, ok := tempFor(e.Name()); ok && e.Type().IsRegular() && mine(target) {
			err = errors.Join(err, d.remove(e.Name()))
		}
	}
	return errors.Join(err, list.Close())
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

// MakeDir makes dir (mode 0700) and what is missing above it. What root makes
// belongs to the owner of the folder it is in. It returns problem.Denied where
// root would follow a link it should not.
func MakeDir(dir string) error {
	switch there, err := openFolder(dir); {
	case err == nil:
		return there.close()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := MakeDir(parent); err != nil {
		return err
	}
	d, err := openFolder(parent)
	if err != nil {
		return err
	}
	if err = d.mkdir(filepath.Base(dir)); err == nil {
		err = d.sync()
	}
	return errors.Join(err, d.close())
}
