// Package files owns the key store that is a folder of JSON documents, the one
// the functions host uses with AzureWebJobsSecretStorageType=files: host.json
// and one {function}.json each. The stock host can read what it writes and the
// other way round, also at the same time. It knows nothing of the form of the
// documents, which package codec owns, nor of who asks for keys.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	extension   = ".json"
	lockFile    = ".latchkey.lock"
	maxAttempts = 20               // changes tried while others who don't lock keep winning
	lockWait    = 10 * time.Second // for another process to finish its write
	maxFile     = 4 << 20          // bytes of a document; there is room for more than ten thousand keys
)

// Config says which folder and how.
type Config struct {
	// Dir is the folder. It is made (0700) with the first document.
	Dir string
	// Codec reads and writes the documents; nil keeps them in clear.
	Codec *codec.Codec
	// ReadOnly makes the store refuse to write.
	ReadOnly bool
	// Clock is for waits on the disk and on other processes; nil is the system
	// clock. A clock that stands still would make them wait for ever.
	Clock clock.Clock
}

// Store is a folder of key documents. It is safe for concurrent use by
// goroutines and, through a lock file, by Latchkey processes. A stock host takes
// no lock; a write of its that comes between is noticed up to the last moment
// before ours is put in place.
type Store struct {
	cfg  Config
	lock *atomicfile.Lock
	read func(path string) ([]byte, error) // readFile but for tests
}

var (
	_ keystore.Store        = (*Store)(nil)
	_ keystore.Watcher      = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// New gives the store in a folder, which need not exist. It touches nothing.
func New(cfg Config) *Store {
	cfg.Dir = filepath.Clean(cfg.Dir)
	if cfg.Codec == nil {
		cfg.Codec = codec.New(codec.Config{})
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	return &Store{cfg: cfg, lock: atomicfile.NewLock(filepath.Join(cfg.Dir, lockFile)), read: readFile}
}

// Load implements [keystore.Store].
func (s *Store) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	f, err := s.find(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	if !f.exists {
		return keystore.Document{}, "", keystore.Missing(doc, s.String())
	}
	d, err := s.decode(doc, f)
	if err != nil {
		return keystore.Document{}, "", err
	}
	return d, f.revision(), nil
}

// Update implements [keystore.Store]. The change runs with the folder's lock
// held, so it must not call the store.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	defer release()
	for range maxAttempts {
		d, rev, err := s.attempt(ctx, doc, change)
		if !errors.Is(err, errRaced) {
			return d, rev, err
		}
	}
	return keystore.Document{}, "", problem.New(keystore.ErrConflict,
		fmt.Sprintf("%s kept changing while it was being updated", s.path(doc)))
}

// errRaced says that somebody who takes no lock wrote first.
var errRaced = errors.New("the file changed")

func (s *Store) attempt(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	old, err := s.find(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	d, err := s.decode(doc, old)
	if err != nil {
		return keystore.Document{}, "", err
	}
	if d, err = change(d, old.exists); err != nil {
		return keystore.Document{}, "", keystore.Refused(doc, err)
	}
	data, d, err := s.cfg.Codec.Encode(doc, d)
	if err != nil {
		return keystore.Document{}, "", fmt.Errorf("%s: %w", s.path(doc), err)
	}
	if len(data) > maxFile {
		return keystore.Document{}, "", problem.New(keystore.ErrInvalid, fmt.Sprintf("%s would be larger than %d bytes", s.path(doc), maxFile)).
			WithNext("delete keys that nobody uses")
	}
	if err := s.replace(ctx, doc, old, data); err != nil {
		return keystore.Document{}, "", err
	}
	return d, revision(data), nil
}

// replace puts data in old's place unless old is no longer what is there.
func (s *Store) replace(ctx context.Context, doc keystore.Doc, old file, data []byte) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	staged, err := atomicfile.Stage(s.path(doc), data)
	if err != nil {
		return s.writeError(doc, err)
	}
	defer staged.Discard()
	now, err := s.find(ctx, doc)
	if err != nil {
		return err
	}
	if !now.same(old) {
		return errRaced
	}
	if old.exists && old.path == s.path(doc) {
		return s.placed(doc, staged.Replace())
	}
	if err := s.placed(doc, staged.Create()); err != nil {
		return err
	}
	s.retire(doc, old)
	return nil
}

// placed sorts out how putting a file in place went.
func (s *Store) placed(doc keystore.Doc, err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return errRaced // somebody else made the file, or took the folder away
	}
	return s.writeError(doc, err)
}

// retire removes the mixed-case file whose content now lives under the
// lower-case name. Where names ignore case the two are one file, which stays.
// Failing is harmless: the lower-case name is the one that counts.
func (s *Store) retire(doc keystore.Doc, old file) {
	was, err := os.Lstat(old.path)
	if !old.exists || err != nil {
		return
	}
	if is, err := os.Lstat(s.path(doc)); err != nil || os.SameFile(was, is) {
		return
	}
	if atomicfile.Remove(old.path) == nil {
		_ = atomicfile.SyncDir(s.cfg.Dir)
	}
}

