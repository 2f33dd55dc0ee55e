// Package keynotes keeps, in files of a local app's data folder, what is known of
// its keys outside the key store: how they are used, and which had restrictions.
// The files hold no values. It does not know where keys are stored, nor what the
// keyring makes of what is kept.
package keynotes

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// Names of the files in the folder.
const (
	UsesFile         = "uses.json"
	RestrictionsFile = "restrictions.json"
	RosterFile       = "functions.json"
)

// maxFile bounds what is read of a file, in bytes.
const maxFile = 16 << 20

// Config says where the files are.
type Config struct {
	Dir     string // made, with mode 0700, when there is something to keep
	Prepare func() // called before the folder is made; nil: nothing
}

// Open gives the two stores of a folder. Nothing is read or made before it is
// needed. Both are safe for concurrent use, by several processes too.
//
// Their errors are problem.Undecryptable for a file that cannot be understood,
// which is left as it is, and otherwise the system's.
func Open(cfg Config) (*Uses, *Restrictions) {
	return &Uses{newFile(cfg, UsesFile)}, &Restrictions{newFile(cfg, RestrictionsFile)}
}

var (
	_ keyring.UsageStore = (*Uses)(nil)
	_ keyring.Memory     = (*Restrictions)(nil)
)

// file is one JSON file that is replaced as a whole, by one process at a time.
type file struct {
	cfg  Config
	path string
	lock *atomicfile.Lock
}

func newFile(cfg Config, name string) file {
	path := filepath.Join(cfg.Dir, name)
	return file{cfg, path, atomicfile.NewLock(path + ".lock")}
}

// read fills what; a file that is not there leaves it as it is.
func (f *file) read(what any) error {
	text, err := atomicfile.Read(f.path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case json.Unmarshal(text, what) != nil:
		return problem.New(problem.Undecryptable, f.path+" cannot be understood").
			WithNext("put it back from a backup, or move it aside: what it says of keys is then forgotten, the keys stay")
	}
	return nil
}

// update changes what is kept. what is read anew with the lock held.
func (f *file) update(ctx context.Context, what any, change func()) error {
	return f.revise(ctx, what, func() error {
		change()
		return nil
	})
}

// revise is update for a change that may turn out not to be one: then its error is
// returned and nothing is written.
func (f *file) revise(ctx context.Context, what any, change func() error) error {
	if f.cfg.Prepare != nil {
		f.cfg.Prepare()
	}
	if err := atomicfile.MakeDir(f.cfg.Dir); err != nil {
		return err
	}
	release, err := f.lock.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := f.read(what); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return atomicfile.Write(f.path, append(text, '\n'))
}
