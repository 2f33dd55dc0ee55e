package atomicfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// folder is an opened folder. Names in it are looked up in the folder itself, so
// whoever can put another thing in its path's place changes nothing about where
// files are written, nor about whose they become.
type folder struct {
	f    *os.File // for lookups only; see sync for more
	path string
}

func openFolder(path string) (*folder, error) {
	f, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &folder{f: f, path: path}, nil
}

func (d *folder) close() error { return d.f.Close() }

func (d *folder) fd() int { return int(d.f.Fd()) }

func (d *folder) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// open opens what has a name in the folder; a link is not followed.
func (d *folder) open(name string, flags int, mode uint32) (*os.File, error) {
	f, err := openAt(d.f, name, flags|unix.O_NOFOLLOW, mode)
	return f, d.fail("open", name, err)
}

// openAt is openat(2). Files opened by it are not passed on to other programs.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// temp makes a new file, for the file that name stands for.
func (d *folder) temp(name string) (*os.File, string, error) {
	for {
		temp := "." + name + "." + rand.Text()[:10] + tempSuffix
		f, err := d.open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, temp, err
		}
	}
}

func (d *folder) rename(from, to string) error {
	return d.fail("rename", to, unix.Renameat(d.fd(), from, d.fd(), to))
}

func (d *folder) link(from, to string) error {
	return d.fail("link", to, unix.Linkat(d.fd(), from, d.fd(), to, 0))
}

func (d *folder) remove(name string) error {
	return d.fail("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

func (d *folder) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	return st, d.fail("stat", name, unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW))
}

// mkdir makes a folder in this one, for the owner of this one. Only what it has
// made is given away.
func (d *folder) mkdir(name string) error {
	err := unix.Mkdirat(d.fd(), name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return d.fail("mkdir", name, err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	made, err := d.open(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.give(made), made.Close())
}

// sync makes the names in the folder durable. Folders on file systems that
// cannot sync folders are taken to be as durable as they get.
func (d *folder) sync() error {
	f, err := d.open(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
