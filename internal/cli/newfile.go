package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// writeNew makes a file that only its owner can read, whole or not at all. Unless
// force is given it must not be there yet.
func writeNew(path string, force bool, fill func(*os.File) error) (err error) {
	if err := checkNew(path, force); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return problem.Wrap(problem.Invalid, "the file cannot be written", err)
	}
	defer func() {
		_ = f.Close()           // a second time, if all went well
		_ = os.Remove(f.Name()) // nothing of that name is left then
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return problem.Wrap(problem.Unavailable, "the file cannot be written", err)
	}
	if err := settle(f.Name(), path, force); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func checkNew(path string, force bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return problem.Wrap(problem.Invalid, "the file cannot be written", err)
	case info.IsDir():
		return usageError{problem.New(problem.Invalid, printable(path)+" is a folder").WithNext("name a file in it")}
	case !force:
		return exists(path)
	}
	return nil
}

func exists(path string) error {
	return problem.New(problem.Exists, printable(path)+" is there already").WithNext("choose another name; --force replaces the file")
}

// settle gives a finished file its name. A hard link decides who is first.
func settle(temp, path string, force bool) error {
	if force {
		return os.Rename(temp, path)
	}
	err := os.Link(temp, path)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil { // a file system without links
		return os.Rename(temp, path)
	}
	return nil
}
