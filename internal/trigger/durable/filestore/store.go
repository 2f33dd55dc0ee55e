// Package filestore keeps orchestrations in files of a folder, one each, for one
// host at a time. It does not know what they mean, and sets no budget: the folder
// belongs to whoever runs the one app.
package filestore

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Store implements [instances.Store].
type Store struct {
	dir   string
	locks [64]sync.RWMutex // of instances, by their name
	ended sync.Map         // ids of instances seen to have ended; written with the lock held
}

var _ instances.Store = (*Store)(nil)

const suffix = ".json"

// maxFile is more than any instance has.
const maxFile = 2 * instances.MaxBytes

// New makes a store in a folder, which is made when first needed.
func New(dir string) *Store { return &Store{dir: dir} }

// name gives the file of an instance. Names of files are bounded, so that those of
// long ids are in folders.
func (s *Store) path(id string) string {
	name := hex.EncodeToString([]byte(id))
	path := s.dir
	for len(name) > maxName {
		path, name = filepath.Join(path, name[:maxName]+".more"), name[maxName:]
	}
	return filepath.Join(path, name+suffix)
}

const maxName = 200

func (s *Store) lock(id string) *sync.RWMutex {
	var h uint32
	for i := range len(id) {
		h = h*31 + uint32(id[i])
	}
	return &s.locks[h%uint32(len(s.locks))]
}

// Get implements [instances.Store].
func (s *Store) Get(_ context.Context, id string) (*instances.Instance, error) {
	if err := instances.CheckID(id); err != nil {
		return nil, err
	}
	l := s.lock(id)
	l.RLock()
	defer l.RUnlock()
	i, err := s.read(s.path(id))
	if err == nil {
		s.seen(id, i)
	}
	if err == nil && i == nil {
		return nil, problem.New(problem.NotFound, "there is no such instance")
	}
	return i, err
}

// read gives what a file holds; nil when there is none.
func (s *Store) read(path string) (*instances.Instance, error) {
	data, err := atomicfile.Read(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, problem.Wrap(problem.Unavailable, "an orchestration cannot be read", err)
	}
	i, err := instances.Decode(data)
	if err != nil {
		return nil, problem.Wrap(problem.Undecryptable, "the file "+path, err)
	}
	return i, nil
}

// Update implements [instances.Store].
func (s *Store) Update(ctx context.Context, id string, change instances.Change) (*instances.Instance, error) {
	if err := instances.CheckID(id); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, problem.Wrap(problem.Timeout, "the orchestration was not changed", err)
	}
	l := s.lock(id)
	l.Lock()
	defer l.Unlock()
	path := s.path(id)
	old, err := s.read(path)
	if err != nil {
		return nil, err
	}
	changed, err := change(old)
	switch {
	case errors.Is(err, instances.ErrKeep):
		return old, nil
	case err != nil:
		return nil, err
	case changed == nil && old == nil:
		return nil, nil
	case changed == nil:
		s.seen(id, nil)
		return nil, written(atomicfile.Remove(path))
	}
	data, err := instances.Encode(changed)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(path, data); err != nil {
		s.seen(id, nil)
		return changed, written(err)
	}
	s.seen(id, changed)
	return changed, nil
}

// seen remembers whether an instance has ended; nil: it is not known. The
// instance's lock is held.
func (s *Store) seen(id string, i *instances.Instance) {
	if i != nil && i.Status.Final() {
		s.ended.Store(id, nil)
	} else {
		s.ended.Delete(id)
	}
}

// Unfinished implements [instances.Store].
func (s *Store) Unfinished(ctx context.Context) ([]string, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, id := range names {
		if _, ended := s.ended.Load(id); ended {
			continue
		}
		i, err := s.Get(ctx, id)
		switch {
		case errors.Is(err, problem.NotFound):
		case err != nil && !errors.Is(err, problem.Undecryptable):
			return nil, err
		case err != nil || !i.Status.Final():
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func written(err error) error {
	if err == nil {
		return nil
	}
	return problem.Wrap(problem.Unavailable, "an orchestration cannot be written", err)
}

// List implements [instances.Store].
func (s *Store) List(ctx context.Context, after string, limit int) ([]*instances.Instance, bool, error) {
	names, err := s.names()
	if err != nil {
		return nil, false, err
	}
	at, found := slices.BinarySearch(names, after)
	if found {
		at++
	}
	var list []*instances.Instance
	for _, id := range names[at:] {
		if limit > 0 && len(list) == limit {
			return list, true, nil
		}
		i, err := s.Get(ctx, id)
		if errors.Is(err, problem.NotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, false, err
		}
		list = append(list, i)
	}
	return list, false, nil
}

// names gives the ids of all instances, in order.
func (s *Store) names() ([]string, error) {
	var ids []string
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if id, ok := s.id(path); ok {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "orchestrations cannot be listed", err)
	}
	slices.Sort(ids)
	return ids, nil
}

// id gives the instance of a file; ok is false for other files.
func (s *Store) id(path string) (id string, ok bool) {
	rel, err := filepath.Rel(s.dir, path)
	if err != nil || !strings.HasSuffix(rel, suffix) {
		return "", false
	}
	rel = strings.TrimSuffix(filepath.ToSlash(rel), suffix)
	text, err := hex.DecodeString(strings.ReplaceAll(rel, ".more/", ""))
	return string(text), err == nil
}
