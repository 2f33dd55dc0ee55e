package flat

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// Contents is what a folder held at one time.
type Contents struct {
	Exists  bool // there is a folder
	Entries Entries
	// Faults has the documents of which some file could not be read, each with
	// the reason: keystore.ErrUnavailable, keystore.ErrUndecryptable for what is
	// larger than 64 KiB or no file, problem.Denied for a link that root must not
	// follow. The others are whole.
	Faults map[keystore.Doc]error
}

// Docs gives the documents that are there, damaged ones included, sorted.
func (c Contents) Docs() []keystore.Doc {
	docs := append(c.Entries.Docs(), slices.Collect(maps.Keys(c.Faults))...)
	slices.Sort(docs)
	return slices.Compact(docs)
}

// Read gives the entries of the folder, none if there is no folder. Of a volume
// mounted by Kubernetes it gives one state, never a mixture of two. Files whose
// names name no key are not opened. Line ends after a value are cut off. It
// returns keystore.ErrUnavailable if the folder cannot be read.
func (f Folder) Read(ctx context.Context) (Contents, error) {
	for range maxTries {
		if err := keystore.Alive(ctx); err != nil {
			return Contents{}, err
		}
		c, err := f.once()
		if !errors.Is(err, errSwapped) {
			return c, err
		}
	}
	return Contents{}, problem.Wrap(keystore.ErrUnavailable, f.Dir+" cannot be read", errSwapped)
}

func (f Folder) once() (Contents, error) {
	at := f.current()
	list, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		if at != f.Dir || f.current() != at {
			return Contents{}, errSwapped
		}
		return Contents{}, nil
	}
	if err != nil {
		return Contents{}, problem.Wrap(keystore.ErrUnavailable, f.Dir+" cannot be read", err)
	}
	c := Contents{Exists: true, Entries: Entries{}, Faults: map[keystore.Doc]error{}}
	for _, item := range list {
		n, ok := ParseName(item.Name())
		if !ok || item.IsDir() {
			continue
		}
		value, err := read(filepath.Join(at, item.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return Contents{}, errSwapped
		case err != nil:
			c.Faults[n.Doc] = err
		default:
			c.Entries[item.Name()] = value
		}
	}
	if f.current() != at {
		return Contents{}, errSwapped
	}
	return c, nil
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
