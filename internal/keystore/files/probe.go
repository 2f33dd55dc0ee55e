package files

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ keystore.Prober = (*Store)(nil)

// mayChange is what making and removing files takes of a folder: W_OK and X_OK.
const mayChange = 0x2 | 0x1

// Probe implements [keystore.Prober] by asking the kernel about the folder, or about
// the nearest one above it that exists. Writing and deleting are one permission.
func (s *Store) Probe(context.Context) []keystore.Permission {
	dir := s.cfg.Dir
	err := syscall.Access(dir, mayChange)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = syscall.Access(dir, mayChange)
	}
	if err != nil {
		err = problem.Wrap(problem.Denied, "files cannot be made in folder "+dir, err).
			WithNext("run as the folder's owner, or make it writable for that user: chmod u+wx " + dir)
	}
	return []keystore.Permission{{What: "write", Err: err}, {What: "delete", Err: err}}
}
