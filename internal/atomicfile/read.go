package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
)

// Read gives the content of a file of limit bytes at most. It never waits for
// what is no file (a pipe, say), and for root follows no link that leads to what
// is not its owner's. It returns problem.Undecryptable for what is no file or is
// too large, problem.Denied for such a link, and otherwise the system's error.
func Read(path string, limit int64) ([]byte, error) {
	f, err := open(path, os.O_RDONLY|syscall.O_NONBLOCK)
	if errors.Is(err, syscall.ENXIO) { // a socket
		return nil, irregular(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, problem.New(problem.Undecryptable, fmt.Sprintf("%s is larger than %d bytes", path, limit)).
			WithNext("restore it from a backup, or move it aside")
	}
	return data, err
}

func irregular(path string) error {
	return problem.New(problem.Undecryptable, path+" is not a regular file").
		WithNext("see who put it there, and move it aside")
}

// Remove removes a file, or a link and not what it leads to.
func Remove(path string) error {
	d, err := openFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.remove(filepath.Base(path)), d.close())
}
