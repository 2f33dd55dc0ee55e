package atomicfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Lock is an exclusive lock between handles and processes, held by an open file:
// it ends with its holder, however that dies. The zero value is not usable; make
// one with [NewLock]. A Lock belongs to one file and serves any number of
// goroutines, one at a time.
type Lock struct {
	path string
	turn chan struct{} // holds one token while nobody in this process has the lock
}

// NewLock gives the lock of the file at path, which is made when first needed.
func NewLock(path string) *Lock {
	l := &Lock{path: path, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// Acquire waits for the lock until ctx ends. The kernel queues waiting
// processes, so none starves. release must be called exactly once.
//
// A waiting goroutine cannot be called back from the kernel. When ctx ends
// first it stays behind, at most one per Lock because it keeps the turn, and
// lets go as soon as the other process does.
func (l *Lock) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := openLock(l.path)
	if err != nil {
		l.turn <- struct{}{}
		return nil, err
	}
	release = func() {
		_ = f.Close() // closing ends the lock
		l.turn <- struct{}{}
	}
	return l.wait(ctx, f, release)
}

func (l *Lock) wait(ctx context.Context, f *os.File, release func()) (func(), error) {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return granted(release, err)
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, syscall.LOCK_EX) }()
	select {
	case err := <-got:
		return granted(release, err)
	case <-ctx.Done():
		go func() { <-got; release() }()
		return nil, ctx.Err()
	}
}

// granted passes a lock on. A file system without locks grants it: processes
// then still find out about each other by comparing before they replace.
func granted(release func(), err error) (func(), error) {
	if err != nil && !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, syscall.ENOSYS) {
		release()
		return nil, err
	}
	return release, nil
}

// flock retries when a signal interrupts the wait.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// openLock opens a lock file, making it for the owner of its folder. It does not
// follow a link, and gives away only what it has made: whoever can write to the
// folder must not choose what root opens or hands over.
func openLock(path string) (*os.File, error) {
	d, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.close() }()
	name := filepath.Base(path)
	f, err := d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return d.open(name, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := d.give(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
