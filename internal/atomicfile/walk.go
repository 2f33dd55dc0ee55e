package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// open opens an existing file or folder. Links are followed, but for root not
// those by which others could lead it to what is not theirs: whoever owns a link
// on the way, unless that is root, must own what is opened too. Else it returns
// problem.Denied.
func open(path string, flags int) (*os.File, error) {
	if os.Geteuid() != 0 {
		return os.OpenFile(path, flags, 0)
	}
	f, err := openAsRoot(path, flags)
	if _, ok := err.(*problem.Error); ok || err == nil {
		return f, err
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: err}
}

func openAsRoot(path string, flags int) (*os.File, error) {
	whole, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := walk{todo: parts(whole)}
	if err := w.fromRoot(); err != nil {
		return nil, err
	}
	defer func() { _ = w.at.Close() }()
	last, err := w.run()
	if err != nil {
		return nil, err
	}
	f, err := openAt(w.at, last, flags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := w.judge(f, path); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// walk looks a path up name by name, with every folder on the way open, so that
// nobody can exchange one after it was looked at.
type walk struct {
	at     *os.File // the folder reached
	todo   []string // names still to be looked up
	links  int
	owners []uint32 // of the links on the way that are not root's
}

func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

func (w *walk) fromRoot() error {
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		w.moveTo(root)
	}
	return err
}

func (w *walk) moveTo(dir *os.File) {
	if w.at != nil {
		_ = w.at.Close()
	}
	w.at = dir
}

// run goes to the folder of the last name, which is no link, and gives that name.
func (w *walk) run() (last string, err error) {
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		linked, err := w.follow(name)
		if err != nil {
			return "", err
		}
		if linked {
			continue
		}
		if len(w.todo) == 0 {
			return name, nil
		}
		next, err := openAt(w.at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return "", err
		}
		w.moveTo(next)
	}
	return ".", nil
}

// follow puts in a link's place what it stands for; linked is false for what is
// no link. It fails if there is nothing of that name.
func (w *walk) follow(name string) (linked bool, err error) {
	f, err := openAt(w.at, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return false, err
	}
	if w.links++; w.links > maxLinks {
		return false, unix.ELOOP
	}
	if st.Uid != 0 {
		w.owners = append(w.owners, st.Uid)
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", target)
	if err != nil {
		return false, err
	}
	w.todo = append(parts(string(target[:n])), w.todo...)
	if n > 0 && target[0] == filepath.Separator {
		return true, w.fromRoot()
	}
	return true, nil
}

// judge tells whether those who laid the links had a right to lead root here.
func (w *walk) judge(f *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	for _, owner := range w.owners {
		if owner != st.Uid {
			return problem.New(problem.Denied, fmt.Sprintf(
				"a symbolic link of user %d leads from %s to what belongs to user %d; as root it is not followed", owner, path, st.Uid)).
				WithNext("run this as the user that runs the app, or put the real path in the link's place")
		}
	}
	return nil
}
