package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// format is the form of the documents in the file.
const format = "1"

// How long Open waits for another process to let go of the file, and how often
// it looks.
const (
	lockWait = 5 * time.Second
	lockLook = 50 * time.Millisecond
)

// Open opens the state in the file at path, which is made with mode 0600 if there
// is none; its folder must exist. It returns problem.Unavailable when another
// process has the file for longer than a few seconds or the file cannot be opened,
// problem.Undecryptable when it is not a state or damaged, and problem.Unsupported
// when a newer version wrote it; the file is left as it is then.
func Open(ctx context.Context, path string, c clock.Clock) (*Store, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, damaged(path, errors.New("it is no regular file"))
	}
	db, err := await(ctx, path, c)
	if err != nil {
		return nil, err
	}
	at, err := prepare(db, path)
	if err == nil {
		err = syncFolder(path)
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return newStore(path, db, c, at), nil
}

// await opens the file as soon as nobody else has it.
func await(ctx context.Context, path string, c clock.Clock) (*bbolt.DB, error) {
	for end := c.Now().Add(lockWait); ; {
		if err := state.Alive(ctx); err != nil {
			return nil, err
		}
		db, err := attempt(path)
		if !errors.Is(err, bolterrors.ErrTimeout) {
			return db, err
		}
		if !c.Now().Before(end) {
			return nil, problem.New(problem.Unavailable, fmt.Sprintf("another process has the state file %s", path)).
				WithNext("stop the other process, or give this one a data folder of its own")
		}
		_ = clock.Sleep(ctx, c, lockLook)
	}
}

// attempt opens the file if nobody else has it, bolterrors.ErrTimeout otherwise.
func attempt(path string) (db *bbolt.DB, err error) {
	var file *os.File
	faults := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(faults)
		if cause := recover(); cause != nil {
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) // the library cannot any more, and its mapping keeps the lock
			_ = file.Close()
			db, err = nil, damaged(path, fmt.Errorf("%v", cause))
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      1, // one look
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		},
	})
	return db, openError(path, err)
}

func openError(path string, err error) error {
	var refused syscall.Errno
	switch {
	case err == nil || errors.Is(err, bolterrors.ErrTimeout):
		return err
	case errors.As(err, &refused) || isFull(err):
		return problem.Wrap(problem.Unavailable, fmt.Sprintf("the state file %s cannot be opened", path), err).
			WithNext("see that its folder exists, has room, and that this user may read and write there")
	}
	return damaged(path, err)
}

func damaged(path string, cause error) error {
	return problem.Wrap(problem.Undecryptable, fmt.Sprintf("%s is not a state file, or it is damaged", path), cause).
		WithNext("put it back from a backup, or move it away to begin with an empty state")
}

// prepare checks the file, makes what a new one needs and drops the leases of
// processes that have ended. It gives the store's revision.
func prepare(db *bbolt.DB, path string) (at state.Revision, err error) {
	defer guardOpen(path, &err, debug.SetPanicOnFault(true))
	err = db.Update(func(tx *bbolt.Tx) error {
		if err := check(tx, path); err != nil {
			return err
		}
		docs, changed, err := buckets(tx)
		if err != nil {
			return err
		}
		dropped, err := dropLeases(docs)
		if at = state.Revision(docs.Sequence()); err == nil && !changed && !dropped {
			return errNothing
		}
		return err
	})
	switch {
	case err == nil || errors.Is(err, errNothing):
		return at, nil
	case problem.KindOf(err) != problem.Internal:
		return 0, err
	}
	return 0, openError(path, err)
}

func guardOpen(path string, err *error, faults bool) {
	debug.SetPanicOnFault(faults)
	if cause := recover(); cause != nil {
		*err = damaged(path, fmt.Errorf("%v", cause))
	}
}

// check refuses files that are too short and those of others.
func check(tx *bbolt.Tx, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return damaged(path, fmt.Errorf("it has %d bytes, but it should have %d", info.Size(), tx.Size()))
	}
	own := tx.Bucket(meta)
	if own == nil {
		if key, _ := tx.Cursor().First(); key != nil {
			return damaged(path, errors.New("it holds something else"))
		}
		return nil
	}
	if got := own.Get([]byte("format")); !bytes.Equal(got, []byte(format)) {
		return problem.New(problem.Unsupported, fmt.Sprintf("the state file %s has format %q, this version knows %q", path, got, format)).
			WithNext("use the version that wrote it, or a newer one")
	}
	if tx.Bucket(documents) == nil {
		return damaged(path, errors.New("it has no documents' bucket"))
	}
	return nil
}

// buckets gives the bucket of documents, making what a new file needs.
func buckets(tx *bbolt.Tx) (docs *bbolt.Bucket, made bool, err error) {
	if tx.Bucket(meta) != nil {
		return tx.Bucket(documents), false, nil
	}
	own, err := tx.CreateBucket(meta)
	if err != nil {
		return nil, false, err
	}
	if err := own.Put([]byte("format"), []byte(format)); err != nil {
		return nil, false, err
	}
	docs, err = tx.CreateBucket(documents)
	return docs, true, err
}

// dropLeases removes what leases of a process that has ended left behind.
func dropLeases(docs *bbolt.Bucket) (dropped bool, err error) {
	var keys [][]byte
	cursor := docs.Cursor()
	for key, _ := cursor.Seek([]byte(state.LeasePrefix)); bytes.HasPrefix(key, []byte(state.LeasePrefix)); key, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	for _, key := range keys {
		if err := docs.Delete(key); err != nil {
			return false, err
		}
	}
	if len(keys) == 0 {
		return false, nil
	}
	return true, docs.SetSequence(docs.Sequence() + 1)
}

// syncFolder makes the file's name durable: a new file whose folder was not
// written yet is gone after a power failure, with all that was acknowledged.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return openError(path, err)
	}
	defer func() { _ = folder.Close() }()
	return openError(path, folder.Sync())
}
