package funcapp

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// loader is one run of Load.
type loader struct {
	app      *App
	realRoot string // with links resolved
	settings settings
	// hostUnread is set when host.json could not be parsed: whether the app has
	// a custom handler is then unknown.
	hostUnread bool
}

// Load reads an app folder. Everything wrong with its files and settings is in
// the faults of the App and its functions, all of it at once; the error is for
// a folder that cannot be read at all: problem.NotFound or problem.Invalid.
// The folder is never written to. Safe for concurrent use.
func Load(root string, env Env) (*App, error) {
	abs, real, err := appFolder(root)
	if err != nil {
		return nil, err
	}
	l := &loader{app: &App{Root: abs}, realRoot: real, settings: newSettings(env)}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "app folder "+printable(abs)+" cannot be read", plainCause(err))
	}
	hasHost := l.host()
	l.folders(entries)
	l.handlerRoutes()
	if !hasHost && len(l.app.Functions) == 0 {
		l.app.Faults = append(l.app.Faults, Fault{Message: "no host.json in " + printable(abs) + ": is this a function app folder?",
			Next: `name the folder that holds host.json, or create it with {"version": "2.0"}`})
	}
	l.finish()
	return l.app, nil
}

func appFolder(root string) (abs, real string, err error) {
	if abs, err = filepath.Abs(root); err != nil {
		return "", "", problem.Wrap(problem.Invalid, "app folder "+printable(root)+" cannot be read", err)
	}
	real, err = filepath.EvalSymlinks(abs)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(real); err == nil && !info.IsDir() {
			return "", "", problem.New(problem.Invalid, "app folder "+printable(abs)+" is not a folder").
				WithNext("name the folder that holds host.json")
		}
	}
	switch {
	case err == nil:
		return abs, real, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", "", problem.New(problem.NotFound, "app folder "+printable(abs)+" does not exist")
	}
	return "", "", problem.Wrap(problem.Invalid, "app folder "+printable(abs)+" cannot be read", plainCause(err))
}

// handlerRoutes adds the functions made from customHandler.http.routes.
func (l *loader) handlerRoutes() {
	h := l.app.Host.CustomHandler
	if h == nil || len(h.Routes) == 0 {
		return
	}
	r := reporter{file: hostFile, list: &l.app.Faults}
	if v, ok := l.settings.lookup(runtimeSetting); ok && v != "" && !strings.EqualFold(v, "custom") {
		r.at(nil, "set "+runtimeSetting+" to custom", "customHandler.http.routes needs %s=custom, it is %s", runtimeSetting, quote(v))
		return
	}
	if len(l.app.Functions) > 0 {
		r.at(nil, "keep one of the two", "customHandler.http.routes and folders with function.json (%s) exclude each other", l.app.Functions[0].Name)
		return
	}
	l.app.Functions = handlerFunctions(h)
}

// finish sorts the functions and applies what the whole app says about each.
func (l *loader) finish() {
	list := l.app.Functions
	slices.SortFunc(list, func(a, b Function) int {
		if c := CompareNames(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := range list {
		f := &list[i]
		if i > 0 && CompareNames(list[i-1].Name, f.Name) == 0 {
			f.Faults = append(f.Faults, Fault{File: printable(f.Name) + "/function.json", Function: f.Name,
				Message: "the name differs from function " + list[i-1].Name + " in case only", Next: "rename one of the two folders"})
		}
		f.Disabled = f.Disabled || l.disabled(f.Name)
		f.Excluded = excluded(l.app.Host.Functions, f.Name)
		if f.Retry == nil {
			f.Retry = l.app.Host.Retry
		}
		sortFaults(f.Faults)
	}
	sortFaults(l.app.Faults)
}

// sortFaults puts faults in the order of their places.
func sortFaults(list []Fault) {
	slices.SortStableFunc(list, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// disabled looks for the app settings that switch a function off.
func (l *loader) disabled(name string) bool {
	for _, setting := range []string{"AzureWebJobs." + name + ".Disabled", "AzureWebJobs_" + name + "_Disabled"} {
		if v, ok := l.settings.lookup(setting); ok && truthy(v) {
			return true
		}
	}
	return false
}

func truthy(v string) bool {
	v = strings.TrimSpace(v)
	return v == "1" || strings.EqualFold(v, "true")
}

func excluded(allowed []string, name string) bool {
	return len(allowed) > 0 && !slices.ContainsFunc(allowed, func(s string) bool { return strings.EqualFold(s, name) })
}
