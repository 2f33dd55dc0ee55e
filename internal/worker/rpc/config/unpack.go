package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
)

// othersWrite are the rights that nobody but the owner may have to a worker's
// files: who can change them runs code as the users of all apps.
const othersWrite = 0o022

// Unpack writes a worker that the program carries with it to a folder of its own
// below base, and gives the directory that holds that folder, for
// [Place.Directories]. The directory's name comes from the content, so that
// versions do not meet. What is there already is compared byte for byte, with its
// owners and modes, and replaced if it is not what it must be. Everyone who can
// reach base may read the files, nobody but this user change them. Several processes
// may do so at once. Errors: problem.Unavailable.
func Unpack(files fs.FS, name, base string) (string, error) {
	sum, err := contentSum(files)
	if err != nil {
		return "", problem.Wrap(problem.Internal, "the worker inside the program cannot be read", err)
	}
	parent := filepath.Join(base, "workers")
	dir := filepath.Join(parent, sum)
	err = prepare(base, parent)
	if err == nil && sound(files, name, dir) != nil {
		err = unpack(files, name, dir)
	}
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "the "+name+" worker cannot be written to "+dir, err).
			WithNext("make room there, or let " + directoriesSetting + " name a directory with workers")
	}
	return dir, nil
}

// Rights that everyone must have, whatever this process's umask is, to what
// workers are in and to their files.
const (
	passRights fs.FileMode = 0o711
	dirRights  fs.FileMode = 0o755
	fileRights fs.FileMode = 0o644
)

// prepare makes the folders that workers are in. In those that exist it lets others
// pass through, and takes their right to write.
func prepare(base, parent string) error {
	if err := makeAbove(filepath.Dir(base)); err != nil {
		return err
	}
	if err := prepareOne(base, passRights); err != nil {
		return err
	}
	return prepareOne(parent, dirRights)
}

// makeAbove makes what is missing of the folders above ours.
func makeAbove(dir string) error {
	_, err := os.Stat(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeAbove(filepath.Dir(dir)); err != nil {
		return err
	}
	err = os.Mkdir(dir, passRights)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, os.Chmod(dir, passRights))
}

func prepareOne(dir string, rights fs.FileMode) error {
	if err := os.Mkdir(dir, dirRights); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	want := info.Mode().Perm()&^othersWrite | rights
	if info.IsDir() && want != info.Mode().Perm() {
		if err := os.Chmod(dir, want); err != nil {
			return err
		}
	}
	return ours(dir, fs.ModeDir, rights)
}

// ours finds out whether a file of a type is this user's, or root's, nobody else
// can change it, and everyone has the rights to it.
func ours(path string, kind, rights fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != kind:
		return errors.New(path + " is not a plain folder or file")
	case !ok || (st.Uid != 0 && int(st.Uid) != os.Geteuid()):
		return errors.New(path + " belongs to another user")
	case info.Mode().Perm()&othersWrite != 0:
		return errors.New(path + " can be written by other users")
	case info.Mode().Perm()&rights != rights:
		return errors.New(path + " cannot be read by other users")
	}
	return nil
}

// sound finds out whether dir holds exactly the files.
func sound(files fs.FS, name, dir string) error {
	if err := ours(dir, fs.ModeDir, dirRights); err != nil {
		return err
	}
	root := filepath.Join(dir, name)
	return fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		there := filepath.Join(root, filepath.FromSlash(path))
		rights := fileRights
		if e.IsDir() {
			rights = dirRights
		}
		if err := ours(there, e.Type(), rights); err != nil {
			return err
		}
		if e.IsDir() {
			return sameNames(files, path, there)
		}
		return sameContent(files, path, there)
	})
}

func sameNames(files fs.FS, path, there string) error {
	want, err := fs.ReadDir(files, path)
	if err != nil {
		return err
	}
	got, err := os.ReadDir(there)
	if err == nil && len(got) != len(want) {
		err = fmt.Errorf("%s has %d entries instead of %d", there, len(got), len(want))
	}
	return err
}

func sameContent(files fs.FS, path, there string) error {
	want, err := fs.ReadFile(files, path)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(there)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New(there + " was changed")
	}
	return err
}

// unpack writes beside dir first and moves the whole into place.
func unpack(files fs.FS, name, dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	fresh := filepath.Join(temp, "fresh")
	if err := write(files, filepath.Join(fresh, name)); err != nil {
		return err
	}
	if sound(files, name, dir) == nil {
		return nil // somebody else was faster
	}
	_ = os.Rename(dir, filepath.Join(temp, "old")) // what is there is not what it must be
	err = os.Rename(fresh, dir)
	if err != nil && sound(files, name, dir) == nil {
		return nil // somebody else was faster
	}
	return err
}

// write writes the files with modes that do not depend on this process's umask.
func write(files fs.FS, root string) error {
	if err := os.MkdirAll(filepath.Dir(root), dirRights); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(root), dirRights); err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		there := filepath.Join(root, filepath.FromSlash(path))
		if e.IsDir() {
			return errors.Join(os.Mkdir(there, dirRights), os.Chmod(there, dirRights))
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(there, text, fileRights), os.Chmod(there, fileRights))
	})
}

// contentSum gives a name for the content of files.
func contentSum(files fs.FS) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		each := sha256.Sum256(data)
		h.Write([]byte(path + "\x00"))
		h.Write(each[:])
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}
