package funcapp

import (
	"sort"
	"strings"
)

// Env is an app's settings by name: the process environment merged with
// local.settings.json (see [MergeEnv]).
type Env map[string]string

// settings looks names up the way the stock host does: ignoring case, with
// "__" and ":" alike. An exact name wins.
type settings struct {
	exact  Env
	folded map[string]string
}

func newSettings(env Env) settings {
	s := settings{exact: env, folded: make(map[string]string, len(env))}
	for _, name := range sortedNames(env) {
		key := foldSetting(name)
		if _, ok := s.folded[key]; !ok {
			s.folded[key] = env[name]
		}
	}
	return s
}

func (s settings) lookup(name string) (string, bool) {
	if v, ok := s.exact[name]; ok {
		return v, true
	}
	v, ok := s.folded[foldSetting(name)]
	return v, ok
}

func foldSetting(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "__", ":"))
}

func sortedNames(env Env) []string {
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// MergeEnv merges local settings (nil is none) under a process environment in
// os.Environ form. The environment wins over Values and connection strings;
// each setting that loses is named in the warnings, as are the notes of the
// file. Connection strings become ConnectionStrings:<name>. Entries without a
// name are skipped. Warnings never hold values.
func MergeEnv(environ []string, local *LocalSettings) (env map[string]string, warnings []string) {
	env = make(map[string]string, len(environ))
	taken := make(map[string]bool, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			env[name] = value
			taken[foldSetting(name)] = true
		}
	}
	if local == nil {
		return env, nil
	}
	warnings = append(warnings, local.Notes...)
	warnings = append(warnings, mergeUnder(env, taken, "", local.Values)...)
	return env, append(warnings, mergeUnder(env, taken, "ConnectionStrings:", local.ConnectionStrings)...)
}

func mergeUnder(env map[string]string, taken map[string]bool, prefix string, values map[string]string) (warnings []string) {
	for _, name := range sortedNames(values) {
		switch {
		case name == "":
		case taken[foldSetting(prefix+name)]:
			warnings = append(warnings, localSettingsFile+": "+printable(prefix+name)+" is skipped, the environment sets it already")
		default:
			env[prefix+name] = values[name]
		}
	}
	return warnings
}
