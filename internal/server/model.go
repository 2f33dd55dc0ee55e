package server

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/route"
)

// LoadModel reads an app's folder as a start would, without running it. Faults
// are in the model. It returns problem.NotFound or problem.Invalid if there is
// no such folder.
func LoadModel(cfg Config) (*instance.Model, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return loadModel(cfg)
}

func loadModel(cfg Config) (*instance.Model, error) {
	s, _, faults, _ := readSettings(cfg.Dir, cfg.Environ)
	app, err := funcapp.Load(cfg.Dir, funcapp.Env(s))
	if err != nil {
		return nil, err
	}
	app.Faults = append(app.Faults, faults...)
	if err := onlySome(app, cfg.Functions); err != nil {
		return nil, err
	}
	m := &instance.Model{App: app, Functions: app.Functions, Settings: s}
	table, conflicts := route.Build(app.Host.HTTP.RoutePrefix, m.Functions)
	for _, c := range conflicts {
		m.Functions[c.Index].Faults = append(m.Functions[c.Index].Faults, c.Fault)
	}
	m.Routes = table
	return m, nil
}

// onlySome leaves out all functions but the named ones, ignoring case.
func onlySome(app *funcapp.App, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(app.Functions, func(f funcapp.Function) bool { return strings.EqualFold(f.Name, name) }) {
			return problem.New(problem.NotFound, "the app has no function "+name)
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
