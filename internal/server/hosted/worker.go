package hosted

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/funchost/adminapi"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/custom"
	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
	"github.com/latchkey/latchkey/workers/node"
)

// newWorker makes the worker an app asks for: its custom handler, or the language
// worker that FUNCTIONS_WORKER_RUNTIME names.
func (a *App) newWorker(m *instance.Model) (worker.Worker, error) {
	env := workerEnv(m.Settings, a.cfg.Dir, a.cfg.Hostname, a.cfg.Environment)
	if m.App.Host.CustomHandler != nil {
		return custom.New(custom.Config{
			App: m.App, Env: env,
			Credential: a.cfg.Credential, HostVersion: adminapi.HostVersion, Logs: a.logWorker, Clock: a.cfg.Clock,
		}), nil
	}
	runtime, err := a.runtime(m)
	if err != nil {
		return nil, err
	}
	return rpc.New(rpc.Config{
		App: m.App, Runtime: runtime, Settings: Settings(m.Settings).OfApp(), Env: env,
		Credential: a.cfg.Credential, HostVersion: adminapi.HostVersion, Logs: a.logWorker, Clock: a.cfg.Clock,
	}), nil
}

// runtime finds the language worker of an app.
func (a *App) runtime(m *instance.Model) (*config.Worker, error) {
	language, err := LanguageOf(m)
	if err != nil {
		return nil, err
	}
	s := Settings(m.Settings).OfApp()
	place := config.Place{Setting: s.Get, Directories: a.workerDirectories(s.Get("PATH")), AppDirectory: a.cfg.Dir}
	return place.Find(language)
}

// sharedWorkers is where this program's workers are unpacked for apps that run as
// users of their own, who cannot read what is in our cache folder. Only root can
// start such apps, so only root writes there.
const sharedWorkers = "/var/cache/latchkey"

// workerDirectories gives where workers are, unless a setting says so: those of
// this program, then those that are installed.
func (a *App) workerDirectories(path string) []string {
	dirs, own, err := WorkerDirectories(path, a.cfg.Credential != nil)
	if err != nil {
		a.cfg.Log.Warn("this program's own workers cannot be used", "reason", err)
		return dirs
	}
	return append([]string{own}, dirs...)
}

// WorkerDirectories gives the directories of installed workers found by a search
// path, and that of this program's own, unpacked anew if it is not there whole;
// shared is for apps that run as other users.
func WorkerDirectories(path string, shared bool) (installed []string, own string, err error) {
	installed, base := config.Installed(path), sharedWorkers
	if !shared {
		cache, err := os.UserCacheDir()
		if err != nil {
			return installed, "", err
		}
		base = filepath.Join(cache, "latchkey")
	}
	own, err = config.Unpack(node.Files, "node", base)
	return installed, own, err
}

// LanguageOf gives the language of an app: the setting's, else that of its
// functions' scripts.
func LanguageOf(m *instance.Model) (string, error) {
	language := Settings(m.Settings).Get(config.RuntimeSetting)
	if strings.EqualFold(language, "custom") {
		return "", problem.New(problem.Invalid, config.RuntimeSetting+" is custom, and host.json has no customHandler").
			WithNext("add customHandler.description.defaultExecutablePath to host.json")
	}
	if language != "" {
		return language, nil
	}
	for i := range m.Functions {
		if l := m.Functions[i].Language; l != "" {
			return l, nil
		}
	}
	return "", problem.New(problem.Invalid, "host.json has no customHandler, and "+config.RuntimeSetting+" is not set").
		WithNext("set " + config.RuntimeSetting + " to the app's language, for example node, or add a customHandler to host.json")
}

// index gives the model of an app with the functions that its worker found.
func (a *App) index(m *instance.Model, functions []funcapp.Function) *instance.Model {
	app := *m.App
	app.Functions = functions
	a.onlySome(functions)
	indexed := Model(&app, m.Settings)
	indexed.Found = true
	return indexed
}

// onlySome leaves out the functions that are not wanted.
func (a *App) onlySome(functions []funcapp.Function) {
	if len(a.cfg.Only) == 0 {
		return
	}
	for i := range functions {
		name := functions[i].Name
		if !slices.ContainsFunc(a.cfg.Only, func(n string) bool { return strings.EqualFold(n, name) }) {
			functions[i].Excluded = true
		}
	}
	for _, n := range a.cfg.Only {
		if !slices.ContainsFunc(functions, func(f funcapp.Function) bool { return strings.EqualFold(f.Name, n) }) {
			a.cfg.Log.Error("the app has no function of a name that was asked for", "name", n)
		}
	}
}

func (a *App) logWorker(l worker.LogLine) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level))
	attrs := []any{"source", l.Source}
	if l.Function != "" {
		attrs = append(attrs, "function", l.Function, "invocation", l.InvocationID)
	}
	if l.Category != "" {
		attrs = append(attrs, "category", l.Category)
	}
	if l.Exception != "" {
		attrs = append(attrs, "exception", l.Exception)
	}
	attrs = append(attrs, propertiesOf(l))
	a.cfg.Log.Log(context.Background(), level, l.Message, attrs...)
}

// propertiesOf gives what a function says of a metric, in a group: its names are
// the function's choice, and beside ours they could pass for them.
func propertiesOf(l worker.LogLine) slog.Attr {
	var members []any
	for _, name := range slices.Sorted(maps.Keys(l.Properties)) {
		members = append(members, slog.String(name, l.Properties[name]))
	}
	return slog.Group("properties", members...)
}
