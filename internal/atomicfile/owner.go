package atomicfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// giveFor gives a new file to the owner of the one it replaces, or else of its
// folder, when root writes it: a file that root makes in a service's folder would
// be unreadable for the service.
func (d *folder) giveFor(f *os.File, name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	switch st, err := d.stat(name); {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG:
		return chown(f, st)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.give(f)
}

// give gives what was just made in the folder to the folder's owner, if this
// process is root. The owner is that of the folder that is open, never of a name:
// a name may be somebody's link.
func (d *folder) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return d.fail("stat", "", err)
	}
	return chown(f, st)
}

func chown(f *os.File, owner unix.Stat_t) error {
	if owner.Uid == 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
