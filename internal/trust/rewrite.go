package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxHosts     = 64 << 20 // lists of blocked hosts are long
	rewriteTries = 5
)

// errMoved says that the file was changed between reading and writing.
var errMoved = errors.New("the file was changed meanwhile")

// readHosts reads a file of host entries; a missing one is empty.
func readHosts(path string) ([]byte, error) {
	text, err := atomicfile.Read(path, maxHosts)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// rewrite gives a file the content that change makes of the present one, which
// may be asked more than once. The file is replaced at once and keeps mode, owner
// and label; one that cannot be replaced, because it is mounted, is written in
// place. An edit by somebody else is not lost: rewrite starts again, and returns
// problem.Conflict if that does not end.
func rewrite(path string, change func([]byte) ([]byte, error)) error {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		target = path
	} else if err != nil {
		return err
	}
	for range rewriteTries {
		old, err := readHosts(target)
		if err != nil {
			return err
		}
		text, err := change(old)
		if err != nil || bytes.Equal(old, text) {
			return err
		}
		if err := put(target, old, text); !errors.Is(err, errMoved) {
			return err
		}
	}
	return problem.Wrap(problem.Conflict, path+" is being changed by another program; it was left alone", errMoved).WithNext("try again")
}

// put writes text if the file still is old.
func put(path string, old, text []byte) error {
	err := replace(path, old, text)
	for _, mounted := range []error{syscall.EBUSY, syscall.EXDEV, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, mounted) {
			return overwrite(path, old, text)
		}
	}
	return err
}

func replace(path string, old, text []byte) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		info, err = nil, nil
	}
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".latchkey-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when it was renamed
	_, err = f.Write(text)
	if err = errors.Join(err, dress(f, path, info), f.Sync(), f.Close()); err != nil {
		return err
	}
	now, err := readHosts(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old) {
		return errMoved
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// dress gives a new file the mode, owner and security label of the one it is to
// replace; without the label others could not read it where labels are enforced.
func dress(f *os.File, path string, info os.FileInfo) error {
	if info == nil {
		return f.Chmod(0o644)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", path)
	}
	err := errors.Join(f.Chown(int(owner.Uid), int(owner.Gid)), f.Chmod(info.Mode().Perm()))
	const label = "security.selinux"
	value := make([]byte, 1024)
	if n, e := syscall.Getxattr(path, label, value); e == nil && n > 0 {
		err = errors.Join(err, syscall.Setxattr(f.Name(), label, value[:n], 0))
	}
	return err
}

// overwrite writes a file that cannot be replaced. The new end comes before the
// old one is cut off, so that an interruption leaves lines too many, not too few.
func overwrite(path string, old, text []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	now, err := io.ReadAll(io.LimitReader(f, maxHosts+1))
	if err == nil && !bytes.Equal(now, old) {
		err = errMoved
	}
	if err == nil {
		_, err = f.WriteAt(text, 0)
	}
	if err == nil {
		err = errors.Join(f.Truncate(int64(len(text))), f.Sync())
	}
	return errors.Join(err, f.Close())
}
