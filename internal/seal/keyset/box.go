package keyset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// Box is the place of one encrypted keyset, which all processes that use the
// keyset share. Its methods are safe for concurrent use, and String names the
// place for operators.
type Box interface {
	// Load gives what the box holds; problem.NotFound if it is empty,
	// problem.Unavailable if that cannot be told.
	Load(ctx context.Context) ([]byte, error)
	// Replace puts text in the box if it holds old; a nil old means that it is
	// empty. It returns problem.Conflict, and changes nothing, if it holds
	// something else. After problem.Unavailable nobody knows what it holds.
	Replace(ctx context.Context, old, text []byte) error
	String() string
}

// folder is the box that is the file keyset.json in a folder.
type folder struct {
	dir  string
	lock *atomicfile.Lock
}

func newFolder(dir string) *folder {
	return &folder{dir: dir, lock: atomicfile.NewLock(filepath.Join(dir, lockFile))}
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// String gives the path of the file.
func (f *folder) String() string { return f.path(KeysetFile) }

// Load implements [Box].
func (f *folder) Load(context.Context) ([]byte, error) {
	text, err := os.ReadFile(f.path(KeysetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(problem.NotFound, "there is no "+f.String(), err)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the keyset "+f.String()+" cannot be read", err)
	}
	return text, nil
}

// Replace implements [Box], one process at a time.
func (f *folder) Replace(ctx context.Context, old, text []byte) error {
	release, err := f.lock.Acquire(ctx)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the encryption folder "+f.dir+" cannot be locked", err)
	}
	defer release()
	_ = atomicfile.Sweep(f.dir, func(name string) bool { return name == KeysetFile }) // leftovers do no harm, so failing to remove them doesn't either
	held, err := f.Load(ctx)
	if err != nil && !errors.Is(err, problem.NotFound) {
		return err
	}
	if (held != nil) != (old != nil) || !bytes.Equal(held, old) {
		return problem.New(problem.Conflict, "the keyset "+f.String()+" was changed by another process")
	}
	if err := atomicfile.Write(f.path(KeysetFile), text); err != nil {
		return problem.Wrap(problem.Unavailable, "the keyset "+f.String()+" cannot be written", err)
	}
	return nil
}

// prepare makes the folder (0700, ignored by git) before anything secret is
// put in it.
func (f *folder) prepare() error {
	if err := atomicfile.MakeDir(f.dir); err != nil {
		return problem.Wrap(problem.Unavailable, "the encryption folder "+f.dir+" cannot be made", err)
	}
	if err := atomicfile.Create(f.path(ignoreFile), []byte("*\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return problem.Wrap(problem.Unavailable, f.path(ignoreFile)+" cannot be made", err)
	}
	return nil
}

// openToOthers tells which of the paths others may read.
func openToOthers(paths ...string) []string {
	var out []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			out = append(out, fmt.Sprintf("%s is open to other users (mode %04o)", path, info.Mode().Perm()))
		}
	}
	return out
}
