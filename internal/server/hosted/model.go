package hosted

import (
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/route"
)

// LoadModel reads an app's folder with the given settings. Faults are in the
// model. It returns problem.NotFound or problem.Invalid if there is no such
// folder.
func LoadModel(dir string, s Settings) (*instance.Model, error) {
	app, err := funcapp.Load(dir, funcapp.Env(s.OfApp()))
	if err != nil {
		return nil, err
	}
	return Model(app, s), nil
}

// Recalled gives the model of an app whose worker found its functions in an
// earlier run. Those of its files are left out, as they are in a run.
func Recalled(m *instance.Model, found funcapp.Found) *instance.Model {
	app := *m.App
	app.Functions = app.Recall(funcapp.Env(Settings(m.Settings).OfApp()), found)
	known := Model(&app, m.Settings)
	known.Found, known.FoundAt = true, found.At
	return known
}

// Model makes of an app's files what an instance runs. Routes that clash, and
// bindings that this host does not have or that cannot be used, are faults of
// their functions.
func Model(app *funcapp.App, s Settings) *instance.Model {
	m := &instance.Model{App: app, Functions: app.Functions, Settings: s}
	checkBindings(m, s) // a function that does not run has no route
	table, conflicts := route.Build(app.Host.HTTP.RoutePrefix, m.Functions)
	for _, c := range conflicts {
		m.Functions[c.Index].Faults = append(m.Functions[c.Index].Faults, c.Fault)
	}
	m.Routes = table
	return m
}
