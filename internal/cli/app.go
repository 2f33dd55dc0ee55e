package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// app is an app folder that a command is about; the app may run or not.
type app struct {
	cfg   server.Config
	model *instance.Model
}

// addDataDir adds --data-dir.
func addDataDir(c *cobra.Command, dataDir *string) {
	c.Flags().StringVar(dataDir, "data-dir", "", "folder for keys (default: DIR/.latchkey)")
	_ = c.MarkFlagDirname("data-dir") // fails for a flag that is not there only
}

// openApp reads the app in a folder. Its faults do not matter here; that it is
// an app does: commands must not make keys in any odd folder.
func openApp(env *Env, dir, dataDir string) (*app, error) {
	a := &app{cfg: server.Config{Dir: dir, DataDir: dataDir, Environ: env.Environ, Port: -1, Version: version, Log: env.Stderr, LogFormat: telemetry.Text}}
	var err error
	if a.model, err = server.LoadModel(a.cfg); err != nil {
		return nil, explainFolder(err)
	}
	return a, isApp(a.model)
}

// explainFolder adds what to do to the error of a folder that is not there.
func explainFolder(err error) error {
	if problem.NextOf(err) == "" && problem.KindOf(err) == problem.NotFound && !server.IsUnknownFunction(err) {
		return problem.Wrap(problem.NotFound, "there is no such app", err).WithNext(nameTheApp)
	}
	return err
}

const nameTheApp = "name the app's folder as the last argument, or make a new app with latchkey new"

// isApp refuses a folder in which nothing looks like a function app.
func isApp(m *instance.Model) error {
	host := filepath.Join(m.App.Root, "host.json")
	if _, err := os.Lstat(host); len(m.Functions) == 0 && errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.NotFound, "there is no function app in "+printable(m.App.Root)+": no host.json and no functions").
			WithNext(nameTheApp)
	}
	return nil
}

// keys opens the app's keys; the caller closes them.
func (a *app) keys(ctx context.Context) (*server.Keys, error) {
	keys, err := server.OpenKeys(ctx, a.cfg)
	if err != nil {
		return nil, explainStart(err)
	}
	return keys, nil
}

// functions gives the names of the functions that can have keys.
func (a *app) functions() []string {
	var names []string
	for i := range a.model.Functions {
		name := a.model.Functions[i].Name
		known := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		if !known && funcapp.ValidName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// spelledAs finds a function by its name, whatever its case.
func spelledAs(names []string, name string) (string, error) {
	if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); i >= 0 {
		return names[i], nil
	}
	err := problem.New(problem.NotFound, "the app has no function "+printable(name))
	if len(names) == 0 {
		return "", err.WithNext("it has no functions at all; latchkey config check says why")
	}
	return "", err.WithNext("the functions there are: " + strings.Join(names, ", "))
}

// completeFunctions offers the functions of the app in the current folder.
func completeFunctions(env *Env) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		a, err := openApp(env, ".", "")
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.functions(), cobra.ShellCompDirectiveNoFileComp
	}
}
