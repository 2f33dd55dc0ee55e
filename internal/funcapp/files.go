package funcapp

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// read gives a file's content, not ok when it is missing (no fault) or cannot
// be used (a fault). Only regular files of at most maxFileSize are read: a
// named pipe in an app folder must not hang us.
func (r reporter) read(path string) (data []byte, ok bool) {
	data, err := readLimited(path)
	switch {
	case err == nil:
		return data, true
	case errors.Is(err, fs.ErrNotExist):
		return nil, false
	case errors.Is(err, fs.ErrPermission):
		r.at(nil, "let this user read it", "cannot be read: permission denied")
	default:
		r.at(nil, "", "cannot be read: %v", plainCause(err))
	}
	return nil, false
}

var (
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = errors.New("it is larger than 1 MiB")
)

func readLimited(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		return nil, errTooLarge
	}
	return data, err
}

// plainCause drops the operation and absolute path from an error: the fault
// names the file already.
func plainCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// inside reports whether a path with all links resolved lies in the folder.
func inside(realRoot, realPath string) bool {
	rel, err := filepath.Rel(realRoot, realPath)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
