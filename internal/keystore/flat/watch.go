package flat

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// settle is how long events are collected before they are passed on: one change
// of a volume makes several.
const settle = 50 * time.Millisecond

// Watch calls changed after anything in the folder changed, until ctx ends, with
// the kernel's notifications. The folder may come into being, go and come back
// meanwhile. It is the folder's half of [keystore.Watcher], with the same promises.
func (f Folder) Watch(ctx context.Context, c clock.Clock, changed func()) (done <-chan struct{}, err error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return nil, f.unwatched(err)
	}
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, f.unwatched(err)
	}
	w := &watch{fw: fw, dir: dir, clock: c, changed: changed}
	if err := w.attach(); err != nil {
		_ = fw.Close()
		return nil, f.unwatched(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = fw.Close() }()
		w.run(ctx)
	}()
	return ended, nil
}

func (f Folder) unwatched(err error) error {
	return problem.Wrap(keystore.ErrUnavailable, f.Dir+" cannot be watched", err)
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	fw      *fsnotify.Watcher
	dir     string
	clock   clock.Clock
	changed func()
}

// attach watches the folder, or the nearest existing one above it, and that
// one's parent, where it shows when the name comes to mean another folder. It
// looks again until nothing came into being meanwhile. Adding a folder twice is
// harmless.
func (w *watch) attach() error {
	for {
		at := nearest(w.dir)
		err := w.fw.Add(at)
		_ = w.fw.Add(filepath.Dir(at)) // without it only a link put elsewhere goes unnoticed
		if nearest(w.dir) == at {
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
		fresh := false
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
			fresh = w.note(e)
		case _, ok := <-w.fw.Errors:
			if !ok {
				return
			}
			fresh = true // events were lost
		case <-due:
			timer, due = nil, nil
			if ctx.Err() == nil {
				w.changed()
			}
		}
		if fresh && timer == nil {
			timer = w.clock.NewTimer(settle)
			due = timer.C()
		}
	}
}

// note reports whether an event is about the folder: something in it, itself or
// one above it.
func (w *watch) note(e fsnotify.Event) bool {
	if filepath.Dir(e.Name) == w.dir {
		return true
	}
	if e.Name != w.dir && !strings.HasPrefix(w.dir, e.Name+string(filepath.Separator)) {
		return false
	}
	_ = w.attach() // what cannot be watched now is tried at the next event
	return true
}
