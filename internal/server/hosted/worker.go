package hosted

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
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
	language, err := languageOf(m)
	if err != nil {
		return nil, err
	}
	s := Settings(m.Settings)
	place := config.Place{Setting: s.Get, Directories: a.workerDirectories(s.Get("PATH")), AppDirectory: a.cfg.Dir}
	runtime, err := place.Find(language)
	if err != nil {
		return nil, err
	}
	return rpc.New(rpc.Config{
		App: m.App, Runtime: runtime, Settings: m.Settings, Env: env,
		Credential: a.cfg.Credential, HostVersion: adminapi.HostVersion, Logs: a.logWorker, Clock: a.cfg.Clock,
	}), nil
}

// workerDirectories gives where workers are, unless a setting says so: those of
// this program, then those that are installed.
func (a *App) workerDirectories(path string) []string {
	dirs := config.Installed(path)
	cache, err := os.UserCacheDir()
	if err != nil || a.cfg.Credential != nil {
		// Another user cannot read what is in ours.
		return dirs
	}
	own, err := config.Unpack(node.Files, "node", filepath.Join(cache, "latchkey"))
	if err != nil {
		a.cfg.Log.Warn("this program's own workers cannot be used", "reason", err)
		return dirs
	}
	return append([]string{own}, dirs...)
}

// languageOf gives the language of an app: the setting's, else that of its
// functions' scripts.
func languageOf(m *instance.Model) (string, error) {
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
func index(m *instance.Model, functions []funcapp.Function) *instance.Model {
	app := *m.App
	app.Functions = functions
	return Model(&app, m.Settings)
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
	for name, value := range l.Properties {
		attrs = append(attrs, name, value)
	}
	a.cfg.Log.Log(context.Background(), level, l.Message, attrs...)
}
