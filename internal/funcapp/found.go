package funcapp

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"time"
)

// Found is what a language worker found in an app's code, in a form that is kept
// for as long as nobody can ask the worker. Its JSON form is read by later
// versions.
type Found struct {
	At        time.Time       `json:"at"`
	Functions []FoundFunction `json:"functions"`
}

// FoundFunction is one function of a Found.
type FoundFunction struct {
	Name   string          `json:"name"`
	Config json.RawMessage `json:"config,omitempty"` // as [Function] has it
	Faults []Fault         `json:"faults,omitempty"`
}

// FoundNow gives what there is to keep of functions.
func FoundNow(functions []Function, at time.Time) Found {
	found := Found{At: at.UTC(), Functions: make([]FoundFunction, len(functions))}
	for i, f := range functions {
		found.Functions[i] = FoundFunction{Name: f.Name, Config: f.Config, Faults: f.Faults}
	}
	return found
}

// Equal reports whether two say the same of all functions.
func (f Found) Equal(other Found) bool {
	return slices.EqualFunc(f.Functions, other.Functions, func(a, b FoundFunction) bool {
		return a.Name == b.Name && string(a.Config) == string(b.Config) && slices.Equal(a.Faults, b.Faults)
	})
}

// Recall gives the functions that were found, by name, the way Describe gave them.
// Faults are those of then; whether a function is switched off, and how settings
// that it names are resolved, is of now.
func (a *App) Recall(env Env, found Found) []Function {
	faults := make(map[string][]Fault, len(found.Functions))
	list := make([]Description, len(found.Functions))
	for i, f := range found.Functions {
		faults[printable(f.Name)], list[i] = f.Faults, a.recalled(f)
	}
	functions := a.Describe(env, list)
	for i := range functions {
		functions[i].Faults = faults[functions[i].Name]
	}
	return functions
}

func (a *App) recalled(f FoundFunction) Description {
	var config struct {
		ScriptFile, EntryPoint string
		Bindings               []json.RawMessage
	}
	_ = json.Unmarshal(f.Config, &config) // what cannot be read is a fault already
	d := Description{Name: f.Name, ScriptFile: config.ScriptFile, EntryPoint: config.EntryPoint}
	if d.ScriptFile != "" && !filepath.IsAbs(d.ScriptFile) {
		d.ScriptFile = filepath.Join(a.Root, filepath.FromSlash(d.ScriptFile))
	}
	for _, b := range config.Bindings {
		d.Bindings = append(d.Bindings, string(b))
	}
	return d
}
