package isolation

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// Modes. The data folder and the two with something of every app in them can be
// passed through, not listed; what is one app's is open to its group.
const (
	passable    fs.FileMode = 0o711
	appFolder   fs.FileMode = 0o710
	readFolder  fs.FileMode = 0o750
	readFile    fs.FileMode = 0o440
	readProgram fs.FileMode = 0o550
)

// tempHome begins the name of a home that is being made; it has no dot within, so
// it is none.
const tempHome = "new-"

// makeHome makes the folders of a user. The outer one has its final name once all
// is right: its group is the only record of the id.
func makeHome(homes, dir string, id uint32) error {
	temp, err := os.MkdirTemp(homes, tempHome)
	if err != nil {
		return err
	}
	for _, name := range []string{"home", "tmp"} {
		if err == nil {
			err = makeOwn(filepath.Join(temp, name), id)
		}
	}
	if err == nil {
		err = open(temp, id, readFolder)
	}
	if err == nil {
		err = os.Rename(temp, dir)
	}
	if err == nil {
		// A record that a power failure lost would give the id to another app, who
		// could then read this one's package.
		return atomicfile.SyncDir(homes)
	}
	return errors.Join(err, os.RemoveAll(temp))
}

// makeOwn makes a folder of a user. The folder it is in is root's.
func makeOwn(dir string, id uint32) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Lchown(dir, int(id), int(id))
}

// open gives what is root's to the group of a user.
func open(path string, id uint32, mode fs.FileMode) error {
	if err := os.Lchown(path, 0, int(id)); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func groupOf(path string) (uint32, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Gid, nil
}

// Grant makes an unpacked package, <data folder>/apps/<app>/<release>, readable
// for a user and for no other but root. Nobody but root can change it then. It
// does nothing if that is so already.
func (u *Users) Grant(user User, dir string) error {
	if err := grant(filepath.Dir(dir), dir, user.ID); err != nil {
		return problem.Wrap(problem.Unavailable, "the app's files cannot be given to its user", err)
	}
	return nil
}

func grant(app, dir string, id uint32) error {
	if err := open(app, id, appFolder); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Sys().(*syscall.Stat_t).Gid == id && info.Mode().Perm() == readFolder {
		return nil // it comes last
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return grantEntry(path, e, id)
	})
	if err != nil {
		return err
	}
	return open(dir, id, readFolder)
}

func grantEntry(path string, e fs.DirEntry, id uint32) error {
	info, err := e.Info()
	switch {
	case err != nil:
		return err
	case e.IsDir():
		return open(path, id, readFolder)
	case !e.Type().IsRegular():
		return problem.New(problem.Internal, "a package has something that is neither file nor folder: "+path)
	case info.Mode()&0o100 != 0:
		return open(path, id, readProgram)
	}
	return open(path, id, readFile)
}