// Delete implements [keystore.Store]. It removes every spelling of the name, so
// that an older file does not come to life.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error {
	return s.delete(ctx, doc, func() error { return nil })
}

// DeleteAt implements [keystore.ExactDeleter], for documents too that cannot be
// understood. A write of somebody who takes no lock is noticed up to the last moment
// before the removal.
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return s.delete(ctx, doc, func() error {
		now, err := s.find(ctx, doc)
		switch {
		case err != nil:
			return err
		case !now.exists:
			return keystore.Missing(doc, s.String())
		case now.revision() != rev:
			return keystore.ChangedSince(doc, s.String())
		}
		return nil
	})
}

// delete removes a document that allowed, with the lock held, has nothing against.
func (s *Store) delete(ctx context.Context, doc keystore.Doc, allowed func() error) error {
	if err := check(ctx, doc); err != nil {
		return err
	}
	if _, err := os.Stat(s.cfg.Dir); errors.Is(err, fs.ErrNotExist) && !s.cfg.ReadOnly {
		return keystore.Missing(doc, s.String())
	}
	release, err := s.begin(ctx, doc)
	if err != nil {
		return err
	}
	defer release()
	names, err := s.spellings(doc)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return keystore.Missing(doc, s.String())
	}
	if err := allowed(); err != nil {
		return err
	}
	// The spelling in use goes last: until then nothing has changed.
	for _, name := range slices.Backward(names) {
		if err := atomicfile.Remove(filepath.Join(s.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s.writeError(doc, err)
		}
	}
	return s.writeError(doc, atomicfile.SyncDir(s.cfg.Dir))
}

// List implements [keystore.Store].
func (s *Store) List(ctx context.Context) ([]keystore.Doc, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	docs := make([]keystore.Doc, 0, len(names))
	for _, name := range names {
		if doc, ok := docOf(name); ok {
			docs = append(docs, doc)
		}
	}
	slices.Sort(docs)
	return slices.Compact(docs), nil
}

// Capabilities implements [keystore.Store].
func (s *Store) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{ReadOnly: s.cfg.ReadOnly, Metadata: true}
}

// String implements [keystore.Store].
func (s *Store) String() string { return "files " + s.cfg.Dir }

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}

// begin readies the folder for a write: it exists, it is ours alone, and what
// dead writers left in it is gone.
func (s *Store) begin(ctx context.Context, doc keystore.Doc) (release func(), err error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	if s.cfg.ReadOnly {
		return nil, problem.New(keystore.ErrReadOnly, s.String()+" is read-only")
	}
	if err := atomicfile.MakeDir(s.cfg.Dir); err != nil {
		return nil, s.writeError(doc, err)
	}
	release, err = s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	_ = atomicfile.Sweep(s.cfg.Dir, isDoc) // leftovers do no harm, so failing to remove them doesn't either
	return release, nil
}

func (s *Store) acquire(ctx context.Context) (func(), error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := s.cfg.Clock.NewTimer(lockWait)
	defer timer.Stop()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-timer.C():
			cancel(nil)
		case <-stop:
		}
	}()
	release, err := s.lock.Acquire(limited)
	if err == nil {
		return release, nil
	}
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	if limited.Err() != nil {
		return nil, problem.New(keystore.ErrUnavailable, "another process holds the lock of "+s.String()).
			WithNext("see which process has " + filepath.Join(s.cfg.Dir, lockFile) + " open")
	}
	return nil, s.writeError("", err)
}

// writeError sorts out why a write failed; nil stays nil.
func (s *Store) writeError(doc keystore.Doc, err error) error {
	where := s.cfg.Dir
	if doc != "" {
		where = s.path(doc)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return problem.Wrap(keystore.ErrReadOnly, where+" cannot be written", err)
	default:
		return problem.Wrap(keystore.ErrUnavailable, where+" cannot be written", err)
	}
}

func (s *Store) decode(doc keystore.Doc, f file) (keystore.Document, error) {
	if !f.exists {
		return keystore.Document{}, nil
	}
	d, err := s.cfg.Codec.Decode(doc, f.data)
	if err != nil {
		return keystore.Document{}, fmt.Errorf("%s: %w", f.path, err)
	}
	return d, nil
}

func (s *Store) path(doc keystore.Doc) string {
	return filepath.Join(s.cfg.Dir, string(doc)+extension)
}

func revision(data []byte) keystore.Revision {
	sum := sha256.Sum256(data)
	return keystore.Revision(hex.EncodeToString(sum[:]))
}

// docOf gives the document a file name stands for. Snapshots of the stock host
// ("host.snapshot.{time}.json") and everything else with a name no function can
// have are not documents.
func docOf(name string) (keystore.Doc, bool) {
	base, ok := strings.CutSuffix(strings.ToLower(name), extension)
	return keystore.Doc(base), ok && keystore.CheckDoc(keystore.Doc(base)) == nil
}

func isDoc(name string) bool {
	_, ok := docOf(name)
	return ok
}
