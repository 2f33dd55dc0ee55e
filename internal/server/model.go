package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// LoadFiles reads an app's folder as a start would, without running it: functions
// that a language worker finds in the app's code are not in it. Faults are in the
// model. It returns problem.NotFound or problem.Invalid if there is no such folder.
func LoadFiles(cfg Config) (*instance.Model, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return loadModel(cfg)
}

// LoadModel is LoadFiles with the functions that the language worker found when
// the app was last loaded with this data folder; see [instance.Model.FoundAt].
func LoadModel(cfg Config) (*instance.Model, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return knownModel(cfg)
}

func loadModel(cfg Config) (*instance.Model, error) {
	s, _, faults, _ := readSettings(cfg.Dir, cfg.Environ)
	app, err := funcapp.Load(cfg.Dir, funcapp.Env(hosted.Settings(s).OfApp()))
	if err != nil {
		return nil, err
	}
	app.Faults = append(app.Faults, faults...)
	if err := onlySome(app, cfg.Functions); err != nil {
		return nil, err
	}
	return hosted.Model(app, s), nil
}

// errUnknownFunction marks the error of a name that no function of the app has.
var errUnknownFunction = errors.New("unknown function")

// IsUnknownFunction reports whether err is about a function that the app does not
// have, as opposed to an app that is not there.
func IsUnknownFunction(err error) bool { return errors.Is(err, errUnknownFunction) }

func unknownFunction(name string, functions []funcapp.Function) error {
	names := make([]string, len(functions))
	for i := range functions {
		names[i] = functions[i].Name
	}
	return problem.Wrap(problem.NotFound, fmt.Sprintf("the app has no function %q", name), errUnknownFunction).
		WithNext("choose among " + strings.Join(names, ", "))
}

// Warnings tells what about an app is allowed and probably not meant: a function
// behind keys whose requests an earlier, more open route takes.
func Warnings(m *instance.Model) []string {
	var list []string
	for _, s := range m.Routes.Shadows() {
		if s.Hidden.HTTP().AuthLevel > s.By.HTTP().AuthLevel {
			list = append(list, fmt.Sprintf("%s %s is served by function %s (level %s), not by %s (level %s): routes are tried in the order of function names",
				s.Method, s.Path, s.By.Name, levelNames[s.By.HTTP().AuthLevel], s.Hidden.Name, levelNames[s.Hidden.HTTP().AuthLevel]))
		}
	}
	return list
}

// onlySome leaves out all functions but the named ones, ignoring case.
func onlySome(app *funcapp.App, names []string) error {
	if len(names) == 0 || (len(app.Functions) == 0 && app.Host.CustomHandler == nil) {
		return nil // all, or those that a worker is yet to find
	}
	for _, name := range names {
		if !slices.ContainsFunc(app.Functions, func(f funcapp.Function) bool { return strings.EqualFold(f.Name, name) }) {
			return unknownFunction(name, app.Functions)
		}
	}
	for i := range app.Functions {
		f := &app.Functions[i]
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, f.Name) }) {
			f.Excluded = true
		}
	}
	return nil
}
