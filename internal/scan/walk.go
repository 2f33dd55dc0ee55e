package scan

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/problem"
)

// root is a path to scan: how the user calls it and what it stands for.
type root struct {
	show string
	open string // absolute, without symbolic links
	dir  bool
}

// resolve finds the roots and drops those that lie in another one, so that
// nothing is reported twice.
func resolve(paths []string) ([]root, error) {
	var roots []root
	for _, p := range paths {
		r, err := resolveOne(p)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	var kept []root
	for i, r := range roots {
		if !covered(r, i, roots) {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

func resolveOne(path string) (root, error) {
	open, err := filepath.EvalSymlinks(path)
	if err == nil {
		open, err = filepath.Abs(open)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(open)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return root{}, problem.Wrap(problem.NotFound, "nothing to scan at "+azfkey.Redact(path), fs.ErrNotExist).WithNext("check the path")
	case err != nil:
		return root{}, problem.Wrap(problem.Unavailable, "cannot scan "+azfkey.Redact(path), withoutPath(err))
	}
	return root{show: filepath.Clean(path), open: open, dir: info.IsDir()}, nil
}

// covered reports whether another root contains roots[i], or an earlier one is
// the same.
func covered(r root, i int, roots []root) bool {
	for j, o := range roots {
		if r.open == o.open && j < i {
			return true
		}
		prefix := strings.TrimSuffix(o.open, string(filepath.Separator)) + string(filepath.Separator)
		if r.open != o.open && o.dir && strings.HasPrefix(r.open, prefix) {
			return true
		}
	}
	return false
}

func (s *scanner) walk(ctx context.Context, r root) error {
	return filepath.WalkDir(r.open, func(path string, d fs.DirEntry, err error) error {
		show := r.show + strings.TrimPrefix(path, r.open)
		if r.open == string(filepath.Separator) {
			show = filepath.Join(r.show, path)
		}
		if r.show == "." && path != r.open {
			show = strings.TrimPrefix(show, "."+string(filepath.Separator))
		}
		return s.visit(ctx, path, show, path == r.open, d, err)
	})
}

// visit decides about one directory entry. WalkDir reports a folder it cannot
// read by a second visit, with the error.
func (s *scanner) visit(ctx context.Context, path, show string, isRoot bool, d fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return s.note(ctx, show, event{err: err})
	case d.IsDir() && d.Name() == ".git" && !isRoot && !s.opts.Git:
		return fs.SkipDir
	case d.IsDir():
		return ctx.Err()
	case d.Type()&fs.ModeSymlink != 0:
		return s.note(ctx, show, event{skipped: skippedLink})
	case !d.Type().IsRegular():
		return s.note(ctx, show, event{skipped: skippedSpecial})
	}
	j := &job{show: show, open: path, events: make(chan event, 16)}
	if err := s.put(ctx, s.order, j); err != nil {
		return err
	}
	return s.put(ctx, s.todo, j)
}

// note queues an event that needs no reading.
func (s *scanner) note(ctx context.Context, show string, e event) error {
	j := &job{show: show, events: make(chan event, 1)}
	j.events <- e
	close(j.events)
	return s.put(ctx, s.order, j)
}

func (s *scanner) put(ctx context.Context, queue chan<- *job, j *job) error {
	select {
	case queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
