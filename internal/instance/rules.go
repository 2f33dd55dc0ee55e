package instance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/funcapp"
)

const nodeModules = "node_modules"

// offlineChanged is the reason for a restart that the offline file gives.
const offlineChanged = offlineFile + " changed"

// rules say which changes of files call for a restart (runtime §13).
type rules struct {
	files      map[string]bool // lower-cased names that count anywhere
	trees      map[string]bool // lower-cased top-level folders in which everything counts
	extensions map[string]bool // lower-cased, of files that count anywhere
	executable string          // the handler's own file, "" if it is not the app's
}

func rulesOf(app *funcapp.App, extensions []string) rules {
	r := rules{files: map[string]bool{}, trees: map[string]bool{}, extensions: map[string]bool{}, executable: executableOf(app)}
	for _, e := range extensions {
		r.extensions[strings.ToLower(e)] = true
	}
	for _, f := range app.Host.WatchFiles {
		r.files[strings.ToLower(f)] = true
	}
	for _, d := range app.Host.WatchDirectories {
		r.trees[strings.ToLower(d)] = true
	}
	return r
}

// depth says how far below a top-level folder files are watched.
type depth uint8

const (
	onlyTop depth = iota // the folder's own files
	named                // the folders that may hold a file of watchFiles
	whole                // all folders
)

func (r *rules) depth(folder string) depth {
	switch {
	case r.trees[strings.ToLower(folder)]:
		return whole
	case len(r.files)+len(r.extensions) > 0 && folder != nodeModules:
		return named
	}
	return onlyTop
}

// executableOf gives the handler's own file if it lies in the app folder, so
// that a new build is picked up, also one that is still to come.
func executableOf(app *funcapp.App) string {
	ch := app.Host.CustomHandler
	if ch == nil || ch.Executable == "" {
		return ""
	}
	candidates := []string{ch.Executable}
	if !filepath.IsAbs(ch.Executable) {
		candidates = []string{below(app.Root, ch.WorkerDirectory, ch.Executable), below(app.Root, ch.Executable)}
	}
	for _, p := range candidates {
		if _, err := os.Stat(p); err == nil {
			return within(app.Root, p)
		}
	}
	if _, err := exec.LookPath(ch.Executable); err == nil {
		return ""
	}
	return within(app.Root, candidates[len(candidates)-1])
}

// below joins a path to root; a part that is absolute starts anew.
func below(root string, parts ...string) string {
	for _, p := range parts {
		if filepath.IsAbs(p) {
			root = filepath.Clean(p)
		} else {
			root = filepath.Join(root, p)
		}
	}
	return root
}

// within gives path if it lies in root, else "".
func within(root, path string) string {
	if rel, err := filepath.Rel(root, path); err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return path
}

// follow sets what counts as a change for app, whose scripts have the extensions.
func (w *watch) follow(app *funcapp.App, extensions []string) {
	if w.notify == nil {
		return
	}
	r := rulesOf(app, extensions)
	w.mu.Lock()
	w.rules = r
	w.mu.Unlock()
	w.look() // the rules may ask for deeper folders
	if r.executable != "" {
		w.add(filepath.Dir(r.executable))
	}
}

// reason gives the reason for a restart if ev is one, else "".
func (w *watch) reason(ev fsnotify.Event) string {
	rel, err := filepath.Rel(w.root, ev.Name)
	switch {
	case err != nil:
		return ""
	case rel == "." && gone(ev):
		return "the app folder was replaced"
	case rel == "." || !w.counts(rel, ev):
		return ""
	}
	return filepath.ToSlash(rel) + " changed"
}

// counts applies the rules to one event. The handler's file counts also when its
// mode changes, for it may have become executable, but not when it goes away:
// the build that replaces it is still to come.
func (w *watch) counts(rel string, ev fsnotify.Event) bool {
	w.mu.Lock()
	rules := w.rules
	w.mu.Unlock()
	parts := strings.Split(rel, string(filepath.Separator))
	top, name := parts[0], strings.ToLower(parts[len(parts)-1])
	switch {
	case ev.Name == rules.executable && !gone(ev):
		return true
	case ev.Op == fsnotify.Chmod || (len(parts) > 1 && ignored(top)):
		return false
	case rules.extensions[filepath.Ext(name)] && top != nodeModules:
		return true
	case len(parts) == 1:
		return rules.files[name] || rootFile(name) || w.folderChanged(top, ev)
	}
	if d := rules.depth(top); d != onlyTop && ev.Has(fsnotify.Create) {
		w.addTree(ev.Name, d)
	}
	return rules.files[name] || rules.trees[strings.ToLower(top)] || (len(parts) == 2 && functionFile(top, name))
}

func gone(ev fsnotify.Event) bool { return ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename) }

func rootFile(name string) bool {
	switch name {
	case "host.json", "local.settings.json", "proxies.json", offlineFile:
		return true
	}
	return false
}

// functionFile names the files that count in a top-level folder; of the packages
// it is the file that their installation writes last.
func functionFile(folder, name string) bool {
	return name == "function.json" || (folder == nodeModules && name == ".package-lock.json")
}

// folderChanged reports whether a top-level folder came or went.
func (w *watch) folderChanged(name string, ev fsnotify.Event) bool {
	if ignored(name) {
		return false
	}
	if info, err := os.Stat(ev.Name); err == nil && info.IsDir() {
		if ev.Has(fsnotify.Create) {
			w.addFolder(name)
		}
		return ev.Has(fsnotify.Create)
	}
	w.mu.Lock()
	known := w.folders[name]
	delete(w.folders, name)
	w.mu.Unlock()
	if known {
		w.forget(ev.Name)
	}
	return known
}
