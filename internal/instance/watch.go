package instance

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/clock"
)

// settleTime is how long the files must be quiet before a change counts
// (runtime §13); editors and builds write in bursts.
const settleTime = 500 * time.Millisecond

// maxWatched bounds the folders watched below one top-level folder.
const maxWatched = 10_000

// watch notices changes of files that call for a restart and asks for it. Its
// goroutines end with close. Without notify it watches nothing.
type watch struct {
	root     string
	clock    clock.Clock
	ask      func(reason string) // asks for a restart
	moot     func() bool         // the offline file has already been dealt with
	notify   *fsnotify.Watcher
	lost     chan struct{} // something changed, we can't say what
	log      *slog.Logger
	complain sync.Once
	ended    sync.WaitGroup

	mu sync.Mutex
	rules
	folders map[string]bool // top-level folders known
}

func newWatch(i *Instance) *watch {
	w := &watch{
		root: i.cfg.Root, clock: i.cfg.Clock, ask: i.Restart, moot: i.offlineSettled,
		lost: make(chan struct{}, 1), folders: map[string]bool{}, log: i.cfg.Log,
	}
	if !i.cfg.Watch {
		return w
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		i.cfg.Log.Warn("files are not watched; restart the app by hand after changes", "reason", err)
		return w
	}
	w.notify = notify
	w.ended.Go(w.run)
	w.ended.Go(w.hearErrors)
	return w
}

func (w *watch) close() {
	if w.notify != nil {
		_ = w.notify.Close()
		w.ended.Wait()
	}
}

// add watches one folder. The first that cannot be watched is reported; the usual
// reason, a limit of the system, holds for the rest as well.
func (w *watch) add(folder string) {
	err := w.notify.Add(folder)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsnotify.ErrClosed) {
		return
	}
	w.complain.Do(func() {
		w.log.Warn("not all files are watched; restart the app by hand after changes", "folder", folder, "reason", err)
	})
}

// look watches the root, which may have been replaced, and its folders.
func (w *watch) look() {
	if w.notify == nil {
		return
	}
	w.add(w.root)
	entries, err := os.ReadDir(w.root)
	if err != nil {
		return
	}
	for _, e := range entries {
		if isFolder(w.root, e) && !ignored(e.Name()) {
			w.addFolder(e.Name())
		}
	}
}

// isFolder reports whether e is a folder or a link to one.
func isFolder(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && info.IsDir()
}

func (w *watch) addFolder(name string) {
	w.mu.Lock()
	w.folders[name] = true
	depth := w.depth(name)
	w.mu.Unlock()
	path := filepath.Join(w.root, name)
	w.add(path)
	if depth != onlyTop {
		w.addTree(path, depth)
	}
}

// addTree watches the folders below root.
func (w *watch) addTree(root string, d depth) {
	n := 0
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || !e.IsDir():
			return nil
		case n >= maxWatched:
			return filepath.SkipAll
		case d == named && (ignored(e.Name()) || e.Name() == nodeModules):
			return filepath.SkipDir
		}
		n++
		w.add(path)
		return nil
	})
}

// forget ends the watches of a folder that went away and of all below it. A
// folder that was only renamed would else go on being reported under its old name.
func (w *watch) forget(folder string) {
	for _, path := range w.notify.WatchList() {
		if within(folder, path) != "" {
			_ = w.notify.Remove(path) // the kernel may have been faster
		}
	}
}

// hearErrors keeps fsnotify from waiting for somebody to read an error, which it
// does with its lock held. An overflow means that changes were missed.
func (w *watch) hearErrors() {
	for range w.notify.Errors {
		select {
		case w.lost <- struct{}{}:
		default:
		}
	}
}

// run collects events until the files have been quiet for settleTime.
func (w *watch) run() {
	var b burst
	defer b.stop()
	for {
		select {
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if reason := w.reason(ev); reason != "" {
				b.add(w.clock, reason)
			}
		case <-w.lost:
			b.add(w.clock, "files changed")
		case <-b.quiet():
			w.tell(b.reason)
			b = burst{}
		}
	}
}

// tell asks for a restart, unless it would change nothing.
func (w *watch) tell(reason string) {
	if reason == offlineChanged && w.moot() {
		w.log.Debug("nothing to do", "reason", reason)
		return
	}
	w.ask(reason)
}

// burst is a run of events that belong together.
type burst struct {
	timer  clock.Timer // nil when there were none
	reason string      // the newest; the offline file only if there was nothing else
}

func (b *burst) add(c clock.Clock, reason string) {
	b.stop()
	b.timer = c.NewTimer(settleTime)
	if reason != offlineChanged || b.reason == "" {
		b.reason = reason
	}
}

func (b *burst) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

func (b *burst) quiet() <-chan time.Time {
	if b.timer == nil {
		return nil
	}
	return b.timer.C()
}

// ignored names folders that are never part of an app: hidden ones, this
// host's own data folder among them.
func ignored(name string) bool { return strings.HasPrefix(name, ".") }
