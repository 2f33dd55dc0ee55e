package entra

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"runtime"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxFile = 1 << 20 // bytes
	others  = fs.FileMode(0o007)
)

// read gives what a file holds, without space around it. A secret one is refused if
// everybody on the machine may read or change it; a group may, because containers
// get their secrets so. Tokens of workload identities are mounted for everybody and
// end soon.
func read(path string, secret bool) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if secret && runtime.GOOS != "windows" && info.Mode().Perm()&others != 0 {
		return nil, problem.New(problem.Denied, "file "+path+" holds a secret and is open to every user of this machine ("+info.Mode().Perm().String()+")").
			WithNext("chmod 600 " + path)
	}
	text, err := atomicfile.Read(path, maxFile)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, problem.New(problem.Denied, "file "+path+" is empty")
	}
	return text, nil
}

// unreadable is Denied because nothing changes until somebody acts.
func unreadable(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return problem.Wrap(problem.Denied, "file "+path+" cannot be read", err).
		WithNext("put it there, readable for the user Latchkey runs as")
}
