package platform

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/worker/custom"
)

// inspect reads the functions of an unpacked package, as a start would find them.
func inspect(_ context.Context, dir string) (functions []release.Function, faults []string, err error) {
	m, err := hosted.LoadModel(dir, hosted.Settings{})
	if err != nil {
		return nil, nil, err
	}
	for _, f := range m.Faults() {
		faults = append(faults, f.String())
	}
	if h := m.App.Host.CustomHandler; h != nil && strings.Contains(h.Executable, "/") {
		if _, err := custom.LookUp(dir, h, ""); err != nil { // where it was looked for is the node's business
			faults = append(faults, "host.json: the package has no program "+strconv.Quote(h.Executable)+", which customHandler names, or it may not be run: build it before deploying")
		}
	}
	for i := range m.Functions {
		functions = append(functions, describe(m.App.Host.HTTP.RoutePrefix, &m.Functions[i]))
	}
	return functions, faults, nil
}

var levelNames = map[funcapp.AuthLevel]string{
	funcapp.LevelAnonymous: "anonymous", funcapp.LevelUser: "user", funcapp.LevelFunction: "function",
	funcapp.LevelSystem: "system", funcapp.LevelAdmin: "admin",
}

func describe(prefix string, f *funcapp.Function) release.Function {
	out := release.Function{Name: f.Name, Language: f.Language, Disabled: f.Disabled, Config: configOf(f)}
	if t := f.Trigger(); t != nil {
		out.Trigger = t.Type
	}
	if h := f.HTTP(); h != nil {
		out.Route = strings.TrimPrefix(route.URLTemplate(prefix, f), "/")
		out.AuthLevel, out.Methods = levelNames[h.AuthLevel], h.Methods
	}
	return out
}

// configOf gives a function as function.json has it; one that has no such file is
// shown with its HTTP trigger.
func configOf(f *funcapp.Function) json.RawMessage {
	if json.Valid(f.Config) {
		return f.Config
	}
	bindings := []map[string]any{}
	for i := range f.Bindings {
		b := map[string]any{"type": f.Bindings[i].Type, "name": f.Bindings[i].Name, "direction": "in"}
		if h := f.Bindings[i].HTTP; h != nil {
			b["authLevel"], b["methods"], b["route"] = levelNames[h.AuthLevel], h.Methods, h.Route
		}
		bindings = append(bindings, b)
	}
	text, err := json.Marshal(map[string]any{"bindings": bindings})
	if err != nil {
		return nil
	}
	return text
}
