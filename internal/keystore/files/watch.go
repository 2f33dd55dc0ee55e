package files

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// settle is how long events are collected before they are passed on: one write
// makes several.
const settle = 50 * time.Millisecond

// mountedData is the link that Kubernetes swaps to change all files of a
// mounted volume at once.
const mountedData = "..data"

// Watch implements [keystore.Watcher] with the kernel's notifications. The
// folder may come into being, go and come back meanwhile. Network file systems
// don't tell of changes made on other machines.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, problem.Wrap(keystore.ErrUnavailable, s.cfg.Dir+" cannot be watched", err)
	}
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		dir = s.cfg.Dir
	}
	w := &watch{fw: fw, dir: dir, clock: s.cfg.Clock, changed: changed, pending: map[keystore.Doc]struct{}{}}
	if err := w.attach(); err != nil {
		_ = fw.Close()
		return nil, problem.Wrap(keystore.ErrUnavailable, s.cfg.Dir+" cannot be watched", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = fw.Close() }()
		w.run(ctx)
	}()
	return done, nil
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	fw      *fsnotify.Watcher
	dir     string
	clock   clock.Clock
	changed func(keystore.Doc)
	here    bool // dir exists and is watched
	pending map[keystore.Doc]struct{}
}

// attach watches the folder, or the nearest existing one above it, and that
// one's parent, where it shows when the name comes to mean another folder. It looks again until
// nothing came into being meanwhile. Adding a folder twice is harmless.
func (w *watch) attach() error {
	for {
		at := nearest(w.dir)
		err := w.fw.Add(at)
		_ = w.fw.Add(filepath.Dir(at)) // without it only a link put elsewhere goes unnoticed
		if nearest(w.dir) == at {
			w.here = at == w.dir && err == nil
			return err
		}
	}
}

// nearest gives dir or the nearest folder above it that exists.
func nearest(dir string) string {
	for {
		up := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || up == dir {
			return dir
		}
		dir = up
	}
}

func (w *watch) run(ctx context.Context) {
	var timer clock.Timer
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			if timer != nil {
				timer.Stop()
			}
			return
		case e, ok := <-w.fw.Events:
			if !ok {
				return
			}
			w.note(e)
		case _, ok := <-w.fw.Errors:
			if !ok {
				return
			}
			w.pending[""] = struct{}{} // events were lost
		case <-due:
			timer, due = nil, nil
			w.flush(ctx)
		}
		if timer == nil && len(w.pending) > 0 {
			timer = w.clock.NewTimer(settle)
			due = timer.C()
		}
	}
}

// note sorts an event: a document, the folder or one above it, or nothing.
func (w *watch) note(e fsnotify.Event) {
	if filepath.Dir(e.Name) == w.dir {
		if filepath.Base(e.Name) == mountedData {
			w.pending[""] = struct{}{}
		}
		if doc, ok := docOf(filepath.Base(e.Name)); ok && e.Op != fsnotify.Chmod {
			w.pending[doc] = struct{}{}
		}
		return
	}
	if e.Name != w.dir && !strings.HasPrefix(w.dir, e.Name+string(filepath.Separator)) {
		return
	}
	was, swapped := w.here, e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0
	_ = w.attach() // what cannot be watched now is tried at the next event
	if was != w.here || swapped {
		w.pending[""] = struct{}{}
	}
}

// flush passes on what has gathered. Changes of the folder stand for all of its
// documents.
func (w *watch) flush(ctx context.Context) {
	docs := slices.Sorted(maps.Keys(w.pending))
	clear(w.pending)
	if len(docs) > 0 && docs[0] == "" {
		docs = docs[:1]
	}
	for _, doc := range docs {
		if ctx.Err() != nil {
			return
		}
		w.changed(doc)
	}
}
