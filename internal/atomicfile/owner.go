package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// keepOwner gives a new file to the owner of the one it replaces, or else of its
// folder, when root writes it: a file that root makes in a service's folder would
// be unreadable for the service.
func keepOwner(f *os.File, path string) error {
	err := giveToOwnerOf(path, f.Chown)
	if errors.Is(err, fs.ErrNotExist) {
		err = giveToOwnerOf(filepath.Dir(path), f.Chown)
	}
	return err
}

// giveToOwnerOf calls chown with the owner of model, if this process is root and
// the owner is not.
func giveToOwnerOf(model string, chown func(uid, gid int) error) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(model)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return chown(int(owner.Uid), int(owner.Gid))
}

// keepFolderOwner gives a folder just made to the owner of the one it is in. It
// goes by way of the opened folder, so that nothing else can be put in its place.
func keepFolderOwner(dir string) error {
	return giveToOwnerOf(filepath.Dir(dir), func(uid, gid int) error {
		f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Chown(uid, gid), f.Close())
	})
}
