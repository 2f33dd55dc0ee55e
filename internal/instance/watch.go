package instance

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
)

// settle is how long the files must be quiet before a change counts
// (runtime §13); editors and builds write in bursts.
const settleTime = 500 * time.Millisecond

// maxWatched bounds the folders watched below watchDirectories.
const maxWatched = 10_000

// watch notices changes of files that call for a restart. Its goroutine ends
// with close.
type watch struct {
	root    string
	changes chan string // one pending reason; nil-safe when nothing is watched
	notify  *fsnotify.Watcher
	clock   clock.Clock
	ended   chan struct{}

	mu         sync.Mutex
	folders    map[string]bool // top-level folders known
	files      map[string]bool // lower-cased names that count anywhere
	trees      map[string]bool // top-level folders in which everything counts
	executable string
}

func newWatch(i *Instance) *watch {
	w := &watch{root: i.cfg.Root, changes: make(chan string, 1), clock: i.cfg.Clock, folders: map[string]bool{}}
	if !i.cfg.Watch {
		return w
	}
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		err = notify.Add(w.root)
	}
	if err != nil {
		i.cfg.Log.Warn("files are not watched; restart the app by hand after changes", "reason", err)
		return w
	}
	w.notify, w.ended = notify, make(chan struct{})
	go w.run()
	return w
}

func (w *watch) close() {
	if w.notify != nil {
		_ = w.notify.Close()
		<-w.ended
	}
}

// follow sets what counts as a change for app.
func (w *watch) follow(app *funcapp.App) {
	if w.notify == nil {
		return
	}
	w.mu.Lock()
	w.files = map[string]bool{}
	for _, f := range app.Host.WatchFiles {
		w.files[strings.ToLower(f)] = true
	}
	w.trees = map[string]bool{}
	for _, d := range app.Host.WatchDirectories {
		w.trees[strings.ToLower(d)] = true
	}
	w.executable = executableOf(app)
	w.mu.Unlock()
	w.addFolders()
	if w.executable != "" {
		_ = w.notify.Add(filepath.Dir(w.executable))
	}
}

// executableOf gives the handler's own file if it lies in the app folder, so
// that a new build is picked up.
func executableOf(app *funcapp.App) string {
	ch := app.Host.CustomHandler
	if ch == nil {
		return ""
	}
	if p := filepath.Join(app.Root, ch.Executable); !filepath.IsAbs(ch.Executable) {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	if _, err := exec.LookPath(ch.Executable); err != nil {
		return filepath.Join(app.Root, ch.Executable) // it may yet be built
	}
	return ""
}

// addFolders watches every top-level folder and the trees that count whole.
// Folders that cannot be watched are left out: the root's own events remain.
func (w *watch) addFolders() {
	entries, err := os.ReadDir(w.root)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && !ignored(e.Name()) {
			w.addFolder(e.Name())
		}
	}
}

func (w *watch) addFolder(name string) {
	w.mu.Lock()
	w.folders[name] = true
	whole := w.trees[strings.ToLower(name)]
	w.mu.Unlock()
	path := filepath.Join(w.root, name)
	_ = w.notify.Add(path)
	if whole {
		w.addTree(path)
	}
}

func (w *watch) addTree(root string) {
	n := 0
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || n > maxWatched {
			return filepath.SkipAll
		}
		if d.IsDir() {
			n++
			_ = w.notify.Add(path)
		}
		return nil
	})
}

// ignored names folders that are never part of an app: hidden ones, this
// host's own data folder among them.
func ignored(name string) bool { return strings.HasPrefix(name, ".") }

// run collects events until the files have been quiet for settleTime.
func (w *watch) run() {
	defer close(w.ended)
	var (
		reason string
		quiet  clock.Timer
		fired  <-chan time.Time
	)
	for {
		select {
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if r := w.counts(ev); r != "" {
				if quiet != nil {
					quiet.Stop()
				}
				reason, quiet = r, w.clock.NewTimer(settleTime)
				fired = quiet.C()
			}
		case _, ok := <-w.notify.Errors: // overflow: something changed, we can't say what
			if !ok {
				return
			}
			w.tell("files changed")
		case <-fired:
			fired, quiet = nil, nil
			w.tell(reason)
		}
	}
}

func (w *watch) tell(reason string) {
	select {
	case w.changes <- reason:
	default:
	}
}

// counts gives the reason for a restart if ev is one.
func (w *watch) counts(ev fsnotify.Event) string {
	if ev.Op == fsnotify.Chmod {
		return ""
	}
	rel, err := filepath.Rel(w.root, ev.Name)
	if err != nil || rel == "." {
		return ""
	}
	if w.matches(rel, ev) {
		return filepath.ToSlash(rel) + " changed"
	}
	return ""
}

func (w *watch) matches(rel string, ev fsnotify.Event) bool {
	parts := strings.Split(rel, string(filepath.Separator))
	name := strings.ToLower(parts[len(parts)-1])
	w.mu.Lock()
	byName := w.files[name] || w.trees[strings.ToLower(parts[0])] || ev.Name == w.executable
	w.mu.Unlock()
	switch {
	case byName:
		return true
	case len(parts) == 1:
		return rootFile(name) || w.folderChanged(parts[0], ev)
	case len(parts) == 2:
		return name == "function.json" || (name == ".package-lock.json" && parts[0] == "node_modules")
	}
	return false
}

func rootFile(name string) bool {
	switch name {
	case "host.json", "local.settings.json", "proxies.json", offlineFile:
		return true
	}
	return false
}

// folderChanged reports whether a top-level folder came or went.
func (w *watch) folderChanged(name string, ev fsnotify.Event) bool {
	if ignored(name) {
		return false
	}
	if info, err := os.Stat(ev.Name); err == nil {
		if !info.IsDir() || !ev.Has(fsnotify.Create) {
			return false
		}
		w.addFolder(name)
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.folders[name]
	delete(w.folders, name)
	return known
}
