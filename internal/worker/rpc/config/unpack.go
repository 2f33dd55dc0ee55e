package config

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/problem"
)

// Unpack writes a worker that the program carries with it to a folder of its own
// below base, and gives the directory that holds that folder, for
// [Place.Directories]. The directory's name comes from the content, so that
// versions do not meet; what is there already is left as it is. Several processes
// may do so at once. Errors: problem.Unavailable.
func Unpack(files fs.FS, name, base string) (string, error) {
	sum, err := contentSum(files)
	if err != nil {
		return "", problem.Wrap(problem.Internal, "the worker inside the program cannot be read", err)
	}
	dir := filepath.Join(base, "workers", sum)
	if _, err := os.Stat(filepath.Join(dir, name, fileName)); err == nil {
		return dir, nil
	}
	if err := unpack(files, name, dir); err != nil {
		return "", problem.Wrap(problem.Unavailable, "the "+name+" worker cannot be written to "+dir, err).
			WithNext("make room there, or let " + directoriesSetting + " name a directory with workers")
	}
	return dir, nil
}

// unpack writes beside dir first and moves the whole into place.
func unpack(files fs.FS, name, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.CopyFS(filepath.Join(temp, name), files); err != nil {
		return err
	}
	err = os.Rename(temp, dir)
	if _, there := os.Stat(filepath.Join(dir, name, fileName)); there == nil {
		return nil // somebody else was faster
	}
	return err
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
