package server

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
)

// oldestNode is the first major version of Node.js that the library of current
// apps runs on; versionTime is how long a program may take to tell its version.
const (
	oldestNode  = 20
	versionTime = 10 * time.Second
)

// runtime finds out whether there is a language worker for the app, and the
// program it runs on.
func (e *examination) runtime(ctx context.Context) {
	language, err := hosted.LanguageOf(e.model)
	if err != nil {
		e.fail(checkRuntime, err, "")
		return
	}
	executable, where, err := e.worker(language)
	if err != nil {
		e.fail(checkRuntime, err, "")
		return
	}
	path, err := e.program(executable)
	if err != nil {
		e.fail(checkRuntime, problem.New(problem.NotFound, "the "+language+" worker ("+where+") needs the program "+strconv.Quote(executable)+", which is not on PATH"),
			"install it, or set languageWorkers__"+language+"__defaultExecutablePath to its path")
		return
	}
	if strings.EqualFold(language, "node") {
		e.node(ctx, path, where)
		return
	}
	e.ok(checkRuntime, "%s: worker %s, run by %s", language, where, path)
}

// worker gives the program of a language's worker, and where it is. Looking must
// not unpack the one inside this program.
func (e *examination) worker(language string) (executable, where string, err error) {
	setting := func(name string) string {
		if v := e.settings.Get("languageWorkers__" + name); v != "" {
			return v
		}
		return e.settings.Get("languageWorkers:" + strings.ReplaceAll(name, "__", ":"))
	}
	if strings.EqualFold(language, "node") && setting("workersDirectory") == "" && setting("node__workerDirectory") == "" {
		executable = setting("node__defaultExecutablePath")
		if executable == "" {
			executable = "node"
		}
		return executable, "inside this program", nil
	}
	place := config.Place{Setting: e.settings.Get, Directories: config.Installed(e.settings.Get("PATH")), AppDirectory: e.cfg.Dir}
	w, err := place.Find(language)
	if err != nil {
		return "", "", err
	}
	executable = w.Executable
	if strings.ContainsRune(executable, filepath.Separator) && !filepath.IsAbs(executable) {
		executable = filepath.Join(w.Directory, executable)
	}
	return executable, "in " + w.Directory, nil
}

// program finds an executable as the worker's start does.
func (e *examination) program(name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		return exec.LookPath(name)
	}
	for _, dir := range filepath.SplitList(e.settings.Get("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// node checks the version of Node.js and whether the app's packages are there.
func (e *examination) node(ctx context.Context, path, where string) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, bad := strconv.Atoi(major)
	switch {
	case err != nil || bad != nil:
		e.add(checkRuntime, CheckFailed, path+" does not tell its version as Node.js does", "install Node.js "+strconv.Itoa(oldestNode)+" or later")
	case n < oldestNode:
		e.add(checkRuntime, CheckWarn, path+" is Node.js "+version+"; @azure/functions 4 needs "+strconv.Itoa(oldestNode)+" or later", "install a later Node.js")
	default:
		e.ok(checkRuntime, "node: worker %s, run by %s %s", where, path, version)
	}
	if name := missingPackage(e.cfg.Dir); name != "" {
		e.add(checkRuntime, CheckFailed, "package.json depends on "+strconv.Quote(name)+", which is not in node_modules", `run "npm install" in `+e.cfg.Dir)
	}
}

// missingPackage gives a dependency of the app that is not installed, "" for none.
// Packages of a folder above are found as well.
func missingPackage(dir string) string {
	var doc struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil || json.Unmarshal(text, &doc) != nil {
		return ""
	}
	missing := ""
	for name := range doc.Dependencies {
		if !installedAbove(dir, name) && (missing == "" || name < missing) {
			missing = name
		}
	}
	return missing
}

func installedAbove(dir, name string) bool {
	dir, err := filepath.Abs(dir)
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(name))); err == nil {
			return true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
	return false
}
