package flat

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	mountedData = "..data" // the link Kubernetes swaps to change all files of a volume at once
	maxValue    = 64 << 10 // bytes of one file; keys are far shorter
	maxTries    = 20       // reads of a volume that keeps being swapped meanwhile
)

// errSwapped says that the volume was changed while it was read.
var errSwapped = errors.New("the files were replaced while they were read")

// Folder reads a folder in which each file is an entry. It is a value; methods
// may be called concurrently.
type Folder struct {
	Dir string
}

// Read gives the entries of the folder; exists is false if there is none. Of a
// volume mounted by Kubernetes it gives one state, never a mixture of two. Files
// whose names name no key are not opened. Line ends after a value are cut off.
// It returns keystore.ErrUnavailable for what cannot be read and
// keystore.ErrUndecryptable for what is no file or larger than 64 KiB, naming
// the file.
func (f Folder) Read(ctx context.Context) (entries Entries, exists bool, err error) {
	for range maxTries {
		if err := keystore.Alive(ctx); err != nil {
			return nil, false, err
		}
		entries, exists, err = f.once()
		if !errors.Is(err, errSwapped) {
			return entries, exists, err
		}
	}
	return nil, false, problem.Wrap(keystore.ErrUnavailable, f.Dir+" cannot be read", errSwapped)
}

func (f Folder) once() (Entries, bool, error) {
	at := f.current()
	list, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		if at != f.Dir || f.current() != at {
			return nil, false, errSwapped
		}
		return nil, false, nil
	}
	if err != nil {
		return nil, false, problem.Wrap(keystore.ErrUnavailable, f.Dir+" cannot be read", err)
	}
	entries := Entries{}
	for _, item := range list {
		if _, ok := ParseName(item.Name()); !ok || item.IsDir() {
			continue
		}
		if entries[item.Name()], err = read(filepath.Join(at, item.Name())); err != nil {
			break
		}
	}
	if f.current() != at || errors.Is(err, fs.ErrNotExist) {
		return nil, false, errSwapped
	}
	if err != nil {
		return nil, false, err
	}
	return entries, true, nil
}

// current gives the folder that has the files right now.
func (f Folder) current() string {
	target, err := os.Readlink(filepath.Join(f.Dir, mountedData))
	if err != nil {
		return f.Dir
	}
	if filepath.IsAbs(target) {
		return target
	}
	return filepath.Join(f.Dir, target)
}

func read(path string) (string, error) {
	data, err := atomicfile.Read(path, maxValue)
	switch {
	case err == nil:
		return strings.TrimRight(string(data), "\r\n"), nil
	case errors.Is(err, fs.ErrNotExist), problem.KindOf(err) == keystore.ErrUndecryptable, problem.KindOf(err) == problem.Denied:
		return "", err
	default:
		return "", problem.Wrap(keystore.ErrUnavailable, path+" cannot be read", err)
	}
}
